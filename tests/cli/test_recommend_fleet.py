"""`controller recommend --prometheus-url`: many servers, one line each, the most to gain first."""

import errno
import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from calling import Command
from loopback import unused_port
from pages import CREATED, after, page, snapshot
from store_double import StoreDouble, serving

from controller.beside import Beside, Serve
from controller.commands import side_by_side
from controller.commands.exit_codes import CHANGE, FAILED, NO_EVIDENCE, OK, USAGE
from controller.cycle import Cycle, EngineCycle, Failure
from controller.reason import Reason
from controller.undecided import undecided

NOW = 1.8e9
DULL: dict[str, Any] = {"survival": (0.02, 0.0, 0.0, 0.0), "batch": 64.0, "request_steps": 640_000}
GOOD: dict[str, Any] = {"request_steps": 20_000}


def scraped(store: StoreDouble, pod: str, traffic: dict[str, Any], **labels: str) -> None:
    """A pod that was scraped at the beginning and at the end of the window."""
    model = labels.pop("model_name", "llama")
    first = after(snapshot(model_name=model, created_seconds=CREATED + sum(map(ord, pod))), **traffic)
    for shown, at in ((first, NOW - 310), (after(first, **traffic), NOW - 10)):
        store.scrape(page(shown), at, pod=pod, namespace=labels.get("namespace", "llm"), job="vllm")


@pytest.fixture(scope="module")
def store() -> StoreDouble:
    """Two pods of one workload that loses, one of another that does not, and one without speculation."""
    found = StoreDouble(NOW)
    for pod in ("bad-0", "bad-1"):
        scraped(found, pod, DULL, namespace="loses")
    scraped(found, "good-0", GOOD, namespace="wins")
    plain = snapshot(None, model_name="plain")
    for shown, at in ((plain, NOW - 310), (after(plain), NOW - 10)):
        found.scrape(page(shown), at, pod="plain-0", namespace="none", job="vllm")
    return found


@pytest.fixture
def url(store: StoreDouble) -> Iterator[str]:
    """Its address."""
    store.warnings, store.now = [], NOW
    with serving(store) as address:
        yield address


def document(command: Command, *arguments: object) -> Any:
    """The JSON document, valid by the published schema."""
    found = json.loads(command("recommend", *arguments, "-o", "json").out)
    jsonschema.Draft202012Validator(json.loads(command("schema").out)).validate(found)
    return found


def test_one_line_a_server_the_most_to_gain_first_and_the_totals(command: Command, url: str) -> None:
    """What loses, what is lost, what to run; with the reason."""
    said = command("recommend", "--prometheus-url", url)
    assert (said.code, said.err) == (OK, "")
    lines = said.out.splitlines()
    names = [line.split()[0] for line in lines[1:5]]
    assert [each.split("/")[1] for each in names[:2]] == ["bad-0", "bad-1"]
    assert names[3] == "none/plain-0/plain"
    assert "speculation_loses" in lines[1]
    assert "2 with a negative margin" in said.out
    assert re.search(r"2 changes recommended: \+[\d,]+ tokens/s \(\+", said.out)
    assert said.out.count("--speculative-config '{") == 2
    assert lines[-1].startswith("merge into your --speculative-config, method and model kept")
    assert "`controller launch-config --schedule`" in lines[-1], "the document of a fleet holds many schedules"
    assert max(map(len, lines[:5])) <= 140


@pytest.mark.parametrize(("method", "is_told"), [("eagle3", True), (None, False)])
def test_a_schedule_that_old_vllm_does_not_survive_is_told_with_its_row(
    method: str | None, is_told: bool, command: Command
) -> None:
    """Only where a model is known to draft; without a method nobody knows."""
    store, dull_at_one = StoreDouble(NOW), {**DULL, "survival": (0.02,)}
    first = after(snapshot(k_max=1), **dull_at_one)
    for shown, at in ((first, NOW - 310), (after(first, **dull_at_one), NOW - 10)):
        store.scrape(page(shown), at, pod="early-0", namespace="llm", job="vllm")
    with serving(store) as url:
        said = command("recommend", "--prometheus-url", url, *(("--method", method) if method else ()))
    assert "--speculative-config '{" in said.out
    assert ("llm/early-0/m: vLLM 0.26 to 0.31" in said.err) is is_told


