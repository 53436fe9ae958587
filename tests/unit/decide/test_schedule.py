"""Schedules cover every batch once, and change only where they are meant to."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.decision import Schedule
from controller.decide.launch import refuse_bad_schedule
from controller.decide.schedule import LOAD_REACH, buckets, k_at, ks_between, merged, near, overlaid

LARGEST = st.integers(1, 300)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """A schedule that vLLM accepts, gaps and a short tail included."""
    edges = sorted(draw(st.sets(st.integers(2, 300), min_size=1, max_size=8)))
    pairs = [(1, edges[0] - 1), *((low, high - 1) for low, high in itertools.pairwise(edges))]
    cut = draw(st.lists(st.integers(0, 5), min_size=len(pairs), max_size=len(pairs)))
    return tuple(
        (low, max(low, high - less), draw(st.integers(0, 6))) for (low, high), less in zip(pairs, cut, strict=True)
    )


RANGES = st.lists(st.tuples(st.integers(1, 320), st.integers(0, 60), st.integers(0, 6)), max_size=4).map(
    lambda rows: [(low, low + length, k) for low, length, k in rows]
)


@given(schedules(), RANGES, LARGEST)
def test_a_schedule_changes_only_on_the_ranges_laid_over_it(
    home: Schedule, ranges: list[tuple[int, int, int]], largest: int
) -> None:
    """The last range wins where several meet; elsewhere every batch keeps its k, gaps and the tail as vLLM has them."""
    after = overlaid(home, ranges, largest)
    for batch in range(1, largest + 1):
        laid = [k for low, high, k in ranges if low <= batch <= high]
        assert k_at(after, batch) == (laid[-1] if laid else k_at(home, batch))


@given(schedules(), RANGES, LARGEST)
def test_an_overlaid_schedule_is_whole_and_as_short_as_can_be(
    home: Schedule, ranges: list[tuple[int, int, int]], largest: int
) -> None:
    """From 1 to the largest batch without a gap, neighbours of different k, and as vLLM accepts it."""
    after = overlaid(home, ranges, largest)
    refuse_bad_schedule(after, 6)
    assert (after[0][0], after[-1][1]) == (1, largest)
    for (_, high, k), (low, _, next_k) in itertools.pairwise(after):
        assert low == high + 1
        assert k != next_k


@given(schedules(), LARGEST)
def test_nothing_laid_over_a_whole_schedule_leaves_it_as_it_is(home: Schedule, largest: int) -> None:
    """So that schedules can be compared."""
    whole = overlaid(home, [], largest)
    assert overlaid(whole, [], largest) == whole


def test_a_range_that_is_taken_back_leaves_the_schedule_before() -> None:
    """A probe leaves no trace."""
    home = ((1, 8, 4), (9, 64, 2))
    laid = overlaid(home, [(6, 12, 5)], 64)
    assert overlaid(laid, [(6, 8, 4), (9, 12, 2)], 64) == home


@given(LARGEST, st.floats(0.5, 400))
def test_buckets_cover_every_batch_once_and_double(largest: int, present: float) -> None:
    """Each from a power of two, the last one cut."""
    ranges = buckets(largest, present)
    assert [b for low, high, _ in ranges for b in range(low, high + 1)] == list(range(1, largest + 1))
    for index, (low, high, _) in enumerate(ranges):
        assert low == 2**index
        assert high == min(2 * low - 1, largest)


@given(LARGEST, st.floats(0.5, 400))
def test_the_present_load_stands_for_its_own_bucket_and_no_other(largest: int, present: float) -> None:
    """A load beyond the largest batch falls into the last; every other bucket is judged at its middle."""
    here = max(1, min(round(present), largest))
    for low, high, middle in buckets(largest, present):
        if low <= here <= high:
            assert middle == max(1.0, present)
        else:
            assert middle == pytest.approx(math.sqrt(low * high))
            assert low <= middle <= high


@given(LARGEST, st.floats(0.5, 400))
def test_a_change_is_made_for_the_bucket_of_the_load_and_for_whatever_a_steady_load_visits(
    largest: int, batch: float
) -> None:
    """And for nothing twice as far away."""
    low, high = near(batch, largest)
    assert 1 <= low <= high <= largest
    here = max(1, min(round(batch), largest))
    bucket = next(each for each in buckets(largest, batch) if each[0] <= here <= each[1])
    assert low <= bucket[0]
    assert bucket[1] <= high
    for visited in (batch / LOAD_REACH, batch * LOAD_REACH):
        assert low <= max(1, min(round(visited), largest)) <= high
    assert low >= min(bucket[0], math.floor(here / 2))
    assert high <= max(bucket[1], math.ceil(here * 2))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5))
def test_merging_keeps_the_k_of_every_batch(ks: list[int], width: int) -> None:
    """Neighbours of the same k become one, as long as both were."""
    found = merged((1 + width * index, width * (index + 1), k) for index, k in enumerate(ks))
    assert [k for low, high, k in found for _ in range(low, high + 1)] == [k for k in ks for _ in range(width)]
    assert len(found) == 1 + sum(a != b for a, b in itertools.pairwise(ks))


def test_an_empty_schedule_tells_no_k() -> None:
    """None rather than 0."""
    assert k_at((), 4) is None


@given(schedules(), LARGEST, LARGEST)
def test_the_ks_of_an_interval_are_those_of_its_batches(home: Schedule, one: int, other: int) -> None:
    """However many batches lie in it: a class of the plugin's counts may be wide."""
    first, last = sorted((one, other))
    assert ks_between(home, first, last) == {k_at(home, batch) for batch in range(first, last + 1)}
