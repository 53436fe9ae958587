"""`controller backtest`: what it prints of a history, and what it says where there is none, or only a part of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from backtests import BEGINNING, pods
from calling import Command
from fleet import fleets
from fleet.readings import readings
from store_double import StoreDouble, serving

from controller.commands.exit_codes import FAILED, NO_EVIDENCE, OK, USAGE
from controller.simulator.scenario import Scenario

SECONDS = 600


def history(*scenarios: Scenario) -> StoreDouble:
    """A store that scraped one pod of each every thirty seconds."""
    store = StoreDouble(BEGINNING + SECONDS)
    times = range(0, SECONDS + 1, 30)
    for pod in (pod for scenario in scenarios for pod in pods(scenario, 1)):
        for time, values in zip(times, readings(pod, BEGINNING).at(times), strict=True):
            page = "".join(f"{name} {value}\n" for name, value in zip(pod.series, values, strict=True))
            store.scrape(page, BEGINNING + time)
    return store


@pytest.fixture(scope="module")
def store() -> StoreDouble:
    """Ten minutes of a server that drafts too little."""
    return history(fleets.TIMID)


@pytest.fixture
def url(store: StoreDouble) -> Iterator[str]:
    """Its address."""
    store.fails, store.warnings = (lambda _: None), []
    with serving(store) as address:
        yield address


def document(command: Command, *arguments: object) -> Any:
    """The JSON document, valid by the published schema."""
    found = json.loads(command("backtest", *arguments, "-o", "json").out)
    jsonschema.Draft202012Validator(json.loads(command("schema", "--of", "backtest").out)).validate(found)
    return found


def test_history_is_replayed_and_the_answer_printed(command: Command, url: str) -> None:
    """What would have changed and what it would have brought, on stdout; how far it came, on stderr."""
    said = command("backtest", "--prometheus-url", url, "--since", "10m")
    assert said.code == OK
    assert "k=1 -> k=5  faster_k" in said.out
    assert "2026-09-21T15:10:00Z: 100%" in said.err


def test_the_document_holds_every_hour_and_every_change(command: Command, url: str) -> None:
    """Valid by the schema that `controller schema --of backtest` prints."""
    found = document(command, "--prometheus-url", url, "--since", "10m", "--step", "60s")
    (workload,) = found["workloads"]
    assert workload["labels"] == {"namespace": "llm-timid-8b"}
    assert [each["start"] for each in workload["hours"]] == ["2026-09-21T15:00:00Z"]
    assert workload["changes"][0]["k_to"] == 5
    assert found["complete"] is True
    assert (found["passes"], found["queries"] > 0, found["answer_bytes"] > 0) == (11, True, True)


def test_a_picture_is_drawn_where_one_is_wanted(command: Command, url: str, tmp_path: Path) -> None:
    """An SVG that is one; a file that cannot be written, or is of another kind, is refused."""
    path = tmp_path / "backtest.svg"
    said = command("backtest", "--prometheus-url", url, "--since", "10m", "--step", "60s", "--picture", path)
    assert said.code == OK
    assert ET.parse(path).getroot().tag.endswith("svg")  # our own file
    missing = command("backtest", "--prometheus-url", url, "--since", "5m", "--picture", tmp_path / "no" / "p.png")
    assert missing.code == FAILED
    assert "cannot write" in missing.err
    other = command("backtest", "--prometheus-url", url, "--picture", tmp_path / "p.gif")
    assert (other.code, "must end in .png or .svg" in other.err) == (USAGE, True)


def test_an_answer_that_lacks_something_says_so(command: Command, store: StoreDouble, url: str) -> None:
    """Prometheus' own warning is passed on, with the answer marked."""
    store.warnings = ["a store API is not reachable"]
    found = document(command, "--prometheus-url", url, "--since", "10m", "--step", "60s")
    assert any("a store API is not reachable" in each for each in found["warnings"])


def test_a_store_that_fails_midway_leaves_a_marked_part(command: Command, store: StoreDouble, url: str) -> None:
    """What was replayed is printed, with how far it came; the exit status and the message name the failure."""
    store.fails = lambda form: (422, "what?") if float(form.get("time", 0)) > BEGINNING + 300 else None
    said = command("backtest", "--prometheus-url", url, "--since", "1h", "--step", "30s", "-o", "json")
    found = json.loads(said.out)
    assert said.code == FAILED
    assert found["complete"] is False
    assert found["errors"][0]["reason"] == "query_refused"
    assert found["reached"] < "2026-09-21T15:10:00Z"
    assert "What follows ends at" in said.err


def test_where_nothing_matches_it_is_told_what_there_is(command: Command, url: str) -> None:
    """Not an empty table."""
    said = command("backtest", "--prometheus-url", url, "--since", "10m", "--match", 'namespace="none"')
    assert (said.code, said.out) == (FAILED, "")
    assert "llm-timid-8b" in said.err


def test_a_fleet_without_speculation_has_no_evidence(command: Command) -> None:
    """The exit status says so, and the table why."""
    with serving(history(fleets.PLAIN)) as url:
        said = command("backtest", "--prometheus-url", url, "--since", "10m")
    assert said.code == NO_EVIDENCE
    assert "nothing to decide: no_speculation" in said.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--since", "soon"), "--since: a time such as 30s, 15m, 12h, 7d or 1d12h is expected"),
        (("--since", "200000w"), "ten years at most"),
        (("--since", "30s", "--step", "1m"), "--since must be at least two times --step"),
        (("--step", "0s"), "--step: a time such as"),
        (("--match", "up{}"), "--match"),
        (("--profile", "no-such-file"), "the profile no-such-file cannot be used"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    command: Command, url: str, arguments: tuple[str, ...], problem: str
) -> None:
    """With the option's name and what is expected."""
    said = command("backtest", "--prometheus-url", url, *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert problem in said.err


def test_without_an_address_there_is_nothing_to_replay(command: Command) -> None:
    """The option is named; a port where nobody listens gives a reason."""
    assert "--prometheus-url" in command("backtest").err
    said = command("backtest", "--prometheus-url", "http://127.0.0.1:9", "--since", "10m")
    assert (said.code, said.out) == (FAILED, "")
    assert "check that Prometheus runs" in said.err
