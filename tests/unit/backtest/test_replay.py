"""History replayed through the real loop: it follows the best k, is the same each time, and knows where it ends."""

import os
from dataclasses import replace
from itertools import pairwise

import pytest
from backtests import BEGINNING, only, pods, replayed
from fleet import fleets, truth
from fleet.remembered import remembered

from controller.backtest.account import Account
from controller.backtest.decider import Shared
from controller.backtest.past import PastClock
from controller.cycle import EngineCycle
from controller.decide.decision import Action, Decision
from controller.loop import Controller
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Replicas
from controller.observe.source import MetricsSource
from controller.reason import Reason
from controller.simulator.scenario import Event, Scenario


@pytest.mark.parametrize("scenario", [fleets.SHARP, fleets.BUSY, fleets.WIDE, fleets.TIMID], ids=lambda s: s.model_name)
def test_the_price_of_every_fixed_k_holds_the_truth_within_its_bounds(scenario: Scenario) -> None:
    """What each k would have made, against what ran, by the simulator's own expectation."""
    total = only(replayed(remembered(pods(scenario), BEGINNING, 900), 900)).total
    (known,) = truth.stretches(scenario, 900)
    assert total.fixed is not None
    for k, made in enumerate(total.fixed):
        gain = made.against(total.tokens)
        assert gain is not None
        true = known.tokens_per_second[k] / known.tokens_per_second[known.k] - 1
        assert gain.low - 0.01 <= true <= gain.high + 0.01, k
        assert made.measured_share == pytest.approx(float(k == known.k), abs=0.01)


def test_a_best_k_that_changes_is_followed() -> None:
    """Code turns to text that no drafter can guess, under k=1: drafts get longer, then as short as they were."""
    scenario = fleets.switching("code", "random", 900.0, schedule=((1, 256, 1),))
    found = only(replayed(remembered(pods(scenario), BEGINNING, 1800), 1800))
    first, *_, last = found.changes
    assert first.k_from == 1.0
    assert first.k_to is not None
    assert first.k_to >= 3
    assert first.reason is Reason.FASTER_K
    assert first.at_unix_seconds < BEGINNING + 120
    assert last.k_to == 1.0
    assert BEGINNING + 900 < last.at_unix_seconds < BEGINNING + 1200
    total = found.total
    assert total.fixed is not None
    assert total.would.tokens.value > 1.1 * total.tokens
    assert total.would.tokens.value > max(each.tokens.value for each in total.fixed)


def test_the_same_history_gives_the_same_answer() -> None:
    """However it is cut into chunks: all of it is a function of history and step."""
    store = remembered(pods(fleets.TIMID), BEGINNING, 900)
    assert replayed(store, 900) == replayed(store, 900)


def test_two_processes_find_what_one_finds() -> None:
    """Workloads know nothing of each other, so that it does not matter where each is decided."""
    store = remembered([*pods(fleets.TIMID, 1), *pods(fleets.SHARP, 1)], BEGINNING, 900)
    assert replayed(store, 900, processes=2) == replayed(store, 900)


def test_history_is_read_chunk_by_chunk_without_a_hole() -> None:
    """Each chunk begins where the one before ended, the first a little before the first pass."""
    store = remembered(pods(fleets.SHARP, 1), BEGINNING, 3600)
    replayed(store, 3600, step=120.0)
    assert len(store.asked) > 1
    assert all(before[1] == after[0] for before, after in pairwise(store.asked))
    assert store.asked[0][0] < BEGINNING
    assert store.asked[-1][1] == BEGINNING + 3600


