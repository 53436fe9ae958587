"""Requests, each with the fate of every draft that could be begun in its text."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.simulator.workload import LONGEST_DRAFT, FloatArray, IntArray, Workload

_DECK: Final = 32


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way through the server.

    `fate[p]` is how many drafts begun at output token p would be accepted if k did not end them;
    `reach[p]` is how many could be drafted there.
    """

    workload: int
    prompt_tokens: int
    output_tokens: int
    fate: IntArray
    reach: IntArray
    arrived_seconds: float = 0.0
    scheduled_seconds: float = -1.0
    first_token_seconds: float = -1.0
    last_token_seconds: float = -1.0
    emitted_tokens: int = 0
    to_prefill_tokens: int = 0
    row: int = -1
    number: int = 0


class RequestDeck:
    """Draws requests of one workload.

    They are drawn by the deck, for speed; k plays no part in the draw, so that servers with another k, but
    the same seed, meet the same texts.
    """

    def __init__(self, index: int, workload: Workload, k_max: int, random: np.random.Generator) -> None:
        self._index = index
        self._workload = workload
        self._k_max = k_max
        self._random = random
        self._deck: list[Request] = []

    def draw(self) -> Request:
        """Draw the next request."""
        if not self._deck:
            self._deck = self._draw_deck()[::-1]
        return self._deck.pop()

    def _draw_deck(self) -> list[Request]:
        random, workload = self._random, self._workload
        prompts = workload.prompt.draw(random, _DECK)
        outputs = workload.output.draw(random, _DECK)
        offsets = random.standard_normal(_DECK) * workload.logit_spread
        ends = np.cumsum(outputs)
        states = draw_states(workload, int(ends[-1]) + LONGEST_DRAFT, random)
        fate, reach = self._draw_fates(states, np.repeat(np.arange(_DECK), outputs), offsets)
        return [
            Request(self._index, prompt, output, fate[end - output : end], reach[end - output : end])
            for prompt, output, end in zip(prompts.tolist(), outputs.tolist(), ends.tolist(), strict=True)
        ]

    def _draw_fates(self, states: IntArray, request: IntArray, offsets: FloatArray) -> tuple[IntArray, IntArray]:
        """How far a draft begun at each token gets: the positions whose survival exceeds one uniform draw."""
        count, width = len(request), len(self._workload.states)
        hazards = self._workload.hazards(self._k_max, offsets).astype(np.float32)
        fortune = self._random.random(count, dtype=np.float32)
        reach = self._draw_reach(states[:count])
        survival = np.ones(count, dtype=np.float32)
        fate = np.zeros(count, dtype=np.int64)
        base = request * width
        for j in range(self._k_max):
            place = base if width == 1 else base + states[j : j + count]
            survival *= hazards[:, :, j].ravel().take(place)
            fate += fortune < survival
        return np.minimum(fate, reach), reach

    def _draw_reach(self, states: IntArray) -> IntArray:
        count, workload = len(states), self._workload
        if workload.always_drafts:
            return np.full(count, self._k_max, dtype=np.int64)
        coverage = np.array([state.coverage for state in workload.states])
        found = self._random.random(count) < coverage[states]
        if workload.match_tokens is None:
            return np.where(found, self._k_max, 0)
        length = self._random.geometric(1 / workload.match_tokens, count)
        return np.where(found, np.minimum(length, self._k_max), 0)


def draw_states(workload: Workload, tokens: int, random: np.random.Generator) -> IntArray:
    """State of each of `tokens` tokens of a text that has gone on for long (a stationary start)."""
    means = np.array([state.mean_tokens for state in workload.states])
    if len(means) == 1:
        return np.zeros(tokens, dtype=np.int64)
    first = int(random.choice(len(means), p=means / means.sum()))
    order = np.roll(np.arange(len(means)), -first)
    rounds = int(1.3 * tokens / means.sum()) + 8
    states = np.empty(0, dtype=np.int64)
    while len(states) < tokens:
        stays = random.geometric(1 / np.tile(means[order], rounds))
        states = np.concatenate([states, np.repeat(np.tile(order, rounds), stays)])
    return states[:tokens]
