"""The fastest k, or the fewest drafts that meet a latency target: neither answer swings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from courses import market
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.objective import fastest, fewest_that_meet
from controller.model.economics import Prices

LEAST: Final = 0.03
TARGET: Final = 0.030
PRICED: Final = market((0.7, 0.6, 0.5, 0.4))


def prices(*rows: Sequence[float], deviation: float = 0.0, reference: float = 2.0) -> Prices:
    """At each batch the gains of k = 0..4 over the reference, all equally uncertain but for the reference itself."""
    batches = [2.0**row for row in range(len(rows))]
    deviations = np.full((len(rows), 5), deviation)
    if reference == int(reference):
        deviations[:, int(reference)] = 0.0
    return replace(PRICED.prices(batches, reference), log_gain=np.log(np.array(rows)), gain_deviation=deviations)


GAINS = st.lists(st.floats(0.5, 2.0), min_size=5, max_size=5)


# the fastest


def test_the_fastest_is_chosen_at_each_batch_by_itself() -> None:
    """One answer for each row."""
    assert fastest(prices((0.8, 1.0, 1.0, 1.2, 1.3), (1.5, 1.2, 1.0, 0.8, 0.6)), LEAST) == [4, 0]


def test_ties_go_to_the_smaller_k() -> None:
    """The same throughput with fewer drafts."""
    assert fastest(prices((0.8, 1.2, 1.0, 1.2, 1.1)), LEAST) == [1]


def test_where_no_lower_bound_clears_the_minimum_nothing_is_chosen() -> None:
    """A gain that might be none is not taken."""
    gains = (0.8, 1.0, 1.0, 1.02, 1.2)
    assert fastest(prices(gains, deviation=0.05), LEAST) == [4]
    assert fastest(prices(gains, deviation=0.15), LEAST) == [None]


def test_a_barred_k_gives_way_to_the_next_best_at_its_own_batch_only() -> None:
    """Bars go by batch; a k that is not priced bars nothing."""
    gains = (0.8, 1.1, 1.0, 1.2, 1.3)
    assert fastest(prices(gains, gains), LEAST, [{4, 9}, ()]) == [3, 4]
    assert fastest(prices(gains), LEAST, [{1, 3, 4}]) == [None]


@given(GAINS, st.floats(0.0, 0.2))
def test_whatever_is_chosen_clears_the_minimum_and_nothing_that_clears_it_is_faster(
    gains: list[float], deviation: float
) -> None:
    """Over all gains."""
    priced = prices(gains, deviation=deviation)
    clear = [k for k in range(5) if priced.gain_low[0][k] >= 1 + LEAST]
    (found,) = fastest(priced, LEAST)
    assert (found is None) == (not clear)
    if found is not None:
        assert gains[found] == pytest.approx(max(gains[k] for k in clear))


# the fewest that meet a target


def fewest(gains: Sequence[float], now: float, deviation: float = 0.0, barred: Sequence[int] = ()) -> int | None:
    """The answer at one batch, compared with k=2."""
    return fewest_that_meet(prices(gains, deviation=deviation), [now], TARGET, LEAST, [barred])[0]


GROWING = (0.6, 0.8, 1.0, 1.2, 1.3)
"""Every draft pays: TPOT falls with k."""


def test_a_missed_target_takes_the_fewest_more_that_are_expected_to_meet_it() -> None:
    """Not the fastest."""
    assert fewest(GROWING, TARGET * 1.1) == 3
    assert fewest(GROWING, TARGET * 1.25) == 4
    assert fewest(GROWING, TARGET * 1.19, deviation=0.1) == 3


def test_a_target_that_nothing_meets_gets_the_fastest() -> None:
    """And nothing, where no gain is clear."""
    assert fewest(GROWING, TARGET * 2) == 4
    assert fewest(GROWING, TARGET * 2, deviation=0.3) is None


def test_fewer_drafts_are_taken_only_with_room_to_spare() -> None:
    """Their upper bound must meet the target by the minimum gain; just meeting it is not enough."""
    enough = TARGET * 0.8 / (1 + LEAST)
    assert fewest(GROWING, enough * 0.999) == 1
    assert fewest(GROWING, enough * 1.001) == 2
    assert fewest(GROWING, enough * 0.999, deviation=0.02) == 2
    assert fewest(GROWING, enough * 0.95, deviation=0.02) == 1


def test_within_the_room_to_spare_nothing_changes() -> None:
    """The target is met, but barely: neither more drafts nor fewer."""
    for share in (1 / (1 + LEAST) + 1e-3, 0.99, 1.0):
        assert fewest(GROWING, TARGET * share) is None


@given(GAINS, st.floats(0.3, 1.0), st.floats(0.0, 0.2))
def test_while_the_target_is_met_there_are_never_more_drafts(
    gains: list[float], share: float, deviation: float
) -> None:
    """Whatever other ks would bring."""
    gains[2] = 1.0
    found = fewest(gains, TARGET * share, deviation)
    assert found is None or found <= 2


@given(st.floats(0.7, 1.4), st.floats(0.01, 0.1))
def test_the_answer_does_not_swing(share: float, deviation: float) -> None:
    """Once at the answer, the same load and the same gains leave it there."""
    first = fewest(GROWING, TARGET * share, deviation)
    if first is None:
        return
    there = [gain / GROWING[first] for gain in GROWING]
    now = TARGET * share / GROWING[first]
    again = fewest_that_meet(prices(there, deviation=deviation, reference=first), [now], TARGET, LEAST)[0]
    assert again in (None, first)


def test_a_barred_k_is_not_the_answer_either_way() -> None:
    """The next that meets the target is."""
    assert fewest(GROWING, TARGET * 1.1, barred=[3]) == 4
    assert fewest(GROWING, TARGET * 0.5, barred=[0]) == 1


def test_each_batch_is_held_to_the_target_by_its_own_time() -> None:
    """Slow at one, with room at the other."""
    both = fewest_that_meet(prices(GROWING, GROWING), [TARGET * 1.1, TARGET * 0.5], TARGET, LEAST)
    assert both == [3, 0]
