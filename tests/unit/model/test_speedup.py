"""The textbook functions agree with the paper, with simulation and with each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.speedup import (
    acceptance_ceiling,
    acceptance_from_mean_length,
    acceptance_rate,
    expected_tokens,
    optimal_k,
    saturation,
    speedup,
)

rates = st.floats(0, 1)
costs = st.floats(0, 2)
drafts = st.integers(0, 24)


def simulated_tokens(alpha: float, k: int, cycles: int, seed: int) -> float:
    """Mean tokens of cycles drawn one by one: accepted drafts up to the first rejection, plus one."""
    accepted = np.random.default_rng(seed).random((cycles, k)) < alpha
    return float(1 + np.cumprod(accepted, axis=1).sum(axis=1).mean())


def test_a_drafter_that_is_never_right_yields_one_token_and_one_that_always_is_yields_k_plus_one() -> None:
    """E is 1 at alpha=0 and k+1 at alpha=1, for every k."""
    ks = np.arange(17)
    np.testing.assert_array_equal(np.ones(17), expected_tokens(0.0, ks))
    np.testing.assert_array_equal(ks + 1.0, expected_tokens(1.0, ks))


@pytest.mark.parametrize(("alpha", "k"), [(0.3, 3), (0.5, 1), (0.7, 5), (0.9, 8), (0.99, 12)])
def test_the_formula_agrees_with_two_hundred_thousand_simulated_cycles_within_one_percent(alpha: float, k: int) -> None:
    """The closed form is the mean of the process it describes."""
    assert float(expected_tokens(alpha, k)) == pytest.approx(simulated_tokens(alpha, k, 200_000, seed=k), rel=0.01)


@given(rates, drafts)
def test_expected_tokens_lie_between_one_and_k_plus_one_and_below_the_ceiling(alpha: float, k: int) -> None:
    """1 <= E(k) <= min(k + 1, 1 / (1 - alpha))."""
    tokens = float(expected_tokens(alpha, k))
    assert 1.0 <= tokens <= min(k + 1.0, acceptance_ceiling(alpha)) * (1 + 1e-9)


@given(rates, st.integers(1, 24))
def test_one_more_draft_is_worth_its_survival(alpha: float, k: int) -> None:
    """E(k) - E(k-1) = alpha^k."""
    gained = float(expected_tokens(alpha, k) - expected_tokens(alpha, k - 1))
    assert gained == pytest.approx(alpha**k, abs=1e-9)


@given(st.floats(1 - 1e-9, 1), drafts)
def test_the_formula_is_exact_next_to_certainty(alpha: float, k: int) -> None:
    """No cancellation where 1 - alpha is tiny: E equals the plain sum of powers."""
    assert float(expected_tokens(alpha, k)) == pytest.approx(sum(alpha**i for i in range(k + 1)), rel=1e-6)


@given(rates, drafts)
def test_a_free_drafter_never_loses(alpha: float, k: int) -> None:
    """At c=0 the speedup is at least 1."""
    assert float(speedup(alpha, k, 0.0)) >= 1.0


def test_a_dull_and_dear_drafter_loses_and_is_switched_off() -> None:
    """alpha=.2, c=.5, k=5 is below 1, and its best k is 0."""
    assert float(speedup(0.2, 5, 0.5)) < 1.0
    assert optimal_k(0.2, 0.5, 10) == 0


def test_a_sharp_and_cheap_drafter_more_than_doubles() -> None:
    """alpha=.7, c=.05, k=5 gives about 2.3."""
    assert float(speedup(0.7, 5, 0.05)) == pytest.approx(2.35, abs=0.06)


@given(st.floats(0, 0.98), st.floats(0, 0.02), st.floats(0.001, 1))
def test_the_best_k_rises_with_acceptance(alpha: float, more: float, c: float) -> None:
    """optimal_k(alpha + more) >= optimal_k(alpha)."""
    assert optimal_k(alpha + more, c, 24) >= optimal_k(alpha, c, 24)


@given(rates, st.floats(0, 1), st.floats(0, 1))
def test_the_best_k_falls_with_cost(alpha: float, c: float, more: float) -> None:
    """optimal_k(c + more) <= optimal_k(c)."""
    assert optimal_k(alpha, c + more, 24) <= optimal_k(alpha, c, 24)


@given(rates, costs, drafts)
def test_the_best_k_is_the_argmax_with_zero_included(alpha: float, c: float, k_max: int) -> None:
    """No k in 0..k_max beats it."""
    best = optimal_k(alpha, c, k_max)
    ratios = speedup(alpha, np.arange(k_max + 1), c)
    assert ratios.max() == pytest.approx(float(speedup(alpha, best, c)))


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.5))
def test_each_draft_up_to_the_best_k_pays_and_the_next_does_not(alpha: float, c: float) -> None:
    """Draft i pays exactly while alpha^i > c speedup(i-1)."""
    best = optimal_k(alpha, c, 200)
    pays = [alpha**i > c * float(speedup(alpha, i - 1, c)) * (1 + 1e-9) for i in range(1, best + 1)]
    assert all(pays)
    assert alpha ** (best + 1) <= c * float(speedup(alpha, best, c)) * (1 + 1e-9)


def test_comparing_survival_with_the_cost_alone_drafts_too_much() -> None:
    """alpha=.8, c=.05: the naive rule says 13, the best is 8, and 13 is 6% slower."""
    naive = sum(0.8**i > 0.05 for i in range(1, 40))
    assert (naive, optimal_k(0.8, 0.05, 40)) == (13, 8)
    assert float(speedup(0.8, 13, 0.05) / speedup(0.8, 8, 0.05)) == pytest.approx(0.94, abs=0.01)


def test_ties_go_to_the_smaller_k() -> None:
    """A free drafter that is never right makes every k equal: 0 wins."""
    assert optimal_k(0.0, 0.0, 10) == 0


@given(st.floats(0, 1), st.integers(1, 16))
def test_the_inversion_returns_the_rate_that_made_the_mean_length(alpha: float, k: int) -> None:
    """acceptance_from_mean_length inverts expected_tokens."""
    found = acceptance_from_mean_length(float(expected_tokens(alpha, k)), k)
    assert float(expected_tokens(found, k)) == pytest.approx(float(expected_tokens(alpha, k)), rel=1e-9)


def test_the_inversion_counts_the_bonus_token() -> None:
    """A mean length of 1 is no acceptance, k+1 full acceptance."""
    assert acceptance_from_mean_length(1.0, 4) == pytest.approx(0.0, abs=1e-12)
    assert acceptance_from_mean_length(5.0, 4) == pytest.approx(1.0)


@pytest.mark.parametrize(("alpha", "k"), [(0.2, 2), (0.5, 4), (0.8, 6)])
def test_the_truncated_estimate_finds_alpha_where_accepted_over_drafted_does_not(alpha: float, k: int) -> None:
    """A / (A + D - F) recovers alpha at every k; A / (k D) falls as k grows."""
    rng = np.random.default_rng(7)
    accepted = np.cumprod(rng.random((200_000, k)) < alpha, axis=1)
    found = acceptance_rate(accepted.sum(), len(accepted), accepted[:, -1].sum())
    assert found == pytest.approx(alpha, abs=0.005)
    assert accepted.sum() / (k * len(accepted)) < alpha - 0.05


def test_without_drafts_there_is_no_rate() -> None:
    """0/0 is not a rate of 0."""
    assert acceptance_rate(0, 0, 0) is None


def test_the_ceiling_is_infinite_for_certainty() -> None:
    """1 / (1 - 1)."""
    assert math.isinf(acceptance_ceiling(1.0))


def test_saturation_is_half_at_the_half_batch_and_rises_towards_one() -> None:
    """lambda(B) = B / (B + half)."""
    values = saturation([0, 64, 640, 1e9], 64.0)
    assert values[0] == 0.0
    assert values[1] == 0.5
    assert np.all(np.diff(values) > 0)
    assert values[-1] < 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: expected_tokens(1.1, 3),
        lambda: expected_tokens(math.nan, 3),
        lambda: expected_tokens(0.5, -1),
        lambda: speedup(0.5, 3, -0.1),
        lambda: optimal_k(0.5, 0.1, -1),
        lambda: acceptance_from_mean_length(0.5, 3),
        lambda: acceptance_from_mean_length(4.5, 3),
        lambda: acceptance_from_mean_length(1.5, 0),
        lambda: acceptance_ceiling(-0.1),
        lambda: acceptance_rate(-1, 3, 0),
        lambda: acceptance_rate(3, 3, 4),
        lambda: saturation(-1, 64.0),
        lambda: saturation(1, 0.0),
    ],
)
def test_arguments_outside_their_range_are_refused(call: object) -> None:
    """A rate above 1, a negative k, a length without its bonus token: ValueError, never a silent number."""
    with pytest.raises(ValueError, match=r"outside|impossible|not defined|above 0"):
        call()  # type: ignore[operator]