def test_a_restart_and_a_gap_cost_their_windows_and_nothing_else() -> None:
    """The tokens of the rest are all there, none twice, and the reasons are told."""
    scenario = replace(fleets.SHARP, events=(Event(450.0, down_seconds=20.0),))
    whole = only(replayed(remembered(pods(fleets.SHARP), BEGINNING, 900), 900)).total.tokens
    restarted = only(replayed(remembered(pods(scenario, 1) + pods(fleets.SHARP)[1:], BEGINNING, 900), 900))
    assert 0.9 * whole < restarted.total.tokens < whole
    assert Reason.SERVER_RESTARTED in dict(restarted.left_out)
    blind = only(replayed(remembered(pods(fleets.SHARP, gaps=((300.0, 420.0),)), BEGINNING, 900), 900))
    assert Reason.NO_NEW_SAMPLES in dict(blind.reasons)
    assert blind.total.tokens == pytest.approx(whole, rel=0.02)  # the counters went on, and are read after the gap


def test_a_shorter_history_than_asked_for_is_said_so() -> None:
    """The answer rests on what there is, and tells since when."""
    found = replayed(remembered(pods(fleets.SHARP), BEGINNING, 600), 600, since=BEGINNING - 3600)
    assert found.first_unix_seconds == BEGINNING
    assert "History begins at 2026-09-21T15:00:00Z" in found.warnings[0]
    assert found.failure is None


def test_a_step_shorter_than_the_time_between_scrapes_is_said_so() -> None:
    """And the tokens are counted all the same."""
    store = remembered(pods(fleets.SHARP), BEGINNING, 900, scrape_seconds=60.0)
    found = replayed(store, 900, step=20.0)
    assert "--step is shorter" in found.warnings[0]
    assert only(found).total.tokens == pytest.approx(only(replayed(store, 900, step=60.0)).total.tokens, rel=0.1)


def test_a_store_that_dies_midway_leaves_what_was_replayed_so_far() -> None:
    """With the reason, how far it came, and one more try before it is believed."""
    store = remembered(pods(fleets.SHARP, 1), BEGINNING, 3600)
    store.breaks_at, store.error = BEGINNING + 1800, ObserveError(Reason.STORE_UNREACHABLE, "No connection.")
    found = replayed(store, 3600)
    assert found.failure is not None
    assert found.failure.reason is Reason.STORE_UNREACHABLE
    assert BEGINNING < found.reached_unix_seconds < BEGINNING + 1800
    assert only(found).total.tokens > 0
    assert store.asked[-1] == store.asked[-2]


def test_a_server_without_speculation_has_nothing_to_replay() -> None:
    """It is told as such, not counted as a loss."""
    found = only(replayed(remembered(pods(fleets.PLAIN), BEGINNING, 600), 600))
    assert dict(found.reasons) == {Reason.NO_SPECULATION: 21}
    assert found.hours == ()


def test_a_decision_for_each_pod_where_asked_for() -> None:
    """Grouped by pod, each is a workload of its own, and together they made what the group made."""
    store = remembered(pods(fleets.SHARP), BEGINNING, 600)
    apart = replayed(store, 600, group_by=("pod",))
    assert len(apart.outcomes) == 2
    assert sum(each.total.tokens for each in apart.outcomes) == pytest.approx(only(replayed(store, 600)).total.tokens)


def test_a_process_that_ends_is_not_taken_for_an_answer() -> None:
    """Killed for memory, say: the replay ends with words about it, not with half of the workloads."""

    def dies(source: MetricsSource, clock: PastClock) -> Controller:
        os._exit(7)

    shared = Shared.among(2, dies, 30.0)
    with pytest.raises(RuntimeError, match="ended with 7"):
        shared.outcomes()


def test_of_what_a_store_says_otherwise_each_time_the_first_few_are_told() -> None:
    """Thanos, for one, names the address and the duration."""
    account = Account(("m", "0", ()))
    decision = Decision(Action.HOLD, Reason.IDLE, "")
    for number in range(1000):
        notes = ((Reason.ANSWER_PARTIAL, f"after {number} ms"), (Reason.LABELS_MISSING, f"{number} series"))
        account.add(30.0 * number, 30.0, EngineCycle("m", "0", 3, decision, replicas=Replicas(1, 1, notes=notes)))
    told = [text for _, text in account.outcome().notes]
    assert told == ["after 0 ms", "after 1 ms", "after 2 ms", "0 series", "1 series", "2 series"]
