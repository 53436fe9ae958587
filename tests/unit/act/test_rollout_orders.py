"""The rollout's outcomes in the loop's words: none is lost, and only what calls for a person is a failure."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.kubernetes_objects import CONFIG, config_of
from contract.rollout_bench import CHANGE, HOLD, Bench, bench

from controller.act.actuator import Order, Outcome
from controller.act.rollout.actuator import RolloutActuator
from controller.act.rollout.orders import RolloutOrders
from controller.act.rollout.result import RolloutOutcome, RolloutResult
from controller.reason import Reason

WAITS = ("too_soon", "too_many_today", "not_worth_a_restart", "not_leader", "workload_busy", "changed_meanwhile")


class Told(RolloutActuator):
    """A rollout that answers as it is told to."""

    def __init__(self, outcome: RolloutOutcome) -> None:
        self.result = RolloutResult(outcome, "So it is.")

    def act(self, *_: object) -> RolloutResult:
        """The same always."""
        return self.result

    def tend(self) -> RolloutResult:
        """The same always."""
        return self.result


@pytest.mark.parametrize("outcome", RolloutOutcome)
def test_every_outcome_has_a_word_and_a_failure_has_a_reason(outcome: RolloutOutcome) -> None:
    """With a decision and without one; the sentence and the rollout's own name are kept."""
    results: list[RolloutResult] = []
    orders = RolloutOrders(Told(outcome), lambda: False, results.append)
    acted = orders.act(Order("m", "0", CHANGE))
    assert acted == orders.idle()
    assert (acted.message, acted.rollout) == ("So it is.", outcome.value)
    assert (acted.outcome is Outcome.FAILED) == (acted.reason is not None)
    assert (acted.outcome is Outcome.HELD_BACK) == (outcome.value in WAITS)
    assert [each.outcome for each in results] == [outcome, outcome]


def test_what_the_api_server_forbids_and_what_it_does_not_answer_are_told_apart() -> None:
    """One is for whoever grants rights, the other passes by itself."""
    found = {
        outcome: RolloutOrders(Told(outcome), lambda: False, lambda _: None).idle().reason for outcome in RolloutOutcome
    }
    assert found[RolloutOutcome.FORBIDDEN] is Reason.ROLLOUT_REFUSED
    assert found[RolloutOutcome.API_UNREACHABLE] is Reason.KUBERNETES_UNREACHABLE
    assert found[RolloutOutcome.BAD_CONFIG] is Reason.ROLLOUT_IMPOSSIBLE
    assert found[RolloutOutcome.REVERTED] is Reason.ROLLOUT_REVERTED
    assert found[RolloutOutcome.ROLLBACK_FAILED] is Reason.ROLLOUT_FAILED


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Bench]:
    """A Deployment at rest, and a rollout before its API server."""
    with bench(tmp_path) as found:
        yield found


def test_frozen_no_change_is_begun_and_it_says_so(found: Bench) -> None:
    """A decision to hold is no frozen one."""
    orders = RolloutOrders(found.actuator, lambda: True, lambda _: None)
    assert orders.act(Order("m", "0", CHANGE)).outcome is Outcome.FROZEN
    assert orders.act(Order("m", "0", HOLD)).outcome is Outcome.NOTHING_TO_DO
    assert config_of(found.workload) == CONFIG


def test_frozen_a_failed_rollout_is_taken_back_all_the_same(found: Bench) -> None:
    """A brake must not leave a workload half-way."""
    frozen = False
    orders = RolloutOrders(found.actuator, lambda: frozen, lambda _: None)
    assert orders.act(Order("m", "0", CHANGE)).outcome is Outcome.ROLLING
    frozen = True
    found.fail()
    acted = orders.act(Order("m", "0", replace(CHANGE, k=3)))
    assert (acted.outcome, acted.rollout) == (Outcome.ROLLING_BACK, "rolling_back")
    assert config_of(found.workload) == CONFIG
