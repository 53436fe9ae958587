"""Killed at whichever statement of a change, a sidecar leaves nothing that the next one could not go on from."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import crashing
from faults.stage import OWNER, TTL_SECONDS, USUAL, Stage

from controller.checkpoint import Checkpoint
from controller.simulator.schedule import Schedule

LIMIT = 100_000
FINISHED = "finished"
Crash = Callable[[int, float], str]


@contextmanager
def crashing_beside(stage: Stage, counted: str) -> Iterator[Crash]:
    """The program after its first pass; what it is told to do, and says."""
    options = stage.options.model_dump(mode="json", exclude_unset=True) | {"listen": "127.0.0.1:0"}
    given = json.dumps({"options": options, "unix_seconds": stage.unix_seconds()})
    with subprocess.Popen(
        [sys.executable, crashing.__file__, given, counted],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = process.stdout

        def crash(statements: int, now: float) -> str:
            assert process.stdin is not None
            process.stdin.write(f"{statements} {now}\n")
            process.stdin.flush()
            return said.readline().strip()

        assert said.readline() == "ready\n"
        yield crash


def drafts(stage: Stage) -> float:
    """How many drafts the checkpoint rests on; it can be read."""
    (learnt,) = Checkpoint(stage.checkpoint, stage.options.url, stage).read().values()
    assert learnt.evidence is not None
    return learnt.evidence.at_risk[0]


@dataclass(frozen=True)
class Left:
    """All that a new sidecar finds of one that was killed.

    Attributes:
        owner: Of the schedule in the engine.
        schedule: That schedule.
        saved: The checkpoint.
        files: What lies in its folder.
    """

    owner: str | None
    schedule: Schedule
    saved: bytes
    files: tuple[str, ...]


def left(stage: Stage) -> Left:
    """At this moment; the plugin's own time to live is never longer than what was asked for."""
    told = stage.ask("GET")
    assert (told["expires_in_seconds"] or 0) <= TTL_SECONDS
    return Left(
        owner=told["owner"],
        schedule=tuple((low, high, k) for low, high, k in told["schedule"]),
        saved=stage.checkpoint.read_bytes(),
        files=tuple(sorted(each.name for each in stage.checkpoint.parent.iterdir())),
    )


def crashed(stage: Stage, counted: str, stride: int) -> tuple[Left, dict[Left, str]]:
    """What was there before, and all that kills leave, each with the place of the first of them."""
    found: dict[Left, str] = {}
    with crashing_beside(stage, counted) as crash:
        stage.advance(2 * TTL_SECONDS)
        before, where = left(stage), ""
        for statements in range(1, LIMIT, stride):
            where = crash(statements, stage.unix_seconds())
            found.setdefault(left(stage), where)
            if where == FINISHED:
                return before, found
            stage.ask("DELETE")
            stage.checkpoint.write_bytes(before.saved)
    raise AssertionError(where)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("counted", "stride"), [("own", 1), pytest.param("all", 31, marks=pytest.mark.slow)])
def test_a_kill_at_any_statement_of_a_change_is_recovered_from(
    counted: str, stride: int, tmp_path: Path, learnt: bytes
) -> None:
    """From the decision to the saved checkpoint: the file is whole, the engine is at its launch schedule or ours.

    From each state that a kill leaves, a new sidecar holds in its first pass what the killed one wanted to, and has
    forgotten nothing that was saved.
    """
    stage = Stage(tmp_path, USUAL, learnt)
    try:
        stage.run(30)
        held = stage.server.engines[0].schedule
        known = drafts(stage)
        before, found = crashed(stage, counted, stride)
        launched, changed = (before.owner, before.schedule), (OWNER, held)
        assert launched != changed
        assert {(state.owner, state.schedule) for state in found} == {launched, changed}
        assert {state.saved == before.saved for state in found if state.owner is None} == {True}
        assert {state.saved == before.saved for state in found if state.owner == OWNER} == {True, False}
        for state, where in found.items():
            stage.ask("DELETE")
            if state.owner is not None:
                stage.hold(state.schedule, OWNER, TTL_SECONDS)
            stage.checkpoint.write_bytes(state.saved)
            for name in state.files:
                (stage.checkpoint.parent / name).touch()
            assert drafts(stage) >= known, where
            stage.run(stage.seconds + 1)
            assert stage.passes[-1].failures == (), where
            assert stage.passes[-1].schedule == held, where
            assert [each.name for each in stage.checkpoint.parent.iterdir()] == ["checkpoint"], where
    finally:
        stage.close()
