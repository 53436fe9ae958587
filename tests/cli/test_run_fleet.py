"""`controller run --prometheus-url`: one process for many servers, told apart by labels of its own metrics."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from calling import Command
from prometheus_client.parser import text_string_to_metric_families
from running import Running, running
from store_double import GrowingStore, serving

from controller.commands.exit_codes import OK, USAGE
from controller.report.document import schema

DULL: dict[str, Any] = {
    "survival": (0.02, 0.0, 0.0, 0.0),
    "batch": 64.0,
    "request_steps": 640_000,
    "step_seconds": 0.05,
}
GOOD: dict[str, Any] = {"request_steps": 20_000}
MANY = {"loses": DULL, **{f"wins-{number}": GOOD for number in range(4)}}


@contextmanager
def watching(store: GrowingStore, *options: str) -> Iterator[Running]:
    """A sidecar of many servers."""
    with serving(store) as url, running(None, "--prometheus-url", url, *options) as sidecar:
        yield sidecar


def decided(line: dict[str, Any]) -> bool:
    """A decision that rests on a window."""
    return line["event"] == "decision" and line["batch"] is not None


def test_every_group_is_judged_exported_and_shown() -> None:
    """Metrics with the group's labels, the document, the page, and the log."""
    with watching(GrowingStore(MANY)) as sidecar:
        sidecar.wait_for(decided)
        page = sidecar.get("/metrics")[1]
        document = json.loads(sidecar.get("/recommendation")[1])
        shown = sidecar.get("/")[1]
        chosen = sidecar.get("/?engine=2")[1]
        assert sidecar.end() == OK
    samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
    k = {each.labels["namespace"]: each.value for each in samples if each.name == "adaptive_k_recommended_k"}
    assert k == {"ns-loses": 0.0, **{f"ns-wins-{number}": 4.0 for number in range(4)}}
    assert {each.value for each in samples if each.name == "adaptive_k_replicas"} == {1.0}
    lost = {
        each.labels["namespace"] for each in samples if each.name == "adaptive_k_loss_tokens_per_second" and each.value
    }
    assert lost == {"ns-loses"}
    jsonschema.validate(document, schema())
    assert document["fleet"]["losing"] == 1
    rows = re.findall(r'href="\?engine=\d+"[^>]*>([^<]*)<', shown)
    assert rows[0] == "ns-loses/llama"
    assert "5 workloads" in shown
    assert "1 lose" in shown
    assert "namespace ns-loses: 1 of 1 replicas" in shown
    assert "namespace ns-wins-1: 1 of 1 replicas" in chosen
    line = next(each for each in sidecar.log if decided(each))
    assert line["labels"]["namespace"].startswith("ns-")


def test_it_begins_with_what_the_store_remembers() -> None:
    """The first decision rests on the minutes before the start; without them on its own window."""
    drafts = []
    for seconds in ("300", "0"):
        with watching(GrowingStore({"wins": GOOD}), "--warm-up-seconds", seconds) as sidecar:
            sidecar.wait_for(lambda line: line["event"] == "decision")
            warm = [line for line in sidecar.log if line["event"] == "warmed_up"]
            drafts.append(len(warm))
    assert drafts == [1, 0]


def test_a_store_that_is_down_costs_the_passes_and_nothing_else() -> None:
    """The rows stay, marked as old; when it is back they go on."""
    store = GrowingStore({"wins": GOOD})
    with watching(store) as sidecar:
        known = sidecar.wait_for(decided)
        store.fails = lambda _: (503, '{"status":"error","errorType":"unavailable","error":"starting up"}')
        down = sidecar.wait_for(lambda line: line.get("reason") == "store_error", known)
        assert "starting up" in sidecar.log[down - 1]["message"]
        assert json.loads(sidecar.get("/recommendation")[1])["servers"] != []
        assert sidecar.get("/livez")[0] == sidecar.get("/readyz")[0] == 200
        store.fails = lambda _: None
        sidecar.wait_for(decided, down)
        assert sidecar.end() == OK


def test_a_store_that_is_down_at_the_start_is_waited_for() -> None:
    """No crash loop: the port is up, and says why there is nothing."""
    store = GrowingStore({"wins": GOOD})
    store.fails = lambda _: (503, "not yet")
    with watching(store) as sidecar:
        down = sidecar.wait_for(lambda line: line.get("reason") == "store_error")
        assert sidecar.get("/readyz")[0] == 200
        store.fails = lambda _: None
        sidecar.wait_for(decided, down)
        assert sidecar.end() == OK


def test_no_more_groups_are_exported_than_allowed() -> None:
    """So that a mistake in --group-by cannot flood the store; it is said on the page and in the document."""
    with watching(GrowingStore(MANY), "--groups-max", "2") as sidecar:
        sidecar.wait_for(decided)
        document = json.loads(sidecar.get("/recommendation")[1])
        shown = sidecar.get("/")[1]
    assert len(document["servers"]) == 2
    assert document["fleet"]["notes"][0]["reason"] == "too_many_groups"
    assert "raise --groups-max" in shown


FLEET = ("--prometheus-url", "http://p")
USES = {
    "live control": (*FLEET, "--mode", "apply", "--plugin-token-file", "t"),
    "both": (*FLEET, "--url", "http://v"),
    "a plugin": (*FLEET, "--plugin-token-file", "t"),
    "a checkpoint": (*FLEET, "--checkpoint", "c"),
    "a label of ours": (*FLEET, "--group-by", "namespace,reason"),
    "no fleet": ("--match", 'a="b"'),
}


@pytest.mark.parametrize("case", USES)
def test_a_use_that_makes_no_sense_is_refused(command: Command, case: str) -> None:
    """With what to do instead."""
    said = command("run", *USES[case])
    assert (said.code, said.out) == (USAGE, "")
    assert "--" in said.err


def test_rows_without_labels_of_their_own_are_refused(command: Command, tmp_path: Path) -> None:
    """A file can say null, which for `recommend` is a row a server."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("prometheus-url: http://p\ngroup-by: null\n", "utf-8")
    said = command("run", "--config", settings)
    assert (said.code, said.out) == (USAGE, "")
    assert "--group-by must name labels" in said.err
