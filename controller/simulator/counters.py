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

    `tokens` are those that decoding emitted, `prefill_tokens` those of prompts worked through beside it.
    """

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    prefill_tokens: int = 0


@dataclass(slots=True)
class Counters:
    """Counts since the start of one engine.

    `accepted_by_length[w, a]` and `drafted_by_length[w, d]` count the request-steps of workload w by drafts
    accepted and drafted; the flat ones are views of the same numbers.
    """

    accepted_by_length: IntArray
    drafted_by_length: IntArray
    accepted_flat: IntArray
    drafted_flat: IntArray
    generation_tokens: int = 0
    prompt_tokens: int = 0
    preemptions: int = 0
    finished_requests: int = 0
    first_tokens: int = 0
    truncated_tokens: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    by_batch_and_k: dict[tuple[int, int], StepTally] = field(default_factory=dict)
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
        accepted, drafted = np.zeros((2, workloads, k_max + 1), dtype=np.int64)
        return cls(accepted, drafted, accepted.reshape(-1), drafted.reshape(-1))

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
