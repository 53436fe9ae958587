"""The best k by batch, in vLLM's own format."""

import math
from collections.abc import Iterable
from typing import Final

from controller.decide.decision import Schedule

LOAD_REACH: Final = 1.25
"""A steady load moves within about this factor of its mean."""
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
        here = low <= max(1, min(round(present), max_batch)) <= high
        ranges.append((low, high, max(1.0, present) if here else math.sqrt(low * high)))
        low = high + 1
    return tuple(ranges)


def near(batch: float, max_batch: int) -> tuple[int, int]:
    """The batch sizes that a change at this load is made for: its range, and whatever a steady load visits.

    >>> near(15.9, 256), near(1.0, 256), near(200.0, 256)
    ((13, 31), (1, 1), (128, 255))
    """
    low, high = (max(1, min(round(batch * reach), max_batch)) for reach in (1 / LOAD_REACH, LOAD_REACH))
    here = max(1, min(round(batch), max_batch))
    power = 1 << (here.bit_length() - 1)
    return min(low, power), max(high, min(2 * power - 1, max_batch))


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


def overlaid(home: Schedule, ranges: Iterable[tuple[int, int, int]], max_batch: int) -> Schedule:
    """A schedule on 1..max_batch with other ks on some ranges; elsewhere it stays as it is.

    >>> overlaid(((1, 4, 5), (5, 8, 2)), [(4, 6, 0)], 8)
    ((1, 3, 5), (4, 6, 0), (7, 8, 2))
    """
    ks = [home[0][2]] * max_batch
    ends = [low for low, _, _ in home[1:]]
    for (low, _, k), end in zip(home, [*ends, max_batch + 1], strict=True):  # gaps and the tail carry the k before them
        ks[low - 1 : end - 1] = [k] * (min(end - 1, max_batch) - low + 1)
    for low, high, k in ranges:
        top = min(high, max_batch)
        ks[low - 1 : top] = [k] * (top - low + 1)
    steps = [batch for batch in range(1, max_batch) if ks[batch] != ks[batch - 1]]  # where another k begins
    ends = [*steps, max_batch]
    return tuple((low + 1, high, ks[low]) for low, high in zip([0, *steps], ends, strict=True))


def k_at(schedule: Schedule, batch: int) -> int | None:
    """The k that vLLM runs at a batch: gaps and the tail carry the previous k; None for an empty schedule.

    >>> k_at(((1, 4, 5), (9, 16, 2)), 6), k_at(((1, 4, 5), (9, 16, 2)), 99)
    (5, 2)
    """
    reached = [k for low, _, k in schedule if low <= batch]
    return reached[-1] if reached else None


def ks_between(schedule: Schedule, first: int, last: int) -> set[int | None]:
    """Every k that vLLM runs at batches from first to last.

    >>> ks_between(((1, 4, 5), (9, 16, 2)), 6, 9), ks_between(((1, 4, 5), (9, 16, 2)), 1, 8)
    ({2, 5}, {5})
    """
    return {k_at(schedule, first), *(k for low, _, k in schedule if first < low <= last)}
