"""The rolling estimate of acceptance finds the truth, says how sure it is, and follows a change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import drafted, window

from controller.model.acceptance import Acceptance, estimate, estimates
from controller.model.drafter import HEAD, LOOKUP, UNKNOWN, Drafter, Drafting
from controller.model.evidence import MEMORY_WINDOWS, AcceptanceEvidence, counts_of, observed

CODE = (0.9, 0.88, 0.86, 0.85, 0.84)
PROSE = (0.5, 0.42, 0.38, 0.35, 0.33)


def after(*windows_of: tuple[tuple[float, ...], int], k: int = 5) -> Acceptance:
    """The estimate after windows of (hazards, drafts)."""
    evidence: AcceptanceEvidence | None = None
    for seed, (hazards, drafts) in enumerate(windows_of):
        counted = window(drafted(hazards, drafts, k, seed), drafts=drafts, draft_tokens=drafts * k)
        evidence = observed(evidence, counts_of(counted, Drafting.FIXED, float(k)))
    assert evidence is not None
    return estimate(evidence, HEAD)


def test_the_estimate_finds_the_survival_that_drew_the_counts() -> None:
    """With 50,000 drafts each S_j is within 2% of the truth, and within the bounds."""
    found = after((CODE, 50_000))
    truth = np.cumprod(CODE)
    np.testing.assert_allclose(found.survival, truth, rtol=0.02)
    assert all(
        low <= true <= high for low, true, high in zip(found.survival_low, truth, found.survival_high, strict=True)
    )


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0, 1e5), st.integers(0, 5)), min_size=1, max_size=4))
def test_several_are_estimated_as_each_of_them_alone(known: list[tuple[float, float, int]]) -> None:
    """However much or little is known of the others."""
    several = [
        AcceptanceEvidence(risks, tuple(rate * each for each in risks), draft_squares=risks[0])
        for rate, drafts, k in known
        for risks in [tuple(drafts * rate**j if j < k else 0.0 for j in range(5))]
    ]
    for each, found in zip(several, estimates(several, HEAD), strict=True):
        alone = estimate(each, HEAD)
        assert (found.positions_observed, found.evidence_drafts) == (alone.positions_observed, alone.evidence_drafts)
        for part in ("hazard", "survival", "survival_low", "survival_high", "logit_covariance"):
            np.testing.assert_allclose(getattr(found, part), getattr(alone, part), rtol=1e-9)


def test_bounds_narrow_with_evidence() -> None:
    """Ten times the drafts, about a third of the width."""
    few, many = after((PROSE, 2_000)), after((PROSE, 20_000))
    width = [found.survival_high[1] - found.survival_low[1] for found in (few, many)]
    assert width[1] == pytest.approx(width[0] / 10**0.5, rel=0.3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 100_000), st.integers(1, 12))
def test_survival_never_rises_and_stays_within_its_bounds(rates: list[float], drafts: int, k: int) -> None:
    """1 >= S_1 >= S_2 >= ... >= 0, and the bounds hold the estimate and never rise either."""
    accepted = tuple(float(round(drafts * survival)) if j < k else 0.0 for j, survival in enumerate(np.cumprod(rates)))
    counted = window(accepted, drafts=drafts, draft_tokens=drafts * min(k, len(rates)))
    found = estimate(observed(None, counts_of(counted, Drafting.FIXED, None)), UNKNOWN)
    for series in (found.survival, found.survival_low, found.survival_high):
        assert all(np.diff([1.0, *series]) <= 1e-12)
    for low, middle, high in zip(found.survival_low, found.survival, found.survival_high, strict=True):
        assert 0.0 <= low <= middle <= high <= 1.0


@pytest.mark.parametrize("drafts", [1e3, 1e9, 1e15, 1e17])
@pytest.mark.parametrize("refused", [0.0, 1.0])
def test_however_many_drafts_were_all_accepted_or_all_refused_the_estimate_is_a_number(
    drafts: float, refused: float
) -> None:
    """From 1e16 on, one more or less makes no difference to a float: the rate is exactly 1."""
    accepted = drafts * (1 - refused)
    found = estimate(AcceptanceEvidence((drafts, accepted), (accepted, accepted)), HEAD)
    for each in (found.hazard, found.survival, found.survival_low, found.survival_high):
        assert all(0 <= one <= 1 for one in each)
    assert found.survival[0] == pytest.approx(1 - refused, abs=0.02)


def test_positions_never_drafted_are_extrapolated_and_marked_and_less_certain() -> None:
    """At k=2 of 5 positions 3..5 are not observed: their hazards follow the trend with bounds that widen."""
    found = after((PROSE, 20_000), k=2)
    relative = np.log(np.array(found.survival_high) / np.array(found.survival_low))
    assert found.positions_observed == 2
    assert all(np.diff(relative[1:]) > 0)
    assert relative[2] > 3 * relative[1]


def test_a_traffic_shift_is_followed_at_once_and_old_evidence_dropped() -> None:
    """One window of prose after many of code: the estimate is prose's, not a mixture."""
    found = after(*[(CODE, 3_000)] * 10, (PROSE, 3_000))
    np.testing.assert_allclose(found.survival, np.cumprod(PROSE), rtol=0.15)
    assert found.evidence_drafts == pytest.approx(3_000)


