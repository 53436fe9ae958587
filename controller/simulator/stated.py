"""A workload from what a page shows of it: survival by position, exactly as stated in expectation.

Requests that differ, and text that is easy in some stretches and hard in others, shift what is accepted on average. So
the hazards are found such that, with all of that in force, a server at the stated k shows the stated survival.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.simulator.truth import workload_flow
from controller.simulator.workload import FloatArray, TextState, Workload

_ROUNDS: Final = 400
_CLOSE: Final = 1e-10


class UnreachableSurvivalError(ValueError):
    """No text of this kind shows the stated survival."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """Text that turns from easy to hard and back; the length of a stretch is geometric.

    Attributes:
        easy_tokens: Mean length of an easy stretch.
        hard_tokens: Mean length of a hard one.
        logit_difference: How much higher the logit of every hazard is in the easy one.
    """

    easy_tokens: float
    hard_tokens: float
    logit_difference: float

    def states(self) -> tuple[tuple[float, float], ...]:
        """Mean length in tokens and offset of the logit of each state."""
        return (self.easy_tokens, self.logit_difference / 2), (self.hard_tokens, -self.logit_difference / 2)


def with_survival(
    shape: Workload, survival: tuple[float, ...], stretches: Stretches | None = None, coverage: float = 1.0
) -> Workload:
    """The workload of this shape that shows this survival at k = len(survival).

    Hazards are moved by `logit(stated) - logit(shown)`, position by position, until they agree.

    Args:
        shape: Name, lengths, spread between requests and matches; its states are replaced.
        survival: `survival[j]` = P(drafts 0..j are all accepted | the step drafts); it never rises.
        stretches: Easy and hard text; None for text that is alike everywhere.
        coverage: Probability that a step drafts at all.

    Raises:
        UnreachableSurvivalError: Survival rises, or falls more slowly than the length of matches allows.
    """
    stated = _hazards(shape, np.array(survival))
    if (stated > 1 + _CLOSE).any():
        raise UnreachableSurvivalError(_unreachable(shape, stated))
    stated = np.minimum(stated, 1.0)
    open_ended = (stated > 0) & (stated < 1)
    base = np.where(open_ended, stated, 0.5)
    logits = np.log(base / (1 - base))
    for _ in range(_ROUNDS):
        found = _workload(shape, np.where(open_ended, logits, np.nan), stated, stretches, coverage)
        flow = workload_flow(found, len(survival))
        shown = flow.accepted / flow.drafted[0] if coverage > 0 else np.array(survival)
        if np.abs(shown - survival).max() < _CLOSE:
            return found
        now = np.clip(_hazards(shape, shown), 1e-12, 1 - 1e-12)
        logits += np.where(open_ended, np.log(base / (1 - base)) - np.log(now / (1 - now)), 0.0)
    raise UnreachableSurvivalError("no hazards were found that show it: take less spread, or shorter stretches")


def _hazards(shape: Workload, survival: FloatArray) -> FloatArray:
    """P(draft j is accepted | it was made, and all before it accepted)."""
    before = np.concatenate([[1.0], survival[:-1]])
    goes_on = np.full(len(survival), 1.0 if shape.match_tokens is None else 1 - 1 / shape.match_tokens)
    goes_on[0] = 1.0
    alive = before * goes_on
    hazards: FloatArray = np.divide(survival, alive, out=np.zeros_like(survival), where=alive > 0)
    return hazards


def _unreachable(shape: Workload, hazards: FloatArray) -> str:
    position = int(np.argmax(hazards > 1 + _CLOSE)) + 1
    if shape.match_tokens is None:
        return f"it rises at position {position}: the first j drafts are accepted at least as often as the first j+1"
    return (
        f"position {position} is reached more often than matches of {shape.match_tokens:g} tokens on average let it: "
        "lower it, or make matches longer"
    )


def _workload(
    shape: Workload, logits: FloatArray, stated: FloatArray, stretches: Stretches | None, coverage: float
) -> Workload:
    states = []
    for tokens, offset in stretches.states() if stretches else ((1.0, 0.0),):
        hazards = np.where(np.isnan(logits), stated, 1 / (1 + np.exp(-(logits + offset))))
        states.append(TextState(tuple(hazards.tolist()), mean_tokens=tokens, coverage=coverage))
    return replace(shape, states=tuple(states))
