"""A backtest of a remembered history."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fakes import ManualClock
from fleet import fleets
from fleet.remembered import Remembered
from fleet.replica import Replica

from controller.act.actuator import RecommendOnly
from controller.backtest.decider import Shared
from controller.backtest.outcome import Backtest, Outcome
from controller.backtest.past import Instants, Past, PastClock
from controller.backtest.replay import replay
from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.grouping import Grouping
from controller.observe.source import MetricsSource
from controller.simulator.scenario import Scenario

BEGINNING = 1_790_002_800.0  # a full hour
STEP = 30.0


def replayed(
    store: Remembered,
    seconds: float,
    *,
    since: float = BEGINNING,
    step: float = STEP,
    group_by: Sequence[str] = (),
    processes: int = 1,
) -> Backtest:
    """A backtest of a remembered history."""
    instants = Instants(since, BEGINNING + seconds, step)
    rows = Fleet(Grouping((*group_by, "namespace", "model_name")))
    past = Past(store, rows, instants, ManualClock(), lambda _: None)
    return replay(past, instants, Shared.among(processes, loop, step))


def loop(source: MetricsSource, clock: PastClock) -> Controller:
    """The loop as `controller backtest` makes it."""
    return Controller(source, clock, RecommendOnly(), PolicySettings(cooldown_seconds=60.0))


def pods(scenario: Scenario, count: int = 2, **more: Any) -> list[Replica]:
    """Some replicas of one scenario."""
    return [replace(each, **more) for each in fleets.replicas([scenario], count, seconds=3600, troubled=False)]


def only(found: Backtest) -> Outcome:
    """The one workload."""
    (outcome,) = found.outcomes
    return outcome