def test_steady_traffic_is_not_mistaken_for_a_shift() -> None:
    """In 200 windows of the same traffic the memory is never wiped."""
    evidence = None
    for seed in range(200):
        counted = window(drafted(PROSE, 500, 5, seed), drafts=500)
        evidence = observed(evidence, counts_of(counted, Drafting.FIXED, 5.0))
        assert evidence.drafts >= min(500 * (seed + 1), 500 * MEMORY_WINDOWS) * 0.99


def test_memory_is_bounded_however_long_it_runs() -> None:
    """Evidence never exceeds what MEMORY_WINDOWS windows bring."""
    evidence = None
    for _ in range(100):
        evidence = observed(evidence, counts_of(window((700.0, 300.0), drafts=1000), Drafting.FIXED, 2.0))
    assert evidence is not None
    assert evidence.drafts == pytest.approx(1000 * MEMORY_WINDOWS)


def test_a_lull_does_not_wipe_out_what_is_known() -> None:
    """A window with 20 drafts hardly fades 4,000 older ones."""
    evidence = observed(None, counts_of(window((2800.0, 1200.0), drafts=4000), Drafting.FIXED, 2.0))
    evidence = observed(evidence, counts_of(window((14.0, 6.0), drafts=20), Drafting.FIXED, 2.0))
    assert evidence.drafts == pytest.approx(4000, rel=0.01)


def test_a_window_without_drafts_changes_nothing() -> None:
    """At k=0 nothing is observed, and what was known stays."""
    evidence = observed(None, counts_of(window((700.0, 300.0), drafts=1000), Drafting.FIXED, 2.0))
    assert evidence == observed(evidence, counts_of(window((0.0, 0.0), request_steps=500), Drafting.FIXED, 0.0))


def test_a_mixed_schedule_counts_each_position_only_where_it_was_drafted() -> None:
    """Half the drafts at k=2, half at k=3: the third hazard is not halved by drafts that never reached it."""
    third = drafted(CODE, 20_000, 3, 1)
    second = drafted(CODE, 20_000, 2, 2)
    accepted = tuple(a + b for a, b in zip(third, second, strict=True))
    counted = window(accepted, drafts=40_000, draft_tokens=100_000)
    found = estimate(observed(None, counts_of(counted, Drafting.FIXED, None)), HEAD)
    assert found.hazard[2] == pytest.approx(CODE[2], abs=0.03)


def test_for_lookup_methods_a_short_draft_counts_as_not_accepted() -> None:
    """Survival per draft is what cutting k changes: S_j = accepted at j / drafts."""
    counted = window((366.0, 151.0, 89.0, 47.0), drafts=939, draft_tokens=3433, request_steps=1444)
    found = estimate(observed(None, counts_of(counted, Drafting.VARIABLE, None)), LOOKUP)
    np.testing.assert_allclose(found.survival, np.array([366, 151, 89, 47]) / 939, rtol=0.1)
    assert found.coverage == pytest.approx(939 / 1444)


def test_a_changed_number_of_positions_starts_anew() -> None:
    """Evidence of k_max=2 says nothing to a server relaunched with k_max=3."""
    evidence = observed(None, counts_of(window((700.0, 300.0), drafts=1000), Drafting.FIXED, 2.0))
    evidence = observed(evidence, counts_of(window((70.0, 30.0, 10.0), drafts=100), Drafting.FIXED, 3.0))
    assert evidence.drafts == 100


@pytest.mark.parametrize("drafter", [HEAD, LOOKUP, UNKNOWN])
def test_bounds_of_positions_far_beyond_any_evidence_are_quiet(drafter: Drafter) -> None:
    """A k_max of hundreds is nobody's, and no reason for a warning on stderr."""
    nothing = (0.0,) * 300
    found = estimate(AcceptanceEvidence(nothing, nothing), drafter)
    assert found.survival_high[-1] == 1.0
    assert 0 <= found.survival_low[-1] <= found.survival[-1] <= 1
