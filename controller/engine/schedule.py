"""A schedule of batch sizes, `[[first, last, k], ...]`, and the table that vLLM's scheduler looks k up in."""

from itertools import groupby
from typing import Any

RANGES_MAX = 64
"""More than any table needs; a table has as many rows as k takes values, rarely more than ten."""
BATCH_MAX = 1_000_000

Ranges = list[list[int]]


class Refused(ValueError):  # noqa: N818  (a refusal is an answer, not an accident)
    """What was asked for cannot be had; the message says exactly why."""


def read_ranges(value: Any) -> Ranges:
    """The ranges of a decoded JSON value.

    Raises:
        Refused: It is no list of whole, positive, sorted, disjoint ranges that begins at batch size 1.
    """
    if not isinstance(value, list) or not value:
        raise Refused("schedule must be a list of [first batch size, last batch size, k], and not an empty one")
    if len(value) > RANGES_MAX:
        raise Refused(f"schedule has {len(value)} ranges, at most {RANGES_MAX} are taken")
    previous_last = 0
    for number, entry in enumerate(value):
        where = f"schedule[{number}]"
        first, last, k = _three_integers(entry, where)
        if number == 0 and first != 1:
            raise Refused(f"{where} starts at batch size {first}; the first range must start at 1")
        if first <= previous_last:
            raise Refused(
                f"{where} starts at {first}, but the range before it ends at {previous_last}: sort them apart"
            )
        if last < first:
            raise Refused(f"{where} ends at {last}, before it starts at {first}")
        if last > BATCH_MAX:
            raise Refused(f"{where} ends at {last}; no batch is larger than {BATCH_MAX}")
        if k < 0:
            raise Refused(f"{where} has k {k}; 0 turns drafting off, less is not possible")
        previous_last = last
    return [list(entry) for entry in value]


def table(ranges: Ranges, largest_batch: int) -> tuple[int, ...]:
    """k by batch size, 0 to `largest_batch`; index 0 is never looked up.

    As vLLM reads a launch schedule: what lies between two ranges, and beyond the last, carries the k before it;
    what lies beyond the largest batch is ignored.

    >>> table([[1, 2, 5], [4, 4, 1]], 6)
    (5, 5, 5, 5, 1, 1, 1)
    """
    ks = [ranges[0][2]] * (largest_batch + 1)
    for first, _, k in ranges:
        ks[first:] = [k] * len(ks[first:])
    return tuple(ks)


def ranges_of(ks: tuple[int, ...]) -> Ranges:
    """The fewest ranges that say the same as a table.

    >>> ranges_of((5, 5, 5, 5, 1, 1, 1))
    [[1, 3, 5], [4, 6, 1]]
    """
    found = []
    for k, batches in groupby(range(1, len(ks)), key=ks.__getitem__):
        together = list(batches)
        found.append([together[0], together[-1], k])
    return found


def is_integer(value: Any) -> bool:
    """Whether a JSON value is a whole number; `true` is none, though Python takes it for 1."""
    return isinstance(value, int) and not isinstance(value, bool)


def _three_integers(entry: Any, where: str) -> tuple[int, int, int]:
    if not isinstance(entry, list) or len(entry) != 3 or not all(map(is_integer, entry)):
        raise Refused(f"{where} must be three integers: [first batch size, last batch size, k]")
    return entry[0], entry[1], entry[2]
