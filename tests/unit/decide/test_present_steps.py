"""What the plugin's own counts say of the k that ran, and of the k that should have."""

import pytest
from windows import window

from controller.decide.present import Present, ran_as_scheduled, scheduled_k, single_k
from controller.model.drafter import Drafting
from controller.observe.speculation import Measured, StepCounts
from controller.observe.window import Window

SCHEDULE = ((1, 4, 5), (5, 64, 2))
FIXED = Present(None, Drafting.FIXED)


def steps(batch_min: int, batch_max: int, k: int, request_steps: float) -> StepCounts:
    """Steps of a class of batches at one k."""
    return StepCounts(batch_min, batch_max, k, request_steps / batch_min, request_steps, 1.0, request_steps)


def measured(*counts: StepCounts) -> Measured:
    """What the plugin counted."""
    return Measured(steps=counts)


def loaded(batch: float, length: float = 2.0) -> Window:
    """A window of that load whose drafts are so long on average."""
    return window((0.0,) * 6, drafts=1000, draft_tokens=1000 * length, batch=batch)


def test_the_mean_k_is_counted_by_request_steps() -> None:
    """A step of eight requests weighs eight times a lone one's."""
    counts = measured(steps(1, 1, 5, 100.0), steps(8, 8, 2, 300.0))
    assert scheduled_k((), counts, loaded(8)) == pytest.approx((5 * 100 + 2 * 300) / 400)


def test_without_counts_the_schedule_tells_the_k_of_the_mean_batch() -> None:
    """And nothing does when it changed within the window, or nothing was decoded."""
    for none in (None, measured()):
        assert scheduled_k(SCHEDULE, none, loaded(3)) == 5.0
        assert scheduled_k(SCHEDULE, none, loaded(40)) == 2.0
        assert scheduled_k((), none, loaded(3)) is None
        assert scheduled_k(SCHEDULE, none, window((0.0,), request_steps=0)) is None


@pytest.mark.parametrize(("most", "k"), [(899.0, None), (901.0, 5)])
def test_a_window_has_a_single_k_when_nearly_all_of_it_ran_that(most: float, k: int | None) -> None:
    """Classes of the same k count together; a few steps of another k are the end of a change."""
    counts = measured(steps(1, 1, 5, most / 2), steps(2, 2, 5, most / 2), steps(4, 4, 2, 1000.0 - most))
    assert single_k(counts, FIXED) == k


def test_without_counts_a_whole_mean_k_is_the_single_one() -> None:
    """A mean between two is none."""
    for mean, k in ((3.0, 3), (2.99, 3), (2.5, None), (None, None), (0.0, 0)):
        assert single_k(None, Present(mean, Drafting.FIXED)) == k


def test_an_engine_that_runs_the_k_of_each_batch_runs_as_scheduled() -> None:
    """A class of batches that a boundary cuts may run either side's k."""
    right = measured(steps(2, 2, 5, 500.0), steps(32, 32, 2, 500.0))
    wrong = measured(steps(2, 2, 2, 500.0), steps(32, 32, 2, 500.0))
    cut = measured(steps(4, 7, 5, 500.0), steps(4, 7, 2, 500.0))
    for counts, answer in ((right, True), (wrong, False), (cut, True)):
        assert ran_as_scheduled(SCHEDULE, counts, loaded(8), Drafting.FIXED) is answer


def test_a_few_steps_at_the_old_k_are_the_end_of_a_change() -> None:
    """A tenth is forgiven, no more."""
    for astray, answer in ((90.0, True), (110.0, False)):
        counts = measured(steps(2, 2, 5, 1000.0 - astray), steps(2, 2, 3, astray))
        assert ran_as_scheduled(SCHEDULE, counts, loaded(2), Drafting.FIXED) is answer


def test_without_counts_the_length_of_drafts_tells_where_the_schedule_is_flat_about_the_load() -> None:
    """Near a boundary, for a method that drafts short, or without traffic, nothing can be said."""
    assert ran_as_scheduled(SCHEDULE, None, loaded(40, 2.0), Drafting.FIXED) is True
    assert ran_as_scheduled(SCHEDULE, None, loaded(40, 5.0), Drafting.FIXED) is False
    assert ran_as_scheduled(SCHEDULE, None, loaded(1.5, 5.0), Drafting.FIXED) is True
    assert ran_as_scheduled(SCHEDULE, None, loaded(6, 2.0), Drafting.FIXED) is None
    assert ran_as_scheduled(SCHEDULE, None, loaded(40, 2.0), Drafting.VARIABLE) is None
    assert ran_as_scheduled((), None, loaded(40, 2.0), Drafting.FIXED) is None
    assert ran_as_scheduled(SCHEDULE, None, window((0.0,), request_steps=0), Drafting.FIXED) is None
