"""What an oracle knows: the exact expectation of acceptance and of step time, from the physics itself.

A verify step begins at some token of a text whose state is s. Draft j is judged against the state j-1 tokens
on; the step ends with the correction after a rejection or with the bonus token, and the next step begins
after it. This is a Markov renewal chain over states, solved here exactly for texts that are long against a
draft. Requests differ by their logit offset (Gauss-Hermite quadrature), and one that is accepted less is seen
in more steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np

from controller.simulator.scenario import Scenario
from controller.simulator.step_cost import StepCost
from controller.simulator.workload import FloatArray, Workload

_NODES: Final = 15


@dataclass(frozen=True, slots=True)
class AcceptanceTruth:
    """Expectations per request-step at one k.

    `survival[j]` is P(the first j+1 drafts are all accepted | the step drafts), what vLLM's
    accepted-per-position over drafts tends to. `coverage` is the share of request-steps that draft.
    `drafted[j]` is P(draft j+1 is made).
    """

    k: int
    coverage: float
    survival: tuple[float, ...]
    drafted: tuple[float, ...]

    @property
    def tokens_per_step(self) -> float:
        """1 + coverage (S_1 + ... + S_k)."""
        return 1 + self.coverage * sum(self.survival)


@dataclass(frozen=True, slots=True)
class _Flow:
    """Per request-step of a workload at one k: P(draft made) and P(draft accepted) by position."""

    drafted: FloatArray
    accepted: FloatArray

    @property
    def tokens(self) -> float:
        return 1 + float(self.accepted.sum())


@lru_cache(maxsize=1024)
def workload_flow(workload: Workload, k: int) -> _Flow:
    """Drafts made and accepted per request-step of one workload, over all its requests."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES) if workload.logit_spread else (np.zeros(1), np.ones(1))
    made, kept = _renewal(workload, k, nodes * workload.logit_spread)
    steps = weights / (1 + kept.sum(axis=1))  # a request of n tokens takes n / tokens-per-step steps
    share: FloatArray = steps / steps.sum()
    return _Flow(share @ made, share @ kept)


