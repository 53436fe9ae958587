"""A profile of step times, CSV or JSON: text -> `read_profile` -> the loop starts from it."""

import math
from typing import Final

from fakes import ManualClock, RecordingActuator, ScriptedSource
from pages import after, page, snapshot

from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.model.profile import KEPT_BATCHES, KEPT_KS, profile_json, read_profile
from fuzz.holding import publish

MESSAGE_CHARACTERS_MAX: Final = 400
_PAGES: Final = (page(snapshot()), page(after(snapshot())))


def check(data: bytes) -> None:
    """It is a few finite cells, which the loop can price with and `calibrate` can save; or a `ValueError`."""
    try:
        table = read_profile(data.decode("utf-8"))
    except ValueError as error:  # of which a UnicodeDecodeError is one; the command names the file
        assert 0 < len(str(error)) <= MESSAGE_CHARACTERS_MAX
        return
    assert 1 <= len(table.cells) <= KEPT_BATCHES * KEPT_KS
    assert all(math.isfinite(cell.log_seconds) and cell.weight > 0 for cell in table.cells)
    clock = ManualClock()
    source = ScriptedSource(clock, *_PAGES, before_read=lambda: clock.advance(10.0))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings(), profile=table)
    publish([loop.step(), loop.step()])
    again = read_profile(profile_json(table))
    assert len(again.cells) <= len(table.cells)


def seeds() -> list[bytes]:
    """One of each form."""
    return [
        b"batch,k,step_ms\n1,0,6.5\n1,3,8.8\n64,0,20\n64,3,31\n",
        b'{"cells": [{"batch": 1, "k": 0, "step_ms": 6.5, "drafting": 0.5, "weight": 2}, {"batch": 8, "k": 3}]}',
        b'{"cells": [{"batch": 1, "k": 0, "step_ms": 6.5, "drafting": 0.5, "weight": 2}]}',
        b'{"1": {"0": 6.5, "3": 8.8}, "64": {"0": 20.0, "3": 31.5}}',
        b"# from somewhere\nbatch,k,step_ms,note\n1,0,,missing\n2,1,7.25,here\n",
        b"batch,k,step_ms\n1,0,0.0065\n",
    ]
