"""What the sidecar loads and how much one pass does, counted: they grow by accident, and no clock is needed to see it.

A limit is what was counted when it was set and a seventh more. Where a change is worth its cost, raise the limit.
"""

import cProfile
import pstats
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from controlled import Served
from fakes import ManualClock, RecordingActuator, ScriptedSource

from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.observe.plugin import read_speculation
from controller.observe.speculation import Speculation
from controller.serve.page import Page
from controller.serve.page_view import About
from controller.serve.telemetry import Telemetry

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # last: tests have a package of the name of a benchmark
from sidecar import eight_workloads

INTERVAL_SECONDS: Final = 5.0
PASSES: Final = 30
COUNTED: Final = 10
"""The last ones, when everything is learnt."""
CALLS_A_PASS: Final = 4_460
PEAK_KIBIBYTES_A_PASS: Final = 98
OWN_MODULES: Final = 105
LIBRARIES: Final = {
    "annotated_types", "certifi", "dotenv", "numpy", "prometheus_client", "pydantic", "pydantic_core",
    "pydantic_settings", "typing_extensions", "typing_inspection", "urllib3", "waitress",
}  # fmt: skip
"""The image has also PyYAML, which only a file of settings needs, and requests, which only a rollout does."""


def modules(verb: str) -> list[str]:
    """All modules of a process that is about to run one verb."""
    names = "print(*[name for name, module in sys.modules.items() if module])"
    code = f"import sys, controller.cli, controller.commands.{verb}; {names}"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    """Those of `controller run`."""
    return modules("run")


def test_run_loads_no_library_beyond_those_it_needs(loaded: list[str]) -> None:
    """An import at the top of a module of ours, or a new release of a library, may bring another one along."""
    packages = {name.partition(".")[0] for name in loaded if not name.startswith("_")}
    found = packages - set(sys.stdlib_module_names) - {"controller", "cython_runtime"}
    assert {name for name in found if not name.endswith("__mypyc") and not name.startswith("__editable__")} <= LIBRARIES


def test_run_loads_nothing_that_only_other_verbs_need(loaded: list[str]) -> None:
    """Neither the simulator nor the engine's plugin, the rollout, the fleet or the calibration."""
    own = [name for name in loaded if name.partition(".")[0] == "controller"]
    elsewhere = ("controller.simulator", "controller.engine", "controller.act.rollout", "controller.observe.prometheus")
    assert [name for name in own if name.startswith(elsewhere)] == []
    assert len(own) <= OWN_MODULES


def test_saved_pages_are_judged_without_an_http_client() -> None:
    """`recommend --source` is a matter of half a second; a client that nobody asks would be a sixth of it."""
    assert {"requests", "urllib3"} & set(modules("recommendation")) == set()


def test_a_store_is_asked_before_what_reads_and_judges_its_answers_is_loaded() -> None:
    """numpy and the model take as long to load as a store takes for a first answer."""
    for verb in ("recommend", "store"):
        assert {"numpy", "controller.loop", "controller.model.economics"} & set(modules(verb)) == set()


def test_the_options_of_other_verbs_are_not_made() -> None:
    """Nor is what serves the port of `run` loaded: both together were a tenth of the start."""
    others = ("controller.options.run", "controller.options.backtest", "controller.options.verbs", "controller.serve")
    assert [name for name in modules("recommendation") if name.startswith(others)] == []


def test_garbage_is_looked_for_once_all_is_imported_and_only_in_what_came_later() -> None:
    """In what was imported there is none, and to look for it there takes a sixth of the start."""
    code = "import gc, sys; from controller.__main__ import main; main(); print(gc.isenabled(), gc.get_freeze_count())"
    command = [sys.executable, "-c", code, "schema"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    assert told[0] == "True"
    assert int(told[1]) > 10_000


class Recorded:
    """A plugin that tells what it told before."""

    def __init__(self, told: list[str]) -> None:
        self._told = iter(told)

    def read(self) -> Speculation:
        """See `PluginSource`."""
        return read_speculation(next(self._told), "the plugin")


@pytest.fixture
def passes(tmp_path: Path) -> Iterator[object]:
    """Passes beside eight workloads, one for each `next`, the first ones done."""
    served = Served(eight_workloads(), tmp_path)
    pages, told = [], []
    for number in range(PASSES):
        served.server.advance_to(60.0 + INTERVAL_SECONDS * number)
        pages.append(served.server.page())
        told.append(served.ask("GET").text)
    clock = ManualClock()
    loop = Controller(
        ScriptedSource(clock, *pages, before_read=lambda: clock.advance(INTERVAL_SECONDS)),
        clock,
        RecordingActuator(),
        PolicySettings(),
        plugin=Recorded(told),
    )
    telemetry, page = Telemetry(), Page(About(), 60.0)

    def play() -> Iterator[object]:
        while True:
            cycle = loop.step()
            telemetry.publish(cycle)
            page.publish(cycle)
            yield cycle.engines[0]

    playing = play()
    for _ in range(PASSES - COUNTED):
        engine = next(playing)
    assert len(engine.workloads) == 8  # type: ignore[attr-defined]
    return playing


def test_a_pass_calls_no_more_than_it_did(passes: Iterator[object]) -> None:
    """Calls of functions, those of C included, from the page to what is published."""
    profile = cProfile.Profile()
    with profile:
        for _ in range(COUNTED):
            next(passes)
    calls = pstats.Stats(profile).total_calls / COUNTED  # type: ignore[attr-defined]
    assert calls <= CALLS_A_PASS


def test_a_pass_needs_no_more_memory_than_it_did(passes: Iterator[object]) -> None:
    """At its peak, above what is held between passes."""
    tracemalloc.start()
    try:
        next(passes)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        next(passes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (peak - held) / 1024 <= PEAK_KIBIBYTES_A_PASS
