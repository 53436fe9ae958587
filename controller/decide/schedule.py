"""The best k by batch, in vLLM's own format."""

import math
from collections.abc import Callable

from controller.decide.decision import Schedule


def buckets(max_batch: int, present: float) -> tuple[tuple[int, int, float], ...]:
    """Ranges of batch sizes to choose a k for: (lowest, highest, representative), doubling in size.

    The representative is the middle on a logarithmic scale, or the present load for the range it falls into.

    >>> buckets(8, 3.2)
    ((1, 1, 1.0), (2, 3, 3.2), (4, 7, 5.291502622129181), (8, 8, 8.0))
    """
    ranges = []
    low = 1
    while low <= max_batch:
        high = min(2 * low - 1, max_batch)
        here = low <= max(1.0, min(present, float(max_batch))) < high + 1
        ranges.append((low, high, max(1.0, present) if here else math.sqrt(low * high)))
        low = high + 1
    return tuple(ranges)


def build(max_batch: int, present: float, choose: Callable[[float], int]) -> Schedule:
    """The schedule from a choice of k at a batch; neighbouring ranges with the same k are one.

    >>> build(64, 2.0, lambda batch: 5 if batch < 16 else 0)
    ((1, 15, 5), (16, 64, 0))
    """
    merged: list[tuple[int, int, int]] = []
    for low, high, middle in buckets(max_batch, present):
        k = choose(middle)
        if merged and merged[-1][2] == k:
            merged[-1] = (merged[-1][0], high, k)
        else:
            merged.append((low, high, k))
    return tuple(merged)


def k_at(schedule: Schedule, batch: int) -> int | None:
    """The k that vLLM runs at a batch: gaps and the tail carry the previous k; None for an empty schedule.

    >>> k_at(((1, 4, 5), (9, 16, 2)), 6), k_at(((1, 4, 5), (9, 16, 2)), 99)
    (5, 2)
    """
    reached = [k for low, _, k in schedule if low <= batch]
    return reached[-1] if reached else None