def test_replicas_of_a_workload_are_one_row(command: Command, url: str) -> None:
    """One launch configuration serves them all; their tokens add up."""
    one = document(command, "--prometheus-url", url)
    group = document(command, "--prometheus-url", url, "--group-by", "namespace,model_name")
    rows = {each["labels"]["namespace"]: each for each in group["servers"]}
    assert rows["loses"]["replicas"] == {"known": 2, "counted": 2, "left_out": {}, "message": None}
    each = [server for server in one["servers"] if server["labels"]["namespace"] == "loses"]
    total = sum(server["decoded_tokens_per_second"] for server in each)
    assert rows["loses"]["decoded_tokens_per_second"] == pytest.approx(total)
    assert rows["loses"]["decode_batch"] == pytest.approx(each[0]["decode_batch"])
    assert rows["loses"]["recommendation"]["action"] == "disable"
    assert group["fleet"]["engines"] == one["fleet"]["engines"] == 3
    assert group["fleet"]["losing"] == 1


def test_a_row_equals_what_the_same_server_says_of_itself(command: Command, url: str, tmp_path: Path) -> None:
    """The store is another way to the same two pages."""
    first = after(snapshot(model_name="llama"), **GOOD)
    for name, shown in (("1", first), ("2", after(first, **GOOD))):
        (tmp_path / name).write_text(page(shown), "utf-8")
    saved = document(command, "--source", tmp_path / "1", tmp_path / "2", "--seconds", 300)
    (direct,) = saved["servers"]
    (row,) = document(command, "--prometheus-url", url, "--match", 'namespace="wins"')["servers"]
    assert saved["fleet"] is None
    different = {"labels", "replicas"}
    assert {key: value for key, value in row.items() if key not in different} == {
        key: value for key, value in direct.items() if key not in different
    }


def test_yaml_explain_and_exit_code_are_as_for_one_server(command: Command, url: str) -> None:
    """The same switches."""
    assert command("recommend", "--prometheus-url", url, "--exit-code").code == CHANGE
    found = yaml.safe_load(command("recommend", "--prometheus-url", url, "-o", "yaml").out)
    assert found["fleet"]["changes"] == 2
    assert "where the numbers come from" in command("recommend", "--prometheus-url", url, "--explain").out
    plain = command("recommend", "--prometheus-url", url, "--match", 'namespace="none"')
    assert plain.code == NO_EVIDENCE


def test_a_partial_answer_is_marked(command: Command, url: str, store: StoreDouble) -> None:
    """In the document, and for the person at the terminal."""
    store.warnings = ["1 of 3 stores did not answer"]
    said = command("recommend", "--prometheus-url", url, "-o", "json")
    notes = json.loads(said.out)["fleet"]["notes"]
    assert notes == [{"reason": Reason.ANSWER_PARTIAL.value, "message": "1 of 3 stores did not answer"}]
    assert "1 of 3 stores did not answer" in said.err
    assert said.code == OK


def test_one_sick_server_does_not_fail_the_fleet(command: Command, store: StoreDouble) -> None:
    """Its row says what is wrong; the others have their answers."""
    sick = StoreDouble(NOW)
    scraped(sick, "a", GOOD)
    born = after(snapshot(created_seconds=CREATED + 5), **GOOD)
    for shown, at in ((after(born), NOW - 310), (replace(born, created_seconds=CREATED + 50), NOW - 10)):
        sick.scrape(page(shown), at, pod="b", namespace="llm", job="vllm")
    with serving(sick) as address:
        said = command("recommend", "--prometheus-url", address)
    assert said.code == OK
    assert Reason.SERVER_RESTARTED.value in said.out
    assert "restarted" in said.err


def test_a_selector_that_matches_nothing_lists_what_there_is(command: Command, url: str) -> None:
    """And fails."""
    said = command("recommend", "--prometheus-url", url, "--match", 'namespace="winz"')
    assert (said.code, said.out) == (FAILED, "")
    assert "namespace='wins'" in said.err


def test_a_store_that_is_down_fails_with_its_cause(command: Command) -> None:
    """Before anything is watched."""
    said = command("recommend", "--prometheus-url", f"http://127.0.0.1:{unused_port()}")
    assert said.code == FAILED
    assert "connection refused" in said.err


USES = {
    "a metric's name": ("--prometheus-url", "http://p", "--match", 'up{job="x"}'),
    "another query": ("--prometheus-url", "http://p", "--match", 'a="b"} or vector(1) or {c="d"'),
    "a name by label": ("--prometheus-url", "http://p", "--match", '__name__="up"'),
    "half a login": ("--prometheus-url", "http://p", "--username-file", "/dev/null"),
    "bad labels": ("--prometheus-url", "http://p", "--group-by", "a b"),
    "two sources": ("--prometheus-url", "http://p", "--url", "http://q"),
    "one config for many": ("--prometheus-url", "http://p", "-o", "config"),
    "credentials in the address": ("--prometheus-url", "http://me:secret@p"),
}


