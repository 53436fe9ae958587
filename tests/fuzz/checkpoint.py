"""The checkpoint, as somebody may have left or edited it: bytes -> `Checkpoint.read` -> the loop goes on from it."""

import json
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from fakes import ManualClock, RecordingActuator, ScriptedSource
from pages import after, snapshot

from controller.checkpoint import LIMIT_BYTES, Checkpoint
from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.loop import Controller
from controller.observe.errors import ObserveError
from controller.reason import Reason
from fuzz.edits import edited, edits
from fuzz.holding import fits, publish
from fuzz.passes import Told, launched

SAVED_UNIX_SECONDS: Final = 1.8e9
SERVER: Final = "http://127.0.0.1:8000"
_FOLDER: Final = tempfile.TemporaryDirectory(prefix="fuzz-checkpoint-")
_FILE: Final = Path(_FOLDER.name) / "state.json"


def check(data: bytes) -> None:
    """It is believed or refused as a whole; what is believed does not stop the loop, and can be saved again."""
    _FILE.write_bytes(edited(data, _saved()))
    clock = ManualClock(unix=SAVED_UNIX_SECONDS + 600.0)
    kept = Checkpoint(_FILE, SERVER, clock)
    try:
        restored = kept.read()
    except ObserveError as error:
        assert error.reason is Reason.CHECKPOINT_UNUSABLE
        fits(error.message)
        return
    loop = _loop(clock, restored)
    publish([loop.step() for _ in range(4)])
    kept.save(loop.learnt)
    assert _FILE.stat().st_size <= LIMIT_BYTES
    again = kept.read()
    assert again.keys() == loop.learnt.keys()


def _loop(clock: ManualClock, restored: Any = None) -> Controller:
    pages, now = [], snapshot(k_max=4)
    for passed in range(4):
        pages.append((replace(now, at_seconds=clock.now + 10.0 * (passed + 1)),))
        now = after(now)
    return Controller(
        ScriptedSource(clock, *pages, before_read=lambda: clock.advance(10.0)),
        clock,
        RecordingActuator(),
        PolicySettings(),
        plugin=Told([launched(4)]),
        live=Live("me", frozen=lambda: False, chance=lambda: 0.5),
        restored=restored,
    )


@cache
def _saved() -> tuple[Any, ...]:
    """What the loop itself leaves after each of some passes."""
    clock = ManualClock(unix=SAVED_UNIX_SECONDS)
    kept, loop, found = Checkpoint(_FILE, SERVER, clock), _loop(clock), []
    for _ in range(4):
        loop.step()
        kept.save(loop.learnt)
        found.append(json.loads(_FILE.read_bytes()))
    return tuple(found)


def seeds() -> list[bytes]:
    """As it was saved, as it was edited, and what is no checkpoint."""
    return [b"", b"{}", *(json.dumps(each).encode() for each in _saved()), *edits()]
