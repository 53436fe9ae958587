"""Counts fade, shift and age as the traffic does, and another k is not other traffic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import drafted, window

from controller.model.acceptance import estimate
from controller.model.drafter import HEAD, LOOKUP, Drafting
from controller.model.evidence import (
    DESIGN_EFFECT,
    HALF_LIFE_WINDOWS,
    AcceptanceEvidence,
    asked_at_least,
    counts_of,
    exact_counts_of,
    observed,
)
from controller.observe.speculation import StepCounts, WorkloadCounts

CODE = (0.9, 0.88, 0.86, 0.85, 0.84)
PROSE = (0.5, 0.42, 0.38, 0.35, 0.33)


def counted(hazards: tuple[float, ...], drafts: int, k: int, seed: int = 0) -> AcceptanceEvidence:
    """One window of drafts of k tokens."""
    return counts_of(
        window(drafted(hazards, drafts, k, seed), drafts=drafts, draft_tokens=drafts * k), Drafting.FIXED, float(k)
    )


def after(*windows_of: AcceptanceEvidence) -> AcceptanceEvidence:
    """What is remembered of these windows."""
    evidence: AcceptanceEvidence | None = None
    for each in windows_of:
        evidence = observed(evidence, each)
    assert evidence is not None
    return evidence


# another k


@pytest.mark.parametrize("hazards", [CODE, PROSE], ids=["code", "prose"])
@pytest.mark.parametrize(("first", "then"), [(5, 1), (1, 5), (5, 2), (2, 4)])
def test_another_k_is_not_other_traffic(hazards: tuple[float, ...], first: int, then: int) -> None:
    """The same traffic drafted shorter or longer drops nothing, though its drafts accept fewer or more tokens."""
    before = after(*(counted(hazards, 3000, first, seed) for seed in range(4)))
    both = observed(before, counted(hazards, 3000, then, 9))
    assert both.drafts > before.drafts
    assert both.accepted[0] > before.accepted[0]


def test_other_traffic_is_seen_at_another_k_too() -> None:
    """Code at k=5, prose at k=2: the positions that both have seen tell."""
    fresh = counted(PROSE, 3000, 2)
    both = observed(after(*(counted(CODE, 3000, 5, seed) for seed in range(4))), fresh)
    assert both.at_risk == fresh.at_risk


def test_what_was_known_of_positions_that_are_not_drafted_now_fades_slowly() -> None:
    """Thirty windows at k=1 leave most of what five windows at k=5 taught of the second draft."""
    wide = after(*(counted(CODE, 3000, 5, seed) for seed in range(5)))
    narrow = wide
    for seed in range(30):
        narrow = observed(narrow, counted(CODE, 3000, 1, 100 + seed))
    assert 0.6 * wide.at_risk[1] < narrow.at_risk[1] < wide.at_risk[1]
    assert narrow.accepted[1] / narrow.at_risk[1] == pytest.approx(wide.accepted[1] / wide.at_risk[1])
    assert estimate(narrow, HEAD).positions_observed == 5


def test_positions_that_are_drafted_fade_with_the_windows_that_replace_them() -> None:
    """The memory of the first position stays bounded meanwhile."""
    many = after(*(counted(CODE, 3000, 1, seed) for seed in range(40)))
    more = observed(many, counted(CODE, 3000, 1, 99))
    assert more.drafts == pytest.approx(many.drafts, rel=0.01)


# scatter


def test_windows_that_scatter_more_than_chance_widen_the_bounds() -> None:
    """Traffic that wavers from window to window: a draft says less than one of steady traffic does."""
    steady = after(*(counted(PROSE, 2000, 3, seed) for seed in range(40)))
    wavering = after(
        *(counted(tuple(rate + 0.04 * (-1) ** seed for rate in PROSE), 2000, 3, seed) for seed in range(40))
    )
    assert steady.design_effect < DESIGN_EFFECT
    assert wavering.design_effect > DESIGN_EFFECT
    narrow, wide = (
        float(np.subtract(found.survival_high, found.survival_low)[0])
        for found in (estimate(each, HEAD) for each in (steady, wavering))
    )
    assert wide > 1.5 * narrow


def test_the_scatter_survives_a_shift_of_the_traffic() -> None:
    """How much windows scatter is a trait of the server's traffic, not of what was dropped."""
    known = after(*(counted(CODE, 3000, 5, seed) for seed in range(10)))
    shifted = observed(known, counted(PROSE, 3000, 5))
    assert shifted.drafts == 3000
    assert (shifted.scatter, shifted.scatter_windows) == (known.scatter, known.scatter_windows)


