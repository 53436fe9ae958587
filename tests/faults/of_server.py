"""Faults of the server and of its network: it is another one, it stands still, or nobody gets through."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from faults.fault import Fault, Inflict, Meanwhile, answers, at_once, edits
from faults.stage import INTERVAL_SECONDS, PROSE, TIMEOUT_SECONDS, Setting, Stage
from loopback import answer, hang

from controller.observe.plugin import PATH
from controller.reason import Reason
from controller.simulator.counters import Counters
from controller.simulator.scenario import Event, Scenario

TWO: Final = replace(PROSE, engines=2)
RESTARTS: Final = replace(PROSE, events=(Event(47, "restart", down_seconds=20),))
"""While the fault is played."""


def served_as(scenario: Scenario) -> Inflict:
    """Another server stands at the same address for a while, then a fresh one as before."""

    @contextmanager
    def inflict(stage: Stage) -> Iterator[None]:
        stage.serve(scenario)
        yield
        stage.serve(PROSE)

    return inflict


@contextmanager
def hung(stage: Stage) -> Iterator[None]:
    """No step is made, so that nothing is counted, and the plugin, which asks the engine, does not answer."""
    stage.hung = True
    stage.network.faults[PATH] = hang
    yield
    del stage.network.faults[PATH]
    stage.hung = False


def counters_reset(stage: Stage) -> None:
    """As if they had never counted."""
    engine = stage.server.engines[0]
    engine.counters = Counters.fresh(len(engine.scenario.workloads), engine.k_max)


def without_the_second(text: str) -> bytes:
    """The page of the first engine alone."""
    return answer("".join(line for line in text.splitlines(keepends=True) if 'engine="1"' not in line))


@contextmanager
def partitioned(stage: Stage) -> Iterator[None]:
    """Every packet is lost: the kernel's word comes when the time to connect is over."""

    def lost(*_: Any, **__: Any) -> Any:
        stage.advance(TIMEOUT_SECONDS)
        raise TimeoutError("timed out")

    with patch("urllib3.util.connection.create_connection", lost):
        yield


@contextmanager
def slow(stage: Stage) -> Iterator[None]:
    """Each scrape takes three intervals."""
    stage.network.before = lambda request: stage.advance(3 * INTERVAL_SECONDS if "/metrics" in request else 0)
    yield
    stage.network.before = lambda _: None


FAULTS: Final = (
    Fault(
        name="server: restart",
        happens="The engine dies, and is back after 20 s with fresh counters, at its launch schedule.",
        inflict=at_once(lambda _: None),
        setting=Setting(RESTARTS),
        lasts_seconds=35,
        meanwhile=Meanwhile.AGAIN,
        sees=(Reason.SERVER_ERROR, Reason.SERVER_RESTARTED),
    ),
    Fault(
        name="server: counters reset",
        happens="All counters start at 0, and the server did not restart.",
        inflict=at_once(counters_reset),
        sees=(Reason.SERVER_RESTARTED,),
    ),
    Fault(
        name="server: model swapped",
        happens="Another model is served at the same address, and the former one again.",
        inflict=served_as(replace(PROSE, model_name="another-8b")),
        lasts_seconds=65,
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.WARMING_UP,),
        normal_passes=3,
    ),
    Fault(
        name="server: k_max changed",
        happens="The server is launched anew with `num_speculative_tokens` 3, and then with 5 again.",
        inflict=served_as(replace(PROSE, k_max=3)),
        lasts_seconds=65,
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.SERVER_RESTARTED,),
        normal_passes=4,
    ),
    Fault(
        name="server: without speculation",
        happens="The server is launched without a drafter, and then with one again.",
        inflict=served_as(replace(PROSE, k_max=0)),
        lasts_seconds=45,
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.NO_SPECULATION,),
        normal_passes=3,
    ),
    Fault(
        name="server: several engines",
        happens="The server is launched with data parallelism 2, where no schedule is obeyed, and then without.",
        inflict=served_as(TWO),
        lasts_seconds=45,
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.SERVER_RESTARTED, Reason.WARMING_UP),
        normal_passes=2,
    ),
    Fault(
        name="server: one engine of two gone",
        happens="One of two engines is not on the page any more, and is back.",
        inflict=edits("/metrics", without_the_second),
        setting=Setting(TWO),
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.PLUGIN_UNREACHABLE,),
    ),
    Fault(
        name="server: engine hung",
        happens="The page is served, but no step is made, and the plugin does not answer.",
        inflict=hung,
        sees=(Reason.IDLE, Reason.PLUGIN_UNREACHABLE),
    ),
    Fault(
        name="server: slow",
        happens="Every scrape takes three intervals.",
        inflict=slow,
        lasts_seconds=150,
        normal_passes=0,
    ),
    Fault(
        name="network: partition for an hour",
        happens="Every packet is lost.",
        inflict=partitioned,
        lasts_seconds=3600,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.SERVER_TIMEOUT,),
    ),
    Fault(
        name="network: only the plugin's path is lost",
        happens="The page is read, the plugin does not answer.",
        inflict=answers(PATH, hang),
        sees=(Reason.PLUGIN_UNREACHABLE,),
    ),
)
