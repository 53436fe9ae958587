"""Prices: tokens per step over seconds per step, with bounds that share their errors."""

import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import drafted, window

from controller.model.acceptance import estimate
from controller.model.drafter import HEAD, LOOKUP, Drafting
from controller.model.economics import Market
from controller.model.evidence import counts_of, observed
from controller.model.speedup import expected_tokens, optimal_k, speedup
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime


def market(alpha: float, cells: tuple[Cell, ...], k: int = 8, drafts: int = 100_000) -> Market:
    """A market of a constant acceptance rate and the measured cells."""
    counted = window(drafted((alpha,) * k, drafts, k), drafts=drafts)
    acceptance = estimate(observed(None, counts_of(counted, Drafting.FIXED, None)), HEAD)
    return Market(acceptance, StepTime(StepTable(cells), HEAD), Drafting.FIXED, k, float(k))


def linear_cells(c: float, k_max: int = 8, weight: float = 1e4) -> tuple[Cell, ...]:
    """Steps at batch 1 that cost exactly 1 + k c."""
    return tuple(Cell(1.0, float(k), float(k > 0), math.log(0.02 * (1 + k * c)), weight) for k in range(k_max + 1))


@pytest.mark.parametrize(("alpha", "c"), list(product((0.3, 0.5, 0.7, 0.9), (0.05, 0.3))))
def test_with_constant_acceptance_and_linear_cost_the_prices_are_the_textbook(alpha: float, c: float) -> None:
    """Tokens per step and the ratio to k=0 agree with Leviathan's formulas within 1.5%, and so does the choice."""
    scores = market(alpha, linear_cells(c)).prices([1.0], 0.0).scores(0)
    ks = np.arange(9)
    np.testing.assert_allclose([s.tokens_per_step for s in scores], expected_tokens(alpha, ks), rtol=0.015)
    np.testing.assert_allclose([s.gain_ratio for s in scores], speedup(alpha, ks, c), rtol=0.015)
    best = max(scores, key=lambda score: score.tokens_per_second)
    assert speedup(alpha, best.k, c) == pytest.approx(float(speedup(alpha, optimal_k(alpha, c, 8), c)), rel=0.01)


def test_the_gain_over_the_reference_itself_is_one_and_certain() -> None:
    """Errors that both sides share cancel."""
    score = market(0.6, linear_cells(0.1)).prices([1.0], 4.0).scores(0)[4]
    assert (score.gain_ratio, score.gain_low, score.gain_high) == (1.0, 1.0, 1.0)


def test_bounds_of_a_gain_are_tighter_than_those_of_two_throughputs() -> None:
    """Dividing bounds would count the shared error twice."""
    scores = market(0.6, (Cell(1.0, 8.0, 1.0, math.log(0.03), 10.0),), drafts=500).prices([1.0], 8.0).scores(0)
    divided = scores[7].tokens_per_second_low / scores[8].tokens_per_second_high
    assert scores[7].gain_low > divided


@given(st.floats(0.02, 0.98), st.floats(0, 8), st.floats(1, 300))
def test_bounds_surround_their_value_and_tokens_stay_in_range(alpha: float, reference: float, batch: float) -> None:
    """low <= value <= high, and 1 <= E(k) <= k + 1, for any reference between whole k."""
    for score in market(alpha, linear_cells(0.1), drafts=1000).prices([batch], reference).scores(0):
        assert 1.0 <= score.tokens_per_step <= score.k + 1.0
        assert score.tokens_per_second_low <= score.tokens_per_second <= score.tokens_per_second_high
        assert score.gain_low <= score.gain_ratio <= score.gain_high


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0.005, 0.2)), min_size=1, max_size=9), st.floats(1, 64))
def test_another_draft_makes_a_step_shorter_only_where_it_was_measured(
    measured: list[tuple[int, float]], batch: float
) -> None:
    """Whatever was measured, contradictions included, the priced step time falls with k at a measured k alone."""
    cells = tuple(Cell(8.0, float(k), float(k > 0), math.log(seconds), 5.0) for k, seconds in dict(measured).items())
    scores = market(0.6, cells, drafts=1000).prices([batch], 4.0).scores(0)
    for before, score in pairwise(scores):
        assert score.step_measured or score.step_seconds >= before.step_seconds * (1 - 1e-12)


def test_a_k_that_fits_a_captured_graph_is_worth_what_was_measured_beside_one_that_does_not() -> None:
    """As on an H100 at batch 32, with few captured graphs: k=2 took 37.2 ms and k=3 11.7 ms."""
    grid = {0: 8.86, 1: 10.98, 2: 37.23, 3: 11.67, 4: 33.98}
    cells = tuple(Cell(32.0, float(k), float(k > 0), math.log(ms / 1e3), 30.0) for k, ms in grid.items())
    scores = market(0.8, cells, k=4).prices([32.0], 1.0).scores(0)
    for k, ms in grid.items():
        assert scores[k].step_seconds == pytest.approx(ms / 1e3, rel=0.1)
    assert max(scores, key=lambda score: score.tokens_per_second).k == 3


def test_between_two_whole_k_the_server_runs_a_mixture() -> None:
    """E(2.5) is the mean of E(2) and E(3)."""
    here = market(0.6, linear_cells(0.1))
    assert here.tokens_per_step(2.5) == pytest.approx((here.tokens_per_step(2) + here.tokens_per_step(3)) / 2)


def test_lookup_drafting_reproduces_what_was_observed() -> None:
    """Asked for k_max, the model's tokens and drafts per request-step are those of the n-gram capture."""
    counted = window((366.0, 151.0, 89.0, 47.0), drafts=939, draft_tokens=3433, request_steps=1444)
    evidence = observed(None, counts_of(counted, Drafting.VARIABLE, None))
    step_time = StepTime(StepTable((Cell(4.0, 2.4, 0.65, math.log(0.009), 1.0),)), LOOKUP)
    here = Market(estimate(evidence, LOOKUP), step_time, Drafting.VARIABLE, 4, evidence.mean_draft_length)
    assert here.tokens_per_step(4) == pytest.approx(1 + 653 / 1444, rel=0.01)
    drafts = float(here.prices([4.0], 0.0).drafts[4])
    assert drafts == pytest.approx(3433 / 1444, rel=0.01)


def test_coverage_scales_what_drafting_brings() -> None:
    """tokens per step = 1 + f (S_1 + ... + S_k)."""
    here = replace(market(0.6, linear_cells(0.1)), drafting=Drafting.VARIABLE)
    half = replace(here, acceptance=replace(here.acceptance, coverage=0.5))
    assert half.tokens_per_step(8) - 1 == pytest.approx((here.tokens_per_step(8) - 1) / 2)