@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.integers(1, 5000)), min_size=1, max_size=12))
def test_a_draft_never_says_more_than_an_independent_one(windows_of: list[tuple[float, int]]) -> None:
    """The design effect is at least 1, the fading at most, and no more is accepted than was at risk."""
    found = after(*(counted((rate,) * 3, drafts, 3, seed) for seed, (rate, drafts) in enumerate(windows_of)))
    assert found.design_effect >= 1.0
    assert 0.0 < found.fading <= 1.0
    for hits, risk in zip(found.accepted, found.at_risk, strict=True):
        assert 0.0 <= hits <= risk * (1 + 1e-12)


# age

FADED = after(*(counted(CODE, 3000, 5, seed) for seed in range(20)))


@given(st.floats(0.0, 10 * HALF_LIFE_WINDOWS))
def test_what_is_known_counts_for_half_after_each_half_life(windows: float) -> None:
    """All counts alike, so that the rates stay; how much windows scatter is not forgotten."""
    known = FADED
    aged = known.aged(windows)
    kept = 0.5 ** (windows / HALF_LIFE_WINDOWS)
    assert aged.drafts == pytest.approx(kept * known.drafts)
    for part in ("at_risk", "accepted"):
        assert getattr(aged, part) == pytest.approx([kept * each for each in getattr(known, part)])
    for part in ("draft_tokens", "request_steps", "drafting_steps"):
        assert getattr(aged, part) == pytest.approx(kept * getattr(known, part))
    assert aged.design_effect == known.design_effect
    assert aged.mean_draft_length == pytest.approx(known.mean_draft_length)
    assert aged.fading == pytest.approx(known.fading)
    assert known.fading < 0.99


def test_ageing_in_steps_is_ageing_at_once() -> None:
    """However often a pass looks."""
    known = counted(CODE, 3000, 5)
    by_steps = known
    for _ in range(60):
        by_steps = by_steps.aged()
    assert by_steps.at_risk == pytest.approx(known.aged(60.0).at_risk)


def test_the_older_the_less_certain_and_the_sooner_new_traffic_is_believed() -> None:
    """Bounds widen, and one window outweighs what a dozen half-lives left."""
    known = after(*(counted(CODE, 3000, 5, seed) for seed in range(4)))
    old = known.aged(12 * HALF_LIFE_WINDOWS)
    ours, before = estimate(old, HEAD), estimate(known, HEAD)
    assert ours.survival_high[4] - ours.survival_low[4] > 3 * (before.survival_high[4] - before.survival_low[4])
    fresh = counted(tuple(rate - 0.06 for rate in CODE), 200, 5)  # too little to be other traffic for certain
    assert estimate(observed(old, fresh), HEAD).survival[0] < estimate(observed(known, fresh), HEAD).survival[0]


# exact counts


def workload(
    drafts: float, judged: tuple[float, ...], accepted: tuple[float, ...], drafted_at: tuple[float, ...]
) -> WorkloadCounts:
    """Verified drafts of a workload."""
    return WorkloadCounts("w", drafts, drafted_at, judged, accepted)


