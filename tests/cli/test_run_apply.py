"""`controller run --mode apply`: a process beside a simulated vLLM server that changes k in it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from calling import Command
from running import PATIENCE_SECONDS, Running, running
from simulated import TOKEN, Simulated, simulated

from controller.commands.exit_codes import OK, USAGE
from controller.decide.schedule import k_at

OWNER = "the-sidecar"
LAUNCHED = [[1, 256, 5]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Simulated]:
    """Launched with k=5; its traffic, for longer than a test takes, is text that no drafter can guess."""
    with simulated(tmp_path, "zero-and-back") as server:
        yield server


def apply(server: Simulated, *more: str, tokens: Path | None = None, ttl_seconds: int = 3600) -> tuple[str, ...]:
    """The options of apply mode; without probes, so that what changes k is a decision."""
    tokens = tokens or server.tokens
    rest = ("--ttl-seconds", str(ttl_seconds), "--exploration-budget", "0")
    return ("--mode", "apply", "--owner", OWNER, "--plugin-token-file", str(tokens), *rest, *more)


def applied(line: dict[str, Any]) -> bool:
    """A decision that changed something."""
    return bool(line.get("outcome") == "applied")


def held(line: dict[str, Any]) -> bool:
    """A decision that holds on."""
    return line.get("outcome") in ("held", "renewed")


def told_a_secret(sidecar: Running) -> bool:
    """Whether the token is anywhere in the log or on the port."""
    pages = [sidecar.get(path)[1] for path in ("/metrics", "/recommendation", "/")]
    return any(TOKEN in text for text in (*map(json.dumps, sidecar.log), *sidecar.rest, *pages))


def test_it_changes_k_says_so_and_ends_with_0(server: Simulated) -> None:
    """The whole life; what it holds when it ends is left to its time to live, so that a restart loses nothing."""
    with running(server.url, *apply(server)) as sidecar:
        change = sidecar.wait_for(lambda line: line.get("action") == "disable")
        line = sidecar.log[change - 1]
        assert (line["outcome"], line["reason"], line["k"]) == ("applied", "speculation_loses", 0)
        assert line["gain_low"] > 1.0
        sidecar.wait_for(held, change)
        told = server.told
        assert told["owner"] == OWNER
        assert k_at(told["schedule"], 32) == 0
        engine = json.loads(sidecar.get("/recommendation")[1])["servers"][0]
        assert OWNER in json.dumps(engine)
        assert not told_a_secret(sidecar)
        assert sidecar.end() == OK
    assert sidecar.log[0]["mode"] == "apply"
    assert sidecar.log[-1]["event"] == "stop"
    assert not [line for line in sidecar.log if line["event"] == "failure"]
    assert server.told["owner"] == OWNER


def test_killed_it_leaves_the_engine_to_its_time_to_live(server: Simulated) -> None:
    """Serving goes on, and the launch schedule returns by itself: 40 s of the server's time are two of ours."""
    with running(server.url, *apply(server, ttl_seconds=40)) as sidecar:
        sidecar.wait_for(held)
        assert sidecar.end(signal.SIGKILL) == -signal.SIGKILL
    assert server.told["owner"] == OWNER
    told = server.wait_for_owner(None)
    assert told["schedule"] == told["launch_schedule"] == LAUNCHED
    assert requests.get(server.url + "/health", timeout=PATIENCE_SECONDS).status_code == 200


def test_killed_and_started_again_it_goes_on_from_its_checkpoint(server: Simulated, tmp_path: Path) -> None:
    """Under the same owner, without a conflict and without a change; a file that a kill left behind is no matter."""
    options = apply(server, "--checkpoint", str(tmp_path / "checkpoint"))
    with running(server.url, *options) as sidecar:
        sidecar.wait_for(held, sidecar.wait_for(lambda line: line.get("action") == "disable"))
        sidecar.end(signal.SIGKILL)
    generation = server.told["generation"]
    with running(server.url, *options) as sidecar:
        restored = sidecar.wait_for(lambda line: line["event"] == "restored")
        first = sidecar.wait_for(lambda line: line["event"] == "decision", restored)
        sidecar.wait_for(lambda line: line.get("batch") is not None, first)
        assert sidecar.log[restored - 1]["engines"] == 1
        assert sidecar.log[first - 1]["outcome"] == "held"
        assert server.told["generation"] == generation
        assert k_at(server.told["schedule"], 32) == 0
        assert sidecar.end() == OK
    assert not [line for line in sidecar.log if line["event"] == "failure"]


def test_a_checkpoint_that_cannot_be_used_or_written_is_told_once_and_control_goes_on(
    server: Simulated, tmp_path: Path
) -> None:
    """A folder is in its place: it can neither be read nor replaced."""
    (tmp_path / "checkpoint" / "within").mkdir(parents=True)
    with running(server.url, *apply(server, "--checkpoint", str(tmp_path / "checkpoint"))) as sidecar:
        sidecar.wait_for(held, sidecar.wait_for(held))
        assert sidecar.end() == OK
    failures = [line["reason"] for line in sidecar.log if line["event"] == "failure"]
    assert failures == ["checkpoint_unusable", "checkpoint_not_saved"]