def _renewal(workload: Workload, k: int, offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P(draft made) and P(draft accepted), of shape (offset, position), in the steady state."""
    count, move = len(workload.states), _transitions(workload)
    hazards = workload.hazards(max(k, 1), offsets)
    coverage = np.array([state.coverage for state in workload.states])
    goes_on = 1 - 1 / workload.match_tokens if workload.match_tokens is not None else 1.0
    alive = np.broadcast_to(np.diag(coverage), (len(offsets), count, count))
    kernel = np.broadcast_to(np.diag(1 - coverage) @ move, alive.shape).copy()
    made, kept = [], []
    if k == 0:
        kernel += alive @ move
    for j in range(k):
        accepted = alive * hazards[:, None, :, j]
        made.append(alive.sum(axis=2))
        kept.append(accepted.sum(axis=2))
        ends_here = 1.0 if j == k - 1 else 1 - goes_on
        kernel += (alive - accepted) @ move + ends_here * accepted @ move @ move
        alive = goes_on * accepted @ move
    start = _stationary(kernel)
    if k == 0:
        return np.zeros((len(offsets), 0)), np.zeros((len(offsets), 0))
    return np.einsum("os,jos->oj", start, np.stack(made)), np.einsum("os,jos->oj", start, np.stack(kept))


def _transitions(workload: Workload) -> FloatArray:
    count = len(workload.states)
    if count == 1:
        return np.ones((1, 1))
    leave = np.array([1 / state.mean_tokens for state in workload.states])
    return np.diag(1 - leave) + np.roll(np.diag(leave), 1, axis=1)


def _stationary(kernel: FloatArray) -> FloatArray:
    """Stationary distribution of each of several transition matrices, shape (offset, state)."""
    count = kernel.shape[-1]
    system = np.swapaxes(kernel, 1, 2) - np.eye(count)
    system[:, -1, :] = 1.0
    right = np.zeros((len(kernel), count, 1))
    right[:, -1, 0] = 1.0
    solution = np.linalg.solve(system, right)[:, :, 0]
    return solution.astype(np.float64)


@dataclass(frozen=True)
class Truth:
    """The truth about one mix of workloads on one server.

    The mix is either of arriving requests (`arrivals`: weights by workload; those that stay longer count for
    more steps), or of the requests that decode now (`running`). The other one is empty.
    """

    scenario: Scenario
    cost: StepCost
    arrivals: Mapping[str, float]
    running: Mapping[str, float]

    @classmethod
    def of_running(cls, scenario: Scenario, cost: StepCost, counts: Mapping[str, float]) -> Self:
        """About these numbers of running requests of each workload."""
        return cls(scenario, cost, {}, counts)

    @classmethod
    def of_arrivals(cls, scenario: Scenario, cost: StepCost, mix: Mapping[str, float]) -> Self:
        """About a server filled with requests that arrive in this mix."""
        return cls(scenario, cost, mix, {})

    def acceptance(self, k: int) -> AcceptanceTruth:
        """Expected acceptance per request-step at this k, over the mix."""
        made, kept = np.zeros(k), np.zeros(k)
        for share, workload in self._by_workload(k):
            flow = workload_flow(workload, k)
            made += share * flow.drafted
            kept += share * flow.accepted
        coverage = float(made[0]) if k else 0.0
        survival = kept / coverage if coverage > 0 else np.zeros(k)
        return AcceptanceTruth(k, coverage, tuple(survival.tolist()), tuple(made.tolist()))

    def step_seconds(self, batch: int, k: int) -> float:
        """Expected seconds of a step in which `batch` requests decode and nothing is prefilled."""
        return self.cost.expected_seconds(batch, k, batch * self.context_tokens(k))

    def mean_step_seconds(self, batch: int, k: int) -> float:
        """Expected seconds of a step in the steady state, with the prompts of the requests that take over."""
        prompt = self._mean(k, lambda w: w.prompt.moments()[0] / steps_per_request(w, k))
        return self.step_seconds(batch, k) + batch * prompt * self.cost.grid.prefill_seconds_per_token

    def output_tokens_per_step(self, k: int) -> float:
        """Tokens that clients get per request-step.

        With each request's first token, and without drafts that were accepted beyond the end of its output.
        """
        return self._mean(k, lambda w: w.output.moments()[0] / steps_per_request(w, k))

    def tokens_per_second(self, batch: int, k: int) -> float:
        """Expected output tokens per second of the server with `batch` requests decoding all the time."""
        return batch * self.output_tokens_per_step(k) / self.mean_step_seconds(batch, k)

    def best_k(self, batch: int, k_max: int) -> int:
        """The k in 0..k_max with the most tokens per second, the smaller one of equals."""
        return max(range(k_max + 1), key=lambda k: (self.tokens_per_second(batch, k), -k))

    def context_tokens(self, k: int) -> float:
        """Expected context in tokens of a request seen in a step: its prompt, and half of what it will emit.

        Both weighed by how long it stays.
        """
        return self._mean(k, _context_tokens)

    def _mean(self, k: int, of: Callable[[Workload], float]) -> float:
        return sum(share * of(workload) for share, workload in self._by_workload(k))

    def _by_workload(self, k: int) -> list[tuple[float, Workload]]:
        """Workloads with their share of the request-steps at this k."""
        weights = []
        for workload in self.scenario.workloads:
            arriving = self.arrivals.get(workload.name, 0.0) * steps_per_request(workload, k)
            weights.append((self.running.get(workload.name, 0.0) + arriving, workload))
        total = sum(weight for weight, _ in weights)
        return [(weight / total, workload) for weight, workload in weights if weight > 0]


@lru_cache(maxsize=1024)
def steps_per_request(workload: Workload, k: int) -> float:
    """Expected decode steps of one request at this k.

    Its first token comes from the prefill; the last step goes beyond the end by the mean excess of a renewal
    process, `(E[X^2] / E[X] - 1) / 2` for X tokens a step.
    """
    flow = workload_flow(workload, k)
    odd = 2 * np.arange(1, k + 1) - 1
    square = 1 + 2 * float(flow.accepted.sum()) + float((odd * flow.accepted).sum())
    beyond = (square / flow.tokens - 1) / 2
    return (workload.output.moments()[0] - 1 + beyond) / flow.tokens


def _context_tokens(workload: Workload) -> float:
    mean, square = workload.output.moments()
    return workload.prompt.moments()[0] + square / mean / 2