def steps(k: int, request_steps: float) -> StepCounts:
    """Steps at one k."""
    return StepCounts(4, 4, k, request_steps / 4, request_steps, 1.0, request_steps)


TWO = workload(1000, (1000, 700), (700, 400), (1000, 1000))
THREE = workload(500, (500, 400, 300), (400, 300, 200), (500, 500, 500))


def test_steps_are_asked_for_at_least_k_up_to_k_max() -> None:
    """A k beyond k_max counts as k_max."""
    assert asked_at_least((steps(0, 10.0), steps(2, 20.0), steps(9, 40.0)), 3) == (70.0, 60.0, 60.0, 40.0)
    assert asked_at_least((), 2) == (0.0, 0.0, 0.0)


def test_exact_counts_are_taken_as_they_are_and_added_over_workloads() -> None:
    """A position is at risk just where it was judged, whatever mixture of ks ran."""
    found = exact_counts_of(
        (TWO, THREE), asked_at_least((steps(2, 1000.0), steps(3, 500.0)), 4), Drafting.FIXED, 1500.0
    )
    assert found.at_risk == (1500.0, 1100.0, 300.0, 0.0)
    assert found.accepted == (1100.0, 700.0, 200.0, 0.0)
    assert (found.drafts, found.draft_tokens) == (1500, 3500)
    assert found.draft_squares == 1500


def test_where_one_k_ran_the_plugin_and_the_counters_say_the_same() -> None:
    """Of a method that always drafts k, in every field."""
    by_page = counts_of(window((700.0, 400.0), drafts=1000), Drafting.FIXED, 2.0)
    assert exact_counts_of((TWO,), asked_at_least((steps(2, 1000.0),), 2), Drafting.FIXED, 1000.0) == by_page


def test_where_one_k_ran_the_plugin_and_the_counters_say_the_same_of_short_drafts() -> None:
    """A lookup's short draft counts as not accepted by both."""
    short = workload(939, (939, 350, 140, 80), (366, 151, 89, 47), (939, 900, 850, 744))
    page = window((366.0, 151.0, 89.0, 47.0), drafts=939, draft_tokens=3433, request_steps=1444)
    by_page = counts_of(page, Drafting.VARIABLE, 4.0)
    by_plugin = exact_counts_of((short,), asked_at_least((steps(4, 1444.0),), 4), Drafting.VARIABLE, 1444.0)
    assert by_plugin == by_page
    assert estimate(by_plugin, LOOKUP).coverage == pytest.approx(939 / 1444)


def test_of_short_drafts_a_position_is_at_risk_only_in_the_steps_that_asked_for_it() -> None:
    """Half the steps at k=1: the second position was at risk in half of the drafts whose first was accepted."""
    short = workload(1000, (1000, 100), (600, 90), (1000, 200))
    found = exact_counts_of((short,), asked_at_least((steps(1, 800.0), steps(2, 800.0)), 2), Drafting.VARIABLE, 1600.0)
    assert found.at_risk == (1000, 300)


def test_steps_at_k0_asked_for_nothing() -> None:
    """Coverage is the share of the steps that were asked to draft, with those beside prompts in proportion."""
    found = exact_counts_of((TWO,), asked_at_least((steps(0, 1000.0), steps(2, 1000.0)), 2), Drafting.FIXED, 2400.0)
    assert found.request_steps == pytest.approx(1200.0)
    assert found.drafting_steps == 1000.0


def test_workloads_that_drafted_nothing_leave_no_evidence() -> None:
    """Zeros at every position, and nothing is changed by them."""
    nothing = exact_counts_of((), asked_at_least((steps(0, 1000.0),), 3), Drafting.FIXED, 1000.0)
    assert (nothing.at_risk, nothing.drafts, nothing.drafting_steps) == ((0, 0, 0), 0, 0)
    known = counted(CODE, 3000, 5)
    assert observed(known, replace(nothing, at_risk=(0.0,) * 5, accepted=(0.0,) * 5)) == known
