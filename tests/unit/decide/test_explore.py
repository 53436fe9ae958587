"""Measuring another k is worth its price, or it is not done; the price is bounded by the budget."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from courses import RICH, SETTINGS, score
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.decide.explore import (
    ALLOWANCE_INTERVALS,
    GLANCE_INTERVALS,
    NEW_ACCOUNT,
    PAYBACK_INTERVALS,
    PROBE_INTERVALS,
    SAVED_INTERVALS,
    TRAFFIC_INTERVALS,
    Account,
    expected_improvement,
    overdue,
    worth_measuring,
)
from controller.decide.policy_settings import PolicySettings
from controller.model.economics import Score

Z90 = 1.6448536269514722
BUDGET = SETTINGS.exploration_budget
INTERVAL = SETTINGS.interval_seconds
ALLOWANCE_SECONDS = ALLOWANCE_INTERVALS * INTERVAL
PAYBACK_SECONDS = PAYBACK_INTERVALS * INTERVAL
PROBE_SECONDS = PROBE_INTERVALS * INTERVAL
GLANCE_SECONDS = GLANCE_INTERVALS * INTERVAL
TRAFFIC_SECONDS = TRAFFIC_INTERVALS * INTERVAL
CAP = BUDGET * SAVED_INTERVALS * INTERVAL
GAINS = st.lists(st.tuples(st.floats(0.5, 2.0), st.floats(1.0, 1.6)), min_size=1, max_size=9)


def uncertain(k: int, gain: float, factor: float) -> Score:
    """A k whose gain is known within a factor."""
    return score(k, gain, gain / factor, gain * factor)


# the account


@given(st.lists(st.tuples(st.floats(0.0, 1e5), st.floats(0.0, 1.0)), max_size=30))
def test_the_account_never_holds_more_than_its_cap(passes: list[tuple[float, float]]) -> None:
    """However long nothing was explored."""
    account, now = NEW_ACCOUNT.after(0.0, 0.0, SETTINGS), 0.0
    assert account.seconds == BUDGET * ALLOWANCE_SECONDS
    for seconds, lost in passes:
        now += seconds
        account = account.after(now, lost, SETTINGS)
        assert account.seconds is not None
        assert account.seconds <= CAP
        assert account.at_seconds == now


def test_an_outage_in_mid_probe_costs_one_interval_of_it() -> None:
    """For the rest of that hour nobody knows what ran, and the schedule had long expired."""
    after = Account(5.0, 0.0).after(3600.0, 0.5, SETTINGS).seconds
    assert after == pytest.approx(min(CAP, 5.0 + 3600.0 * BUDGET - SETTINGS.interval_seconds * 0.5))


@given(st.floats(0.0, CAP), st.floats(1.0, SETTINGS.interval_seconds), st.floats(0.0, 1.0))
def test_the_account_falls_just_when_a_probe_loses_more_than_the_budget_brings(
    left: float, seconds: float, lost: float
) -> None:
    """By the difference, in seconds of the whole throughput."""
    after = Account(left, 50.0).after(50.0 + seconds, lost, SETTINGS).seconds
    assert after is not None
    assert after == pytest.approx(min(CAP, left + seconds * (BUDGET - lost)))
    if lost > BUDGET + 1e-9:
        assert after < left


def test_over_a_long_time_no_more_is_lost_than_the_budget_and_the_first_allowance() -> None:
    """Probing whenever there is money: at most the stated share, and what there was at first."""
    account, lost_in_all, hours = NEW_ACCOUNT.after(0.0, 0.0, SETTINGS), 0.0, 24
    for now in range(5, hours * 3600, 5):
        lost = 0.2 if (account.seconds or 0.0) > 0 else 0.0
        lost_in_all += 5 * lost
        account = account.after(float(now), lost, SETTINGS)
    assert lost_in_all <= BUDGET * (hours * 3600 + ALLOWANCE_SECONDS) + 5 * 0.2
    assert lost_in_all >= 0.9 * BUDGET * hours * 3600


def test_a_clock_that_moves_back_brings_nothing_and_costs_nothing() -> None:
    """Time that did not pass is not paid for."""
    assert Account(5.0, 100.0).after(40.0, 0.5, SETTINGS) == Account(5.0, 40.0)


# what could be won


@given(st.floats(0.5, 2.0), st.floats(1.0, 2.0))
def test_the_expected_improvement_is_that_of_a_log_normal_gain(gain: float, factor: float) -> None:
    """E[max(0, gain - 1)] by summing over the distribution."""
    deviation = math.log(factor) / Z90
    z = np.linspace(-8, 8, 20_001)
    weight = np.exp(-(z**2) / 2) / np.sum(np.exp(-(z**2) / 2))
    by_sum = float(np.sum(weight * np.maximum(0.0, gain * np.exp(deviation * z) - 1)))
    assert expected_improvement(uncertain(1, gain, factor)) == pytest.approx(by_sum, abs=1e-4)


@given(st.floats(0.5, 2.0), st.floats(1.01, 1.5), st.floats(1.01, 1.5))
def test_more_gain_and_more_doubt_both_promise_more(gain: float, factor: float, more: float) -> None:
    """What is unsure may be better than it looks."""
    plain = expected_improvement(uncertain(1, gain, factor))
    assert expected_improvement(uncertain(1, gain * more, factor)) >= plain
    assert expected_improvement(uncertain(1, gain, factor * more)) >= plain - 1e-12


# which k


@given(GAINS, st.integers(0, 8), st.integers(0, 8), st.floats(0.0, 10.0), st.sets(st.integers(0, 8)))
def test_only_what_may_be_measured_is_and_of_that_the_most_valuable(
    gains: list[tuple[float, float]], home_k: int, observed: int, money: float, barred: set[int]
) -> None:
    """At most one position beyond what was drafted or seen, affordable, able to win, and not out of the question."""
    found_for = [uncertain(k, *each) for k, each in enumerate(gains)]
    found = worth_measuring(found_for, home_k, observed, Account(money), SETTINGS, barred)

    def value(each: Score) -> float:
        return expected_improvement(each) * PAYBACK_SECONDS - max(0.0, 1 - each.gain_ratio) * PROBE_SECONDS

    allowed = [
        each
        for each in found_for
        if each.k != home_k
        and each.k not in barred
        and each.k <= max(home_k, observed) + 1
        and each.gain_high >= 1 + SETTINGS.minimum_gain
        and max(0.0, 1 - each.gain_ratio) * PROBE_SECONDS <= money
        and value(each) > 0
    ]
    assert (found is None) == (not allowed)
    if found is not None:
        assert found in allowed
        assert value(found) == max(map(value, allowed))


@pytest.mark.parametrize(("home_k", "observed", "furthest"), [(2, 2, 3), (2, 5, 6), (4, 1, 5), (0, 0, 1)])
def test_at_most_one_position_beyond_is_measured_however_much_is_promised(
    home_k: int, observed: int, furthest: int
) -> None:
    """Further out there is nothing but extrapolation."""
    rising = [score(k, 1.0 + k, 1.0, 3.0 + k) for k in range(9)]
    found = worth_measuring(rising, home_k, observed, RICH, SETTINGS)
    assert found is not None
    assert found.k == furthest


def test_what_cannot_end_in_a_change_is_not_measured() -> None:
    """Its upper bound must clear the minimum gain, however much a percent might add up to."""
    for high, worth in ((1 + SETTINGS.minimum_gain / 2, False), (1 + 2 * SETTINGS.minimum_gain, True)):
        assert (worth_measuring([score(3, 1.01, 1.0, high)], 2, 5, RICH, SETTINGS) is not None) == worth


def test_of_two_that_promise_nearly_the_same_the_one_that_costs_less_is_measured() -> None:
    """What a probe is expected to lose counts against it."""
    free = uncertain(3, 1.0, 1.2)
    low, high = 1.0, 3.0
    for _ in range(60):  # how uncertain a k that loses a tenth must be to promise a little more
        factor = (low + high) / 2
        more = expected_improvement(uncertain(4, 0.9, factor)) > expected_improvement(free) + 1e-4
        low, high = (low, factor) if more else (factor, high)
    dear = uncertain(4, 0.9, high)
    assert expected_improvement(dear) > expected_improvement(free)
    assert worth_measuring([free, dear], 2, 5, RICH, SETTINGS) == free


def test_what_the_account_cannot_pay_is_not_measured() -> None:
    """Before the first pass there is no account, and nothing is paid."""
    loses = score(3, 0.9, 0.7, 1.3)
    price = 0.1 * PROBE_SECONDS
    for account, affordable in ((Account(price * 1.01), True), (Account(price * 0.99), False), (NEW_ACCOUNT, False)):
        assert (worth_measuring([loses], 2, 5, account, SETTINGS) is not None) == affordable


def test_without_a_budget_nothing_is_measured_not_even_what_is_expected_to_gain() -> None:
    """Whoever sets it to zero wants no experiments."""
    none = replace(SETTINGS, exploration_budget=0.0)
    assert worth_measuring([score(3, 1.2)], 2, 5, RICH, SETTINGS) is not None
    assert worth_measuring([score(3, 1.2)], 2, 5, RICH, none) is None


# out of k=0


def known(loss: float, k: int = 1) -> tuple[Score, ...]:
    """k=0, and a k that is expected to lose so much."""
    return (score(0), score(k, 1 - loss))


def blank(gain: float) -> tuple[Score, ...]:
    """What is thought of unknown traffic: k=2 gains so much."""
    return (score(0), score(1, 0.9), score(2, 1 + gain))


def due_seconds(
    scores: Sequence[Score], hoped: Sequence[Score], chance: float = 0.5, settings: PolicySettings = SETTINGS
) -> float:
    """How long nothing must have been drafted for the probe to be due."""
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        due = overdue(scores, hoped, middle, chance, RICH, settings) is not None
        low, high = (low, middle) if due else (middle, high)
    return high


@given(st.floats(0.01, 0.2), st.floats(0.01, 0.5))
def test_probes_out_of_k0_follow_the_square_root_rule(loss: float, gain: float) -> None:
    """sqrt(2 c T / g): four times the cost or a fourth of the gain, half as often."""
    due = due_seconds(known(loss), blank(gain))
    assert due == pytest.approx(math.sqrt(2 * loss * GLANCE_SECONDS * TRAFFIC_SECONDS / gain), rel=1e-6)
    assert due_seconds(known(4 * loss), blank(gain)) == pytest.approx(2 * due, rel=1e-6)
    assert due_seconds(known(loss), blank(4 * gain)) == pytest.approx(due / 2, rel=1e-6)


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.5))
def test_the_rule_costs_least(loss: float, gain: float) -> None:
    """Of all intervals t, c / t + g t / (2 T) is least at the one that is used."""
    due = due_seconds(known(loss), blank(gain))

    def cost(seconds: float) -> float:
        return loss * GLANCE_SECONDS / seconds + gain * seconds / (2 * TRAFFIC_SECONDS)

    assert cost(due) <= min(cost(due * 0.9), cost(due * 1.1))


def test_the_time_is_jittered_by_a_quarter_about_the_rule() -> None:
    """So that many sidecars do not probe together."""
    early, middle, late = (due_seconds(known(0.05), blank(0.2), chance) for chance in (0.0, 0.5, 1.0))
    assert early / middle == pytest.approx(0.75)
    assert late / middle == pytest.approx(1.25)


def test_a_shorter_interval_probes_as_much_more_often() -> None:
    """Whoever looks more often expects faster changes, too."""
    fast = replace(SETTINGS, interval_seconds=INTERVAL / 4)
    assert due_seconds(known(0.05), blank(0.2), settings=fast) == pytest.approx(
        due_seconds(known(0.05), blank(0.2)) / 4
    )


def test_a_probe_that_seems_to_cost_nothing_is_not_made_all_the_time() -> None:
    """A k that is expected to gain is measured in time, not in every pass."""
    due = due_seconds(known(-0.2), blank(0.2))
    assert INTERVAL / 2 < due < due_seconds(known(0.05), blank(0.2))


@pytest.mark.parametrize("k", [1, 3])
def test_the_fewest_drafts_that_can_run_are_probed(k: int) -> None:
    """They cost least and tell as much of the traffic."""
    scores = (*known(0.05, k), score(k + 1, 1.5))
    found = overdue(scores, blank(0.2), 1e6, 0.5, RICH, SETTINGS)
    assert found is not None
    assert found.k == k


@given(st.floats(0.0, 1.0))
def test_out_of_k0_nothing_is_probed_without_money_hope_or_another_k(chance: float) -> None:
    """However long nothing was drafted."""
    assume(overdue(known(0.1), blank(0.2), math.inf, chance, RICH, SETTINGS) is not None)
    assert overdue(known(0.1), blank(0.2), math.inf, chance, Account(0.1 * GLANCE_SECONDS * 0.99), SETTINGS) is None
    assert overdue(known(0.1), blank(0.2), math.inf, chance, NEW_ACCOUNT, SETTINGS) is None
    assert overdue(known(0.1), blank(-0.1), math.inf, chance, RICH, SETTINGS) is None
    assert overdue(known(0.1), (), math.inf, chance, RICH, SETTINGS) is None
    assert overdue(known(0.1)[:1], blank(0.2), math.inf, chance, RICH, SETTINGS) is None