def test_while_the_freeze_file_exists_nothing_changes(server: Simulated, tmp_path: Path) -> None:
    """Decisions say what they would do; without the file, they do it."""
    freeze = tmp_path / "freeze"
    freeze.touch()
    with running(server.url, *apply(server, "--freeze-file", str(freeze))) as sidecar:
        frozen = sidecar.wait_for(lambda line: line.get("reason") == "frozen")
        frozen = sidecar.wait_for(lambda line: line.get("reason") == "frozen", frozen)
        assert sidecar.log[frozen - 1]["message"].startswith("Changes are frozen; without that: ")
        assert (server.told["owner"], server.told["generation"]) == (None, 0)
        freeze.unlink()
        sidecar.wait_for(applied, frozen)
        server.wait_for_owner(OWNER)
        assert sidecar.end() == OK


def test_a_freeze_file_that_cannot_be_looked_for_freezes(server: Simulated, tmp_path: Path) -> None:
    """Whether the operator wants changes is not known then; its name is too long for the file system here."""
    with running(server.url, *apply(server, "--freeze-file", str(tmp_path / ("x" * 300)))) as sidecar:
        frozen = sidecar.wait_for(lambda line: line.get("reason") == "frozen")
        sidecar.wait_for(lambda line: line.get("reason") == "frozen", frozen)
        assert (server.told["owner"], server.told["generation"]) == (None, 0)
        assert sidecar.end() == OK


def test_with_a_wrong_token_it_recommends_and_says_why_it_does_not_apply(server: Simulated, tmp_path: Path) -> None:
    """On each pass; neither token is told. With the right one in the file it goes on without a restart."""
    wrong = tmp_path / "wrong"
    wrong.write_text("a-secret-of-somebody-else", "utf-8")
    with running(server.url, *apply(server, tokens=wrong)) as sidecar:
        refused = sidecar.wait_for(lambda line: line.get("reason") == "plugin_refuses")
        decided = sidecar.wait_for(lambda line: line["event"] == "decision" and line["k"] == 0, refused)
        assert sidecar.get("/readyz")[0] == 200
        metrics = sidecar.get("/metrics")[1]
        assert "a-secret" not in metrics + "".join(map(json.dumps, sidecar.log))
        assert server.told["generation"] == 0
        wrong.write_text(TOKEN, "utf-8")
        sidecar.wait_for(applied, decided)
        assert not told_a_secret(sidecar)
        assert sidecar.end() == OK


def test_somebody_elses_schedule_is_left_alone(server: Simulated) -> None:
    """Until it is given back."""
    server.hold(2, "somebody", ttl_seconds=3600)
    with running(server.url, *apply(server)) as sidecar:
        conflict = sidecar.wait_for(lambda line: line.get("reason") == "plugin_conflict")
        conflict = sidecar.wait_for(lambda line: line.get("reason") == "plugin_conflict", conflict)
        assert "somebody holds a schedule" in sidecar.log[conflict - 1]["message"]
        assert server.told["owner"] == "somebody"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        requests.delete(server.url + "/adaptive-k/v1/speculation", headers=bearer, timeout=PATIENCE_SECONDS)
        sidecar.wait_for(applied, conflict)
        assert sidecar.end() == OK


def test_with_a_token_recommending_reads_the_plugin_and_changes_nothing(server: Simulated) -> None:
    """The mode decides, not the token."""
    with running(server.url, "--plugin-token-file", str(server.tokens)) as sidecar:
        decided = sidecar.wait_for(lambda line: line.get("outcome") == "recommended")
        sidecar.wait_for(lambda line: line["event"] == "decision", decided)
        (engine,) = json.loads(sidecar.get("/recommendation")[1])["servers"]
        assert [each["name"] for each in engine["workloads"]] == ["random"]
        assert (server.told["owner"], server.told["generation"]) == (None, 0)
        assert not told_a_secret(sidecar)
        assert sidecar.end() == OK


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mode", "apply"), "--mode apply needs --plugin-token-file"),
        (("--mode", "apply", "--plugin-token-file", "t", "--ttl-seconds", "15"), "at least twice --interval-seconds"),
        (("--objective", "tpot"), "--objective tpot needs --tpot-target-ms"),
        (("--owner", "two words"), "--owner"),
        (("--exploration-budget", "0.5"), "--exploration-budget"),
        (("--ttl-seconds", "9"), "--ttl-seconds"),
    ],
)
def test_options_that_do_not_go_together_are_an_error_of_usage(
    options: tuple[str, ...], words: str, command: Command
) -> None:
    """Before anything is watched."""
    said = command("run", *options)
    assert said.code == USAGE
    assert words in said.err
