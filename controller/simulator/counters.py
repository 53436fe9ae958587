"""What one engine has counted since it started: all that its page, and the plugin's ledger, are made of."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from controller.simulator.families import (
    INTER_TOKEN_BOUNDS,
    REQUEST_BOUNDS,
    STEP_TOKEN_BOUNDS,
    TTFT_BOUNDS,
)
from controller.simulator.workload import IntArray


class Histogram:
    """A Prometheus histogram: counts between upper bounds (inclusive), and the sum of all samples."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `times` samples of the same value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """Samples so far."""
        return sum(self.counts)


@dataclass(slots=True)
class StepTally:
    """Steps at one (batch, k).

    `tokens` are those emitted, the first tokens of requests among them; `prefill_tokens` those of prompts worked
    through beside it.
    """

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    prefill_tokens: int = 0

    def add(self, other: "StepTally") -> None:
        """Take in the steps of another tally."""
        self.steps += other.steps
        self.seconds += other.seconds
        self.tokens += other.tokens
        self.prefill_tokens += other.prefill_tokens


@dataclass(slots=True)
class Counters:
    """Counts since the start of one engine.

    `verified[d, w, a]` counts the request-steps of workload w with d drafts verified and a of them accepted (0 of
    0 at k=0); `verified_flat` and, by d, `verified_by_length` are flat views of the same numbers.

    `settled`, `beside_prompts` and `unsettled` hold the steps by (batch, k): in settled ones every scheduled request
    decoded and k was that of the step before, so that their time says what a step at this batch and k costs; beside
    prompts some requests decoded, others did not yet; the rest had no request that decoded, or another k before.
    """

    verified: IntArray
    verified_flat: IntArray
    verified_by_length: tuple[IntArray, ...]
    generation_tokens: int = 0
    prompt_tokens: int = 0
    preemptions: int = 0
    finished_requests: int = 0
    first_tokens: int = 0
    truncated_tokens: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    settled: dict[tuple[int, int], StepTally] = field(default_factory=dict)
    beside_prompts: dict[tuple[int, int], StepTally] = field(default_factory=dict)
    unsettled: dict[tuple[int, int], StepTally] = field(default_factory=dict)
    inter_token: Histogram = field(default_factory=lambda: Histogram(INTER_TOKEN_BOUNDS))
    step_tokens: Histogram = field(default_factory=lambda: Histogram(STEP_TOKEN_BOUNDS))
    first_token: Histogram = field(default_factory=lambda: Histogram(TTFT_BOUNDS))
    per_output_token: Histogram = field(default_factory=lambda: Histogram(INTER_TOKEN_BOUNDS))
    end_to_end: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS))
    queue: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS))
    inference: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS))
    prefill: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS))
    decode: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS))

    @classmethod
    def fresh(cls, workloads: int, k_max: int) -> "Counters":
        """Counters of an engine that has just started."""
        verified = np.zeros((k_max + 1, workloads, k_max + 1), dtype=np.int64)
        return cls(verified, verified.reshape(-1), tuple(by_length.reshape(-1) for by_length in verified))

    @property
    def by_batch_and_k(self) -> dict[tuple[int, int], StepTally]:
        """All steps by (batch, k)."""
        tallies: dict[tuple[int, int], StepTally] = {}
        for part in (self.settled, self.beside_prompts, self.unsettled):
            for key, tally in part.items():
                tallies.setdefault(key, StepTally()).add(tally)
        return tallies

    @property
    def drafted_by_length(self) -> IntArray:
        """Of shape (workload, d): request-steps with d drafts verified."""
        return np.asarray(self.verified.sum(axis=2).T)

    @property
    def accepted_by_length(self) -> IntArray:
        """Of shape (workload, a): request-steps with a drafts accepted."""
        return np.asarray(self.verified.sum(axis=0))

    @property
    def drafts(self) -> int:
        """Request-steps with at least one draft."""
        return int(self.drafted_by_length[:, 1:].sum())

    @property
    def draft_tokens(self) -> int:
        """Drafts verified."""
        return int(self.drafted_by_position().sum())

    @property
    def accepted_tokens(self) -> int:
        """Drafts accepted, the bonus token excluded."""
        return int(self.accepted_by_position().sum())

    def drafted_by_position(self) -> IntArray:
        """Of shape (workload, position): how often a draft was made at each position."""
        return _at_least(self.drafted_by_length)

    def accepted_by_position(self) -> IntArray:
        """Of shape (workload, position): how often the draft at each position was accepted."""
        return _at_least(self.accepted_by_length)


def _at_least(by_length: IntArray) -> IntArray:
    """Counts of lengths 0..k to counts of lengths above each position 0..k-1."""
    return by_length[:, :0:-1].cumsum(axis=1)[:, ::-1]
