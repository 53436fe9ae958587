"""A change is judged by windows of like load, apart from what the traffic did, and only when there are enough."""

import math

import pytest
from courses import LOAD, realised
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.decision import Bounded
from controller.decide.review import (
    ENOUGH_WINDOWS,
    LIKE_LOAD,
    NOISE_LEAST,
    RECENT_WINDOWS,
    REMEMBERED_WINDOWS,
    Change,
    Realised,
    Verdict,
    remembered_windows,
    review,
)

CHANGE = Change(100.0, LOAD, 4, 2, Bounded(1.1, 1.05, 1.15))


def before(count: int = 6, rate: float = 100.0, batch: float = LOAD) -> list[Realised]:
    """Windows at the k before, the last one ending with the change."""
    return [realised(100.0 - each, 4, rate, batch) for each in reversed(range(count))]


def after(count: int, rate: float, batch: float = LOAD, ease: float = 1.0) -> list[Realised]:
    """Windows at the k after."""
    return [realised(101.0 + each, 2, rate, batch, ease) for each in range(count)]


def test_the_realised_gain_is_the_ratio_of_the_rates_while_the_traffic_stays() -> None:
    """A fifth more, whatever k does to tokens per step."""
    found = review(CHANGE, [*before(), *after(5, 120.0)]).realised
    assert found is not None
    assert found.value == pytest.approx(1.2)
    assert found.low < 1.2 < found.high


@given(st.floats(0.3, 3.0), st.floats(0.5, 2.0))
def test_traffic_that_became_easier_or_harder_is_not_taken_for_the_work_of_the_change(ease: float, gain: float) -> None:
    """Rates that moved only as much as the traffic's own tokens per step are no gain and no loss."""
    found = review(CHANGE, [*before(), *after(5, 100.0 * ease * gain, ease=ease)])
    assert found.realised is not None
    assert found.realised.value == pytest.approx(gain)


def test_a_clear_loss_is_worse_after_enough_windows_and_not_before() -> None:
    """One window may be a stall."""
    for count in range(1, ENOUGH_WINDOWS + 1):
        verdict = review(CHANGE, [*before(), *after(count, 70.0)]).verdict
        assert verdict is (Verdict.WORSE if count == ENOUGH_WINDOWS else Verdict.PENDING)


def test_a_change_that_followed_on_few_windows_is_not_called_worse() -> None:
    """A server that has just started is fast, its requests being short yet: that speaks for no k."""
    for count in range(1, ENOUGH_WINDOWS + 1):
        verdict = review(CHANGE, [*before(count), *after(RECENT_WINDOWS, 70.0)]).verdict
        assert verdict is (Verdict.WORSE if count == ENOUGH_WINDOWS else Verdict.KEPT)


def test_a_change_is_kept_when_the_windows_are_full_and_it_is_not_worse() -> None:
    """Until then it stays under review, however good it looks."""
    for count in range(ENOUGH_WINDOWS, RECENT_WINDOWS):
        assert review(CHANGE, [*before(), *after(count, 130.0)]).verdict is Verdict.PENDING
    assert review(CHANGE, [*before(), *after(RECENT_WINDOWS, 130.0)]).verdict is Verdict.KEPT
    assert review(CHANGE, [*before(), *after(RECENT_WINDOWS, 70.0)]).verdict is Verdict.WORSE


def test_a_gain_that_falls_short_of_what_was_predicted_is_kept_as_long_as_it_is_no_loss() -> None:
    """+10% was expected, +2% came: going back could only lose."""
    assert review(CHANGE, [*before(), *after(RECENT_WINDOWS, 102.0)]).verdict is Verdict.KEPT


def test_a_foreseen_loss_is_worse_only_beyond_its_bounds() -> None:
    """Fewer drafts for a latency target: their price was accepted."""
    slower = Change(100.0, LOAD, 4, 2, Bounded(0.8, 0.75, 0.85))
    for rate, verdict in ((80.0, Verdict.KEPT), (76.0, Verdict.KEPT), (70.0, Verdict.WORSE)):
        assert review(slower, [*before(), *after(RECENT_WINDOWS, rate)]).verdict is verdict


@pytest.mark.parametrize("factor", [LIKE_LOAD * 1.01, 1 / LIKE_LOAD / 1.01])
def test_windows_of_another_load_are_not_compared(factor: float) -> None:
    """Neither before nor after: the load explains more than k does."""
    other = LOAD * factor
    near = LOAD * (1 + (factor - 1) * 0.9)
    assert review(CHANGE, [*before(batch=other), *after(5, 70.0)]).realised is None
    assert review(CHANGE, [*before(), *after(5, 70.0, other)]).realised is None
    assert review(CHANGE, [*before(batch=near), *after(5, 70.0, near)]).verdict is Verdict.WORSE


def test_windows_that_ran_another_k_are_not_compared() -> None:
    """A probe's, and those of the new k from before the change."""
    probes = [realised(90.0, 2, 300.0), realised(102.5, 5, 300.0), realised(104.0, 4, 300.0)]
    plain = review(CHANGE, [*before(), *after(5, 70.0)])
    assert review(CHANGE, [*probes[:1], *before(), *after(5, 70.0), *probes[1:]]) == plain


def test_nothing_is_said_without_windows_on_both_sides() -> None:
    """A change from the very start has nothing to be compared with."""
    for windows in ([], before(), after(9, 70.0)):
        found = review(CHANGE, windows)
        assert (found.realised, found.verdict) == (None, Verdict.PENDING)


def test_only_recent_windows_count() -> None:
    """Those nearest to the change on either side."""
    old = [realised(each, 4, 1.0) for each in range(20)]
    late = [realised(500.0 + each, 2, 1.0) for each in range(20)]
    plain = review(CHANGE, [*before(RECENT_WINDOWS), *after(RECENT_WINDOWS, 110.0)])
    assert review(CHANGE, [*old, *before(RECENT_WINDOWS), *after(RECENT_WINDOWS, 110.0), *late]) == plain


def test_windows_that_scatter_prove_less_than_windows_that_agree() -> None:
    """The same mean loss: worse when every window shows it, open when they disagree."""
    agreeing = after(4, 90.0)
    scattered = [realised(101.0 + i, 2, 90.0 * math.exp(d)) for i, d in enumerate((-0.2, 0.2, -0.2, 0.2))]
    same, open_ = (review(CHANGE, [*before(), *each]) for each in (agreeing, scattered))
    assert same.realised is not None
    assert open_.realised is not None
    assert same.realised.value == pytest.approx(open_.realised.value)
    assert (same.verdict, open_.verdict) == (Verdict.WORSE, Verdict.PENDING)


def test_windows_that_agree_by_chance_are_not_taken_as_without_noise() -> None:
    """A loss within the least noise is no proof."""
    small = 100.0 * math.exp(-NOISE_LEAST / 2)
    assert review(CHANGE, [*before(), *after(ENOUGH_WINDOWS, small)]).verdict is Verdict.PENDING


def test_more_windows_narrow_the_bounds() -> None:
    """Of the same scatter."""
    few, many = (review(CHANGE, [*before(12), *after(count, 100.0)]).realised for count in (3, 12))
    assert few is not None
    assert many is not None
    assert many.high - many.low < few.high - few.low


@given(st.integers(1, 100))
def test_the_newest_windows_are_remembered_and_no_more(count: int) -> None:
    """Memory is bounded, oldest out first."""
    windows: tuple[Realised, ...] = ()
    for each in range(count):
        windows = remembered_windows(windows, realised(float(each), 4))
    assert [each.at_seconds for each in windows] == list(range(max(0, count - REMEMBERED_WINDOWS), count))