@pytest.mark.parametrize("case", USES)
def test_a_use_that_makes_no_sense_is_refused(command: Command, case: str) -> None:
    """Before anything is asked; no secret is repeated."""
    said = command("recommend", *USES[case])
    assert (said.code, said.out) == (USAGE, "")
    assert "secret" not in said.err


def test_the_schema_knows_every_reason(command: Command) -> None:
    """So that no document is invalid for a new one."""
    found = json.loads(command("schema").out)
    assert set(found["properties"]["errors"]["items"]["properties"]["reason"]["enum"]) == {
        each.value for each in Reason
    }


def _killed_at_once(*_: object) -> None:
    os._exit(9)


def _killed_while_it_tells(pipe: Connection, *_: object) -> None:
    os.write(pipe.fileno(), (1000).to_bytes(4, "big") + b"the beginning")
    os._exit(9)


@pytest.mark.parametrize("killed", [None, _killed_at_once, _killed_while_it_tells])
def test_rows_that_are_judged_by_several_processes_are_judged_alike(
    killed: Callable[..., None] | None, url: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row, the order, the totals; what a process that is killed had is judged by this one."""
    alone = document(command, "--prometheus-url", url)
    monkeypatch.setattr(side_by_side, "WORTH_IT_ENGINES", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    if killed:
        monkeypatch.setattr(side_by_side, "_judge", killed)
    handed: list[int] = []
    really = side_by_side._hand

    def hand(pipe: Connection, left: deque[int], found: dict[int, Cycle]) -> None:
        answers: dict[int, Cycle] = {}
        really(pipe, left, answers)
        handed.append(len(answers))
        found |= answers

    def take(left: deque[int], found: dict[int, Cycle], judge: side_by_side.Judge) -> None:
        while not killed and not handed:  # the others alone are quick enough here
            time.sleep(0.001)
        judge_here(left, found, judge)

    class Watched(Beside):
        def __init__(self, serve: Serve) -> None:
            asking.extend(each.name for each in threading.enumerate() if each.name == "ahead")
            super().__init__(serve)

    asking: list[str] = []
    judge_here = side_by_side._take
    monkeypatch.setattr(side_by_side, "Beside", Watched)
    monkeypatch.setattr(side_by_side, "_take", take)
    monkeypatch.setattr(side_by_side, "_hand", hand)
    shared = document(command, "--prometheus-url", url)
    assert len(handed) == 2
    assert (sum(handed) == 0) is (killed is not None)
    assert shared == alone
    assert asking == [], "a process that begins while another thread works may find a lock held for ever"


def test_without_room_for_another_process_this_one_judges_all(
    url: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may allow no more processes, or no more memory."""
    alone = document(command, "--prometheus-url", url)
    monkeypatch.setattr(side_by_side, "WORTH_IT_ENGINES", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))

    def refused(_: Serve) -> Beside:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(side_by_side, "Beside", refused)
    assert document(command, "--prometheus-url", url) == alone


def row(name: str) -> EngineCycle:
    """Of a model of this name."""
    return undecided(snapshot(model_name=name), Reason.IDLE, "idle")


OLD, BROKEN = Failure(Reason.SAMPLES_OLD, "old"), Failure(Reason.DEFECT, "a fault of ours")


@pytest.mark.parametrize(
    ("cycles", "names", "failure"),
    [
        ([Cycle(2, 0.0, (row("b"),)), Cycle(2, 0.0, (row("a"), row("c")))], "abc", None),
        ([Cycle(2, 0.0, failure=OLD), Cycle(2, 0.0, (row("a"),))], "a", None),
        ([Cycle(2, 0.0, failure=OLD), Cycle(2, 0.0, failure=OLD)], "", OLD),
        ([Cycle(2, 0.0, (row("a"),)), Cycle(2, 0.0, (row("b"),), failure=BROKEN)], "ab", BROKEN),
    ],
    ids=["rows", "a part without rows", "no part with rows", "a fault of ours in one part"],
)
def test_parts_are_joined_to_what_one_loop_would_say(cycles: list[Cycle], names: str, failure: Failure | None) -> None:
    """Rows by key; what fails is told, but not that of some servers nothing is left."""
    found = side_by_side.joined(cycles)
    assert "".join(each.model_name for each in found.engines) == names
    assert found.failure == failure


def test_a_store_is_asked_six_queries_and_none_twice(command: Command, store: StoreDouble, url: str) -> None:
    """The first ones are begun before there is anything that could read them."""
    store.forms.clear()
    document(command, "--prometheus-url", url)
    asked = [each["query"] for each in store.forms]
    assert len(asked) == len(set(asked)) == 6
