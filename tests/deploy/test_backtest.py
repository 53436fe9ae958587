"""The past of simulated fleets, backfilled into a real Prometheus: what `controller backtest` says of it is true.

The truth is the simulator's own expectation: what each k yields at each moment.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fleet import fleets, truth
from fleet.replica import Replica
from fleet.stored import serving, store

from controller.backtest.document import schema
from controller.simulator.scenario import Scenario
from deploy.prometheus import Prometheus

pytestmark = [pytest.mark.usefixtures("prometheus_tools"), pytest.mark.timeout(600)]
ROUNDING = 0.01
"""What chance in the counters may add to the bounds of the model."""
SWITCH_SECONDS = 2400.0


@dataclass(frozen=True)
class Past:
    """A Prometheus with a fleet's history."""

    prometheus: Prometheus
    replicas: tuple[Replica, ...]
    beginning_unix_seconds: float
    seconds: float

    def backtest(self, *arguments: str, expect: int = 0) -> tuple[dict[str, Any], str]:
        """The document of a run over the whole history, valid by its schema, and what was said beside it."""
        since = f"{int(time.time() - self.beginning_unix_seconds) + 60}s"
        command = ("backtest", "--prometheus-url", self.prometheus.url, "--since", since, "-o", "json", *arguments)
        ran = subprocess.run(
            [sys.executable, "-m", "controller", *command], capture_output=True, text=True, check=False
        )
        assert ran.returncode == expect, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        jsonschema.Draft202012Validator(schema()).validate(found)
        return found, ran.stderr


@contextmanager
def past(folder: Path, replicas: tuple[Replica, ...], seconds: float) -> Iterator[Past]:
    """History that ends now."""
    beginning = float(int(time.time() - seconds))
    store(replicas, folder, beginning_unix_seconds=beginning, seconds=seconds)
    with serving(folder) as prometheus:
        yield Past(prometheus, replicas, beginning, seconds)


def _scenarios() -> tuple[Scenario, ...]:
    switching = fleets.switching("code", "random", SWITCH_SECONDS, schedule=((1, 256, 1),))
    return (fleets.SHARP, fleets.BUSY, fleets.TIMID, fleets.PLAIN, switching)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Twenty pods of five workloads for eighty minutes; some come late, some leave, some cannot be scraped a while."""
    seconds = 4800.0
    pods = fleets.replicas(_scenarios(), 4, seconds=seconds)
    with past(tmp_path_factory.mktemp("small"), pods, seconds) as found:
        yield found


@pytest.fixture(scope="module")
def answer(small: Past) -> dict[str, Any]:
    """The backtest of the small fleet."""
    found, _ = small.backtest()
    return found


def workload(found: dict[str, Any], name: str) -> dict[str, Any]:
    """One workload of an answer."""
    mine: list[dict[str, Any]] = [each for each in found["workloads"] if each["model_name"] == name]
    (it,) = mine
    return it


def true_gains(replicas: tuple[Replica, ...], name: str, seconds: float) -> list[float]:
    """What each k throughout would have made, against what ran: of the pods that lived, weighed by what they ran."""
    mine = [each for each in replicas if each.scenario.model_name == name]
    made = [sum(each) for each in zip(*truth.workload_tokens(mine, seconds, 30.0), strict=True)]
    ran = sum(truth.ran_tokens(mine, seconds, 30.0))
    return [each / ran - 1 for each in made]


@pytest.mark.parametrize("name", ["coder-8b", "chat-8b", "timid-8b", "switching-8b"])
def test_what_each_k_would_have_made_is_true_within_its_bounds(answer: dict[str, Any], small: Past, name: str) -> None:
    """Every fixed k, k=0 among them; and tokens that ran are those of the pods that lived."""
    total = workload(answer, name)["total"]
    for fixed, true in zip(total["fixed"], true_gains(small.replicas, name, small.seconds), strict=True):
        assert fixed["gain_low"] - ROUNDING <= true <= fixed["gain_high"] + ROUNDING, fixed
    mine = [each for each in small.replicas if each.scenario.model_name == name]
    assert total["tokens"] == pytest.approx(sum(truth.ran_tokens(mine, small.seconds, 30.0)), rel=0.06)


def test_a_best_k_that_changes_is_followed(answer: dict[str, Any], small: Past) -> None:
    """To a larger k while the text is code, and back when it is no longer: within ten minutes of the switch."""
    changes = workload(answer, "switching-8b")["changes"]
    switch = small.beginning_unix_seconds + SWITCH_SECONDS
    assert changes[0]["k_to"] >= 3
    assert changes[-1]["k_to"] == 1.0
    assert switch < _unix(changes[-1]["at"]) < switch + 600


def test_what_is_right_stays_and_what_does_not_speculate_is_told_so(answer: dict[str, Any]) -> None:
    """No change where k is the best already; no price where nothing is drafted."""
    right = workload(answer, "coder-8b")
    assert right["changes"] == []
    assert right["total"]["best_fixed_k"] == 5
    assert workload(answer, "plain-8b")["total"] is None
    assert answer["complete"] is True


def test_decided_pod_by_pod_the_tokens_are_the_same(answer: dict[str, Any], small: Past) -> None:
    """Groups are only where the decision falls."""
    apart, _ = small.backtest("--group-by", "instance", "--match", 'namespace="llm-coder-8b"')
    assert len(apart["workloads"]) == 4
    together = workload(answer, "coder-8b")["total"]["tokens"]
    assert sum(each["total"]["tokens"] for each in apart["workloads"]) == pytest.approx(together, rel=0.01)


def test_a_step_larger_than_the_time_between_scrapes_loses_nothing(answer: dict[str, Any], small: Past) -> None:
    """Windows of ten scrapes hold the tokens of ten scrapes."""
    found, _ = small.backtest("--step", "5m", "--match", 'namespace="llm-coder-8b"')
    tokens = workload(found, "coder-8b")["total"]["tokens"]
    assert tokens == pytest.approx(workload(answer, "coder-8b")["total"]["tokens"], rel=0.06)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Twelve pods of four workloads for a day: load from 1 to 256 requests, and a restart of each at night."""
    pods = fleets.replicas(fleets.WEEK, 3, seconds=fleets.DAY)
    with past(tmp_path_factory.mktemp("day"), pods, fleets.DAY) as found:
        yield found


