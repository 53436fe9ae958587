"""vLLM's batch size -> k schedule, as its scheduler reads it."""

from collections.abc import Sequence
from typing import TypeAlias

Schedule: TypeAlias = tuple[tuple[int, int, int], ...]
"""Inclusive ranges (lowest batch, highest batch, k): `num_speculative_tokens_per_batch_size`."""


def constant_schedule(k: int, max_num_seqs: int) -> Schedule:
    """The same k at every batch size."""
    return ((1, max_num_seqs, k),)


def dense_schedule(schedule: Sequence[tuple[int, int, int]], k_max: int, max_num_seqs: int) -> list[int]:
    """The k for each number of scheduled requests, 0..max_num_seqs (0 reads as 1).

    Gaps and the tail carry the k before them; every k is clamped to k_max; ranges beyond max_num_seqs are
    ignored (vLLM 0.32, `dynamic_sd_lookup`).

    >>> dense_schedule(((1, 2, 5), (4, 5, 0)), k_max=3, max_num_seqs=6)
    [3, 3, 3, 3, 0, 0, 0]

    Raises:
        ValueError: the first range does not start at 1, ranges overlap or run backwards, or a k is negative.
    """
    check_schedule(schedule)
    dense = [0] * (max_num_seqs + 1)
    for low, _, k in schedule:
        if low <= max_num_seqs:
            dense[low:] = [min(k, k_max)] * (max_num_seqs + 1 - low)
    dense[0] = dense[1]
    return dense


def check_schedule(schedule: Sequence[tuple[int, int, int]]) -> None:
    """Refuse what vLLM refuses.

    Raises:
        ValueError: with the range at fault.
    """
    if not schedule or schedule[0][0] != 1:
        raise ValueError("a schedule's first range starts at batch size 1")
    before = 0
    for low, high, k in schedule:
        if low <= before or high < low:
            raise ValueError(f"ranges are sorted and do not overlap: [{low}, {high}] after {before}")
        if k < 0:
            raise ValueError(f"k is not negative: {k} in [{low}, {high}]")
        before = high
