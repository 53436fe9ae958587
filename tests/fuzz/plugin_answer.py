"""What something answers in the engine plugin's place: status and text -> `read_speculation` -> the loop."""

import json
from typing import Final

from fakes import ManualClock, RecordingActuator, ScriptedSource
from pages import after, page, snapshot

from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.loop import Controller
from controller.observe.errors import ObserveError
from controller.observe.plugin import read_speculation, refusal
from controller.observe.speculation import Measured, measured_between
from fuzz.edits import edited, edits
from fuzz.holding import fits, publish
from fuzz.passes import Told

URL: Final = "http://127.0.0.1:8000/adaptive-k/v1/speculation"
STATUSES: Final = (200, 200, 200, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 504)
_LAUNCHED: Final = {
    "protocol": 1, "boot_id": "0279", "generation": 0, "owner": None, "method": "eagle", "k_max": 4, "max_num_seqs": 8,
    "launch_schedule": [[1, 4, 4], [5, 8, 2]], "schedule": [[1, 4, 4], [5, 8, 2]], "expires_in_seconds": None,
    "k_with_graph": None, "writable": True, "read_only_because": None,
}  # fmt: skip
_MEASURED: Final = {
    "workloads": [{"name": "chat", "drafts": 3, "drafted": [3, 3, 2, 1], "judged": [3, 2, 1, 0],
         "accepted": [2, 1, 0, 0]}],
    "steps": [
        {"batch_min": 1, "batch_max": 1, "k": 4, "steps": 2, "request_steps": 2, "seconds": 0.05, "tokens": 4,
         "prompt_tokens": 0},
    ],
}  # fmt: skip
_HELD: Final = _LAUNCHED | {"owner": "me", "expires_in_seconds": 60.0, "schedule": [[1, 8, 3]], "measured": _MEASURED}
_BASES: Final = (_HELD, _LAUNCHED, _LAUNCHED | {"measured": _MEASURED})
_PAGES: Final = tuple(page(each) for each in (snapshot(), after(snapshot()), after(after(snapshot()))))


def check(data: bytes) -> None:
    """A document that the loop can go on with, or an `ObserveError` in one sentence. The first byte is a status."""
    status = STATUSES[data[0] % len(STATUSES)] if data else 200
    text = edited(data[1:], _BASES).decode("utf-8", "replace")
    if status != 200:
        fits(refusal(status, text, URL).message)
        return
    try:
        told = read_speculation(text, URL)
    except ObserveError as error:
        fits(error.message)
        return
    assert told.measured is None or isinstance(measured_between(told, told), Measured | None)
    clock = ManualClock()
    loop = Controller(
        ScriptedSource(clock, *_PAGES, before_read=lambda: clock.advance(10.0)),
        clock,
        RecordingActuator(),
        PolicySettings(),
        plugin=Told([told]),
        live=Live("me", frozen=lambda: False, chance=lambda: 0.5),
    )
    publish([loop.step() for _ in _PAGES])


def seeds() -> list[bytes]:
    """As launched, held, measured, edited, and refused."""
    return [
        *(b"\0" + json.dumps(each).encode() for each in _BASES),
        *(b"\0" + each for each in edits()),
        b"\x07" + b'{"error": "somebody holds a schedule; wait.", "current": {}}',
        b"\x06" + b"<html>not found</html>",
    ]
