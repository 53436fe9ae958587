"""A change is made for what it gains, and judged by what it brought."""

from dataclasses import replace
from typing import Any

import pytest
from contract.rollout_bench import CHANGE, HOLD, later, score
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.act.rollout.economics import expectation, realised, worth
from controller.act.rollout.record import Expected

RATES = st.floats(1e-3, 1e7)
SECONDS = st.floats(1, 1e7)


@given(st.floats(0.5, 3), RATES, st.integers(1, 1000), SECONDS, SECONDS)
def test_a_change_pays_when_gain_times_horizon_exceeds_two_starts(
    gain_low: float, rate: float, replicas: int, startup: float, horizon: float
) -> None:
    """Whatever the rate and the number of replicas, which stand on both sides."""
    gain, cost = (gain_low - 1) * horizon, 2 * startup
    assume(abs(gain - cost) > 1e-3 * cost)
    assert worth(gain_low, rate, replicas, startup, horizon).pays is (gain > cost)


def test_what_a_loss_gains_is_nothing() -> None:
    """Never less: the cost stands beside it."""
    assert worth(0.9, 1000, 1, 10, 100).gained_tokens == 0


def test_an_expectation_is_what_stood_before_and_was_to_come() -> None:
    """At the load of the decision."""
    assert expectation(CHANGE) == Expected(5, 2, 1.2, 64.0, 1000.0, 1.01, 2.0)


def test_an_expectation_without_a_measured_step_has_no_throughput() -> None:
    """A modelled one would be compared with a measured one."""
    modelled = tuple(replace(each, step_measured=False) for each in CHANGE.scores)
    found = expectation(replace(CHANGE, scores=modelled))
    assert found is not None
    assert found.tokens_per_second is None
    assert realised(found, later(1200)) is None


@pytest.mark.parametrize("missing", ["k", "gain", "batch"])
def test_a_decision_that_says_too_little_makes_no_expectation(missing: str) -> None:
    """Nothing is made up."""
    nothing: dict[str, Any] = {missing: None}
    assert expectation(replace(CHANGE, **nothing)) is None
    assert expectation(replace(CHANGE, scores=())) is None


def test_a_k_that_is_not_known_is_the_largest_that_was_priced() -> None:
    """n-gram and suffix: what is asked for is k_max."""
    found = expectation(replace(CHANGE, k_now=None))
    assert found is not None
    assert found.k_before == 5


@given(st.floats(0.2, 5), st.floats(0.2, 5), st.floats(1.0, 1.5), st.floats(1.0, 1.5))
def test_the_realised_gain_is_the_ratio_of_throughputs_over_that_of_traffics(
    gain: float, traffic: float, spread_before: float, spread_after: float
) -> None:
    """With bounds that hold it, and are no tighter than those of either side."""
    before = Expected(5, 2, 1.2, 64.0, 1000.0, spread_before, 2.0)
    scores = (score(2, 1000 * gain * traffic, spread=spread_after), score(5, tokens_per_step=2 * traffic))
    found = realised(before, replace(HOLD, k_now=2.0, batch=64.0, scores=scores))
    assert found is not None
    assert found.value == pytest.approx(gain)
    assert found.low <= found.value <= found.high
    assert found.high / found.value >= max(spread_before, spread_after) * (1 - 1e-9)


@pytest.mark.parametrize("batch", [64 / 1.31, 64 * 1.31])
def test_another_load_is_not_compared(batch: float) -> None:
    """It explains more than k does."""
    before = Expected(5, 2, 1.2, 64.0, 1000.0, 1.01, 2.0)
    assert realised(before, later(1200, batch=batch)) is None
    assert realised(before, later(1200, batch=64 + (batch - 64) * 0.7)) is not None
