"""The best k by batch, in vLLM's own format."""

import math
from collections.abc import Iterable

from controller.decide.decision import Schedule

Range = tuple[int, int, float]
"""Lowest and highest batch size, and the batch that stands for them."""


def buckets(max_batch: int, present: float) -> tuple[Range, ...]:
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


def merged(ranges: Iterable[tuple[int, int, int]]) -> Schedule:
    """The ranges (lowest, highest, k) with neighbours of the same k as one.

    >>> merged([(1, 1, 5), (2, 3, 5), (4, 7, 0)])
    ((1, 3, 5), (4, 7, 0))
    """
    found: list[tuple[int, int, int]] = []
    for low, high, k in ranges:
        if found and found[-1][2] == k:
            found[-1] = (found[-1][0], high, k)
        else:
            found.append((low, high, k))
    return tuple(found)


def k_at(schedule: Schedule, batch: int) -> int | None:
    """The k that vLLM runs at a batch: gaps and the tail carry the previous k; None for an empty schedule.

    >>> k_at(((1, 4, 5), (9, 16, 2)), 6), k_at(((1, 4, 5), (9, 16, 2)), 99)
    (5, 2)
    """
    reached = [k for low, _, k in schedule if low <= batch]
    return reached[-1] if reached else None
