"""Faults of the sidecar itself: its process, its disk, its clock."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from faults.fault import Fault, Inflict, Meanwhile, Row, at_once
from faults.stage import Stage

from controller.defect import defect
from controller.reason import Reason

OPEN: Final = os.open


def opened_as(other: Callable[[int], int]) -> Inflict:
    """Whatever is opened to be written in the checkpoint's folder is opened otherwise."""

    @contextmanager
    def inflict(stage: Stage) -> Iterator[None]:
        def opens(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            kept = isinstance(path, Path) and path.parent == stage.checkpoint.parent
            return other(flags) if kept else OPEN(path, flags, *rest, **more)

        with patch("os.open", opens):
            yield

    return inflict


def full(_: int) -> int:
    """The kernel's own full disk."""
    return OPEN("/dev/full", os.O_WRONLY)


def read_only(_: int) -> int:
    """A volume that is mounted read-only."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@contextmanager
def unmounted(stage: Stage) -> Iterator[None]:
    """The folder is away."""
    kept, away = stage.checkpoint.parent, stage.folder / "away"
    kept.rename(away)
    yield
    away.rename(kept)


@contextmanager
def failing(_: Stage) -> Iterator[None]:
    """What nobody foresaw; it is told as in production, and not raised."""
    with patch("controller.loop.learn", side_effect=ZeroDivisionError), patch("controller.loop.defect", defect):
        yield


def restarted_with(edit: Callable[[bytes], bytes]) -> Inflict:
    """The sidecar restarts, and finds this made of its checkpoint."""

    def action(stage: Stage) -> None:
        path = stage.checkpoint
        stage.restart_sidecar(5, lambda: path.write_bytes(edit(path.read_bytes())))

    return at_once(action)


def newer(body: bytes) -> bytes:
    """Written by a sidecar of another version."""
    return json.dumps(json.loads(body) | {"version": 99}).encode()


def ahead(seconds: float, restart: bool = False) -> Inflict:
    """The wall clock jumps, and later back."""

    @contextmanager
    def inflict(stage: Stage) -> Iterator[None]:
        stage.unix_ahead_seconds = seconds
        if restart:
            stage.restart_sidecar(5)
        yield
        stage.unix_ahead_seconds = 0.0

    return inflict


def unusable(name: str, happens: str, edit: Callable[[bytes], bytes]) -> Fault:
    """A restart with a checkpoint that cannot be used: what the engine holds is taken over from it."""
    return Fault(
        name=f"sidecar: checkpoint {name}",
        happens=f"At a restart, {happens}",
        inflict=restarted_with(edit),
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.CHECKPOINT_UNUSABLE,),
    )


HOUR: Final = 3600.0
FAULTS: Final = (
    Fault(
        name="sidecar: SIGTERM",
        happens="It is told to end, ends the pass in progress, and starts anew.",
        inflict=at_once(Stage.restart_sidecar),
        normal_passes=0,
    ),
    Fault(
        name="sidecar: away for longer than the time to live",
        happens="It ends, and starts anew after three minutes.",
        inflict=at_once(lambda stage: stage.restart_sidecar(180)),
        lasts_seconds=175,
        meanwhile=Meanwhile.LAUNCH,
        normal_passes=1,
    ),
    Fault(
        name="sidecar: starved of CPU",
        happens="It gets no turn for three minutes, and goes on where it was.",
        inflict=at_once(lambda stage: stage.advance(180)),
        lasts_seconds=175,
        meanwhile=Meanwhile.LAUNCH,
        normal_passes=1,
    ),
    Fault(
        name="sidecar: disk full",
        happens="The checkpoint cannot be written for want of room.",
        inflict=opened_as(full),
        sees=(Reason.CHECKPOINT_NOT_SAVED,),
    ),
    Fault(
        name="sidecar: checkpoint read-only",
        happens="The volume of the checkpoint is mounted read-only.",
        inflict=opened_as(read_only),
        sees=(Reason.CHECKPOINT_NOT_SAVED,),
    ),
    Fault(
        name="sidecar: checkpoint's volume away",
        happens="The folder of the checkpoint is not there.",
        inflict=unmounted,
        sees=(Reason.CHECKPOINT_NOT_SAVED,),
    ),
    Fault(
        name="sidecar: a fault of its own",
        happens="Its arithmetic fails on every window, for a minute and a half.",
        inflict=failing,
        lasts_seconds=95,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.DEFECT,),
        normal_passes=1,
    ),
    unusable("corrupt", "a byte of the checkpoint is another.", lambda body: body.replace(b":", b"\xff", 1)),
    unusable("truncated", "half of the checkpoint is missing.", lambda body: body[: len(body) // 2]),
    unusable("from a newer version", "the checkpoint is of a newer version.", newer),
    Fault(
        name="sidecar: wall clock an hour ahead",
        happens="The wall clock jumps an hour ahead, and back.",
        inflict=ahead(HOUR),
        normal_passes=0,
    ),
    Fault(
        name="sidecar: wall clock an hour back",
        happens="The wall clock jumps an hour back, and forth.",
        inflict=ahead(-HOUR),
        normal_passes=0,
    ),
    Fault(
        name="sidecar: wall clock an hour back at a restart",
        happens="The checkpoint is of the future.",
        inflict=ahead(-HOUR, restart=True),
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.CHECKPOINT_UNUSABLE,),
    ),
)
SIGKILL: Final = Row(
    name="sidecar: SIGKILL at every statement of a change",
    happens="It is killed at any statement from the decision to the saved checkpoint, and starts anew.",
    meanwhile=Meanwhile.EITHER,
)
MEMORY: Final = Row(
    name="sidecar: memory limit",
    happens="It may have 48 MB more than it has, and gets pages of 100 MB, one after the other.",
    sees=(Reason.PAGE_TOO_LARGE,),
)
ELSEWHERE: Final = (SIGKILL, MEMORY)
"""In processes of their own: test_crash_points.py and test_memory_limit.py."""