@pytest.mark.slow
def test_a_day_of_changing_load_is_priced_truly(day: Past, tmp_path: Path) -> None:
    """Every fixed k over the whole day, hour by hour of load, restarts and all; and the picture of it is drawn."""
    found, _ = day.backtest("--picture", str(tmp_path / "day.png"))
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    for name in ("daily-8b", "daily-scheduled-8b", "chat-8b", "coder-8b"):
        total = workload(found, name)["total"]
        for fixed, true in zip(total["fixed"], true_gains(day.replicas, name, day.seconds), strict=True):
            assert fixed["gain_low"] - ROUNDING <= true <= fixed["gain_high"] + ROUNDING, (name, fixed)
        assert len(workload(found, name)["hours"]) in (24, 25)
    assert workload(found, "daily-8b")["left_out"]["server_restarted"] >= 3
    assert found["engine_hours"] == pytest.approx(24 * (4 * 2 + 4 * 2 / 3), rel=0.03)


@pytest.mark.slow
def test_a_prometheus_that_dies_midway_leaves_a_marked_part(day: Past, tmp_path: Path) -> None:
    """What was replayed until then is printed; message and document name the reason. The last test: it ends it."""
    since = f"{int(time.time() - day.beginning_unix_seconds) + 60}s"
    command = ("backtest", "--prometheus-url", day.prometheus.url, "--since", since, "-o", "json")
    whole = [sys.executable, "-m", "controller", *command]
    with (
        (tmp_path / "out").open("wb") as out,
        subprocess.Popen(whole, stdout=out, stderr=subprocess.PIPE, text=True) as ran,
    ):
        assert ran.stderr is not None
        assert "replayed up to" in ran.stderr.readline()
        day.prometheus.stop()
        said = ran.stderr.read()
        assert ran.wait() == 1, said
    found = json.loads((tmp_path / "out").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(found)
    assert found["complete"] is False
    assert found["errors"][0]["reason"] == "store_unreachable"
    assert _unix(found["reached"]) < day.beginning_unix_seconds + day.seconds - 3600
    assert sum(each["total"]["tokens"] for each in found["workloads"]) > 0
    assert "What follows ends at" in said


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
