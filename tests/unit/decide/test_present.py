"""The k in force is inferred only where the counters tell it."""

import pytest
from windows import window

from controller.decide.present import Present, present
from controller.model.drafter import HEAD, LOOKUP, Drafter, Drafting


def test_a_method_that_always_drafts_k_shows_it_as_its_mean_length() -> None:
    """1000 drafts of 3 tokens are k=3, a few short ones at the end of requests included."""
    steady = window((800, 600, 500), drafts=1000, draft_tokens=2995)
    assert present(steady, HEAD, None) == Present(3.0, Drafting.FIXED)


def test_a_schedule_shows_as_a_mean_between_two_ks() -> None:
    """Half the steps at k=2, half at k=5: 3.5."""
    mixed = window((800, 600, 300, 200, 100), drafts=1000, draft_tokens=3500)
    assert present(mixed, HEAD, None) == Present(3.5, Drafting.FIXED)


def test_steps_at_k_0_count_into_the_mean() -> None:
    """A schedule that turns drafting off for half of the steps halves k."""
    half_off = window((800, 600), drafts=1000, draft_tokens=2000, request_steps=2000)
    assert present(half_off, HEAD, None) == Present(1.0, Drafting.FIXED)


def test_decoding_without_any_draft_is_k_0() -> None:
    """A method that always drafts k has drafted nothing: k is 0."""
    assert present(window((0, 0), drafts=0, request_steps=500), HEAD, None) == Present(0.0, Drafting.FIXED)


def test_an_idle_window_tells_nothing() -> None:
    """No steps, no k."""
    assert present(window((0, 0), drafts=0, request_steps=0), HEAD, None) == Present(None, Drafting.FIXED)


def test_a_lookup_method_hides_its_k() -> None:
    """n-gram drafts fewer than k, or nothing, also when the mean happens to be whole."""
    whole = window((800, 600, 500), drafts=1000, draft_tokens=3000)
    assert present(whole, LOOKUP, None) == Present(None, Drafting.VARIABLE)


@pytest.mark.parametrize("drafter", [None, HEAD, LOOKUP])
def test_a_stated_k_is_believed(drafter: Drafter | None) -> None:
    """The operator knows what the counters cannot tell."""
    mixed = window((800, 600, 500), drafts=1000, draft_tokens=2500)
    assert present(mixed, drafter, 4.0).k == 4.0


def test_an_unknown_method_with_whole_drafts_in_every_step_is_taken_to_draft_k() -> None:
    """That is what such a method looks like."""
    steady = window((800, 600, 500), drafts=1000, draft_tokens=3000)
    assert present(steady, None, None) == Present(3.0, Drafting.FIXED)


@pytest.mark.parametrize(
    ("draft_tokens", "request_steps"), [(2500, 1000), (3000, 1500)], ids=["short drafts", "steps without a draft"]
)
def test_an_unknown_method_with_gaps_is_taken_to_draft_short(draft_tokens: float, request_steps: float) -> None:
    """Either is a lookup method's mark; k stays unknown."""
    gaps = window((800, 600, 500), drafts=1000, draft_tokens=draft_tokens, request_steps=request_steps)
    assert present(gaps, None, None) == Present(None, Drafting.VARIABLE)
