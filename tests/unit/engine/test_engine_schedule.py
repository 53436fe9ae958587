"""A schedule is read as vLLM reads one, and nothing else is taken for one."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.schedule import BATCH_MAX, RANGES_MAX, Refused, ranges_of, read_ranges, table

TABLES = st.lists(st.integers(0, 9), min_size=1, max_size=40).map(lambda ks: (ks[0], *ks))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(ANY_JSON | st.lists(st.lists(st.integers(-1, 9) | ANY_JSON, min_size=2, max_size=4), max_size=4))
def test_whatever_is_not_refused_is_a_schedule(value: Any) -> None:
    """Integers, from 1, sorted, apart, no negative k."""
    try:
        ranges = read_ranges(value)
    except Refused:
        return
    assert ranges == value
    assert ranges[0][0] == 1
    edges = [edge for first, last, _ in ranges for edge in (first, last + 1)]
    assert edges == sorted(edges)
    assert min(k for _, _, k in ranges) >= 0


@given(TABLES)
def test_ranges_say_what_the_table_says(ks: tuple[int, ...]) -> None:
    """And with as few rows as there are changes."""
    ranges = ranges_of(ks)
    assert read_ranges(ranges) == ranges
    assert table(ranges, len(ks) - 1) == ks
    assert len(ranges) == 1 + sum(k != after for k, after in pairwise(ks[1:]))


@pytest.mark.parametrize(
    ("ranges", "ks"),
    [
        ([[1, 16, 3], [32, 128, 2]], [3] * 31 + [2] * 33),  # vLLM's own example of a gap
        ([[1, 2, 5]], [5] * 64),
        ([[1, 60, 4], [61, 500, 1], [600, 700, 0]], [4] * 60 + [1] * 4),
    ],
)
def test_gaps_and_the_tail_carry_the_k_before_them(ranges: list[list[int]], ks: list[int]) -> None:
    """As in a launch schedule; what no batch reaches is ignored."""
    assert list(table(ranges, 64)[1:]) == ks


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "not an empty one"),
        ({"1": 2}, "must be a list"),
        ([[1, 8]], "three integers"),
        ([[1, 8, 2.0]], "three integers"),
        ([[1, 8, True]], "three integers"),
        ([[1, "8", 2]], "three integers"),
        ([[0, 8, 2]], "must start at 1"),
        ([[2, 8, 2]], "must start at 1"),
        ([[1, 8, 2], [8, 9, 1]], "sort them apart"),
        ([[1, 4, 2], [9, 12, 1], [5, 8, 0]], "sort them apart"),
        ([[1, 8, 2], [9, 8, 1]], r"schedule\[1\] ends at 8, before it starts"),
        ([[1, 8, -1]], "0 turns drafting off"),
        ([[1, BATCH_MAX + 1, 1]], "no batch is larger"),
        ([[n, n, 1] for n in range(1, RANGES_MAX + 2)], f"at most {RANGES_MAX}"),
    ],
)
def test_each_fault_has_its_own_sentence(value: Any, reason: str) -> None:
    """It names the range, so that the one who wrote it finds it."""
    with pytest.raises(Refused, match=reason):
        read_ranges(value)
