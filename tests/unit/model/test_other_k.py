"""What is known at one k is carried over to another without contradicting itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.drafter import DRAFT_MODEL, HEAD, LOOKUP, UNKNOWN
from controller.model.other_k import from_mean_length, from_rates, renewal
from controller.model.speedup import acceptance_from_mean_length

drafters = st.sampled_from([HEAD, DRAFT_MODEL, LOOKUP, UNKNOWN])
falling = st.lists(st.floats(0.02, 0.98), min_size=1, max_size=8).map(lambda rates: tuple(np.cumprod(rates).tolist()))


@given(st.integers(1, 10), st.floats(0.001, 0.999), st.integers(0, 8), drafters)
def test_the_length_it_was_made_from_is_reproduced(k: int, share: float, more: int, drafter: object) -> None:
    """1 + S_1 + ... + S_k is the mean length again, and survival never rises."""
    survival = from_mean_length(1 + share * k, k, k + more, drafter)  # type: ignore[arg-type]
    assert 1 + sum(survival[:k]) == pytest.approx(1 + share * k, rel=1e-6)
    assert all(np.diff([1.0, *survival]) <= 1e-12)


def test_for_heads_a_longer_draft_promises_less_than_a_constant_rate() -> None:
    """Heads decay with position: from a length of 2.3 at k=2, k=8 is expected below the constant extrapolation."""
    alpha = acceptance_from_mean_length(2.3, 2)
    assert sum(from_mean_length(2.3, 2, 8, HEAD)) < sum(alpha**j for j in range(1, 9))


@given(falling, st.integers(0, 6), drafters)
def test_published_rates_are_kept_and_continued(rates: tuple[float, ...], more: int, drafter: object) -> None:
    """Positions that were published stay as they are; those beyond never rise."""
    survival = from_rates(rates, len(rates) + more, drafter)  # type: ignore[arg-type]
    np.testing.assert_allclose(survival[: len(rates)], rates, atol=0.01)
    assert all(np.diff([1.0, *survival]) <= 1e-12)


@given(falling, st.floats(0, 2))
def test_renewal_changes_nothing_at_the_k_it_was_seen_at(rates: tuple[float, ...], persistence: float) -> None:
    """And at smaller k the first draft is never less likely, at larger k never more."""
    ratios = renewal(rates, len(rates), np.arange(1, len(rates) + 1), persistence)
    assert ratios[-1] == pytest.approx(1.0, abs=1e-3)
    assert all(np.diff(ratios) <= 1e-9)
    assert np.all(ratios * rates[0] <= 1.0 + 1e-12)


@pytest.mark.parametrize("length", [0.9, 5.1, float("nan")])
def test_a_length_outside_its_range_is_refused(length: float) -> None:
    """1..k+1, bonus token included."""
    with pytest.raises(ValueError, match="impossible at k=4"):
        from_mean_length(length, 4, 8, HEAD)
