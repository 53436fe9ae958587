"""A request to the engine plugin: verb, headers and body -> the resource -> the schedule in force."""

import asyncio
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from asgi import answered

from controller.engine.control import Control, Launched
from controller.engine.resource import METHODS, SpeculationResource
from controller.engine.schedule import RANGES_MAX
from controller.engine.wanted import BODY_BYTES_MAX, Wanted

TOKEN: Final = b"a-token-of-the-operators"
K_MAX: Final = 4
BATCH_MAX: Final = 16
STATUSES: Final = frozenset({200, 401, 405, 409, 413, 422})
ERROR_CHARACTERS_MAX: Final = 400
_FOLDER: Final = tempfile.TemporaryDirectory(prefix="fuzz-plugin-")
_TOKENS: Final = Path(_FOLDER.name) / "tokens"
_TOKENS.write_bytes(TOKEN)
_LOOP: Final = asyncio.new_event_loop()


class Engine:
    """vLLM's channel to an engine, with our state machine at its end; messages travel by value."""

    def __init__(self) -> None:
        graphs = frozenset({0, 2, K_MAX})
        self.control = Control(Launched("ngram", K_MAX, BATCH_MAX, (K_MAX,) * (BATCH_MAX + 1), graphs), "ab12")

    async def call_utility_async(self, _: str, verb: str, wanted: dict[str, Any] | None = None) -> list[Any]:
        """Answers as EngineCore would."""
        if wanted is not None:
            return list(json.loads(json.dumps(self.control.put(Wanted(**json.loads(json.dumps(wanted))), 0.0))))
        return list(self.control.reset(0.0)) if verb == "DELETE" else [200, self.control.document(0.0)]


def check(data: bytes) -> None:
    """Bodies one after the other to one engine: each has an answer that says why, and what runs is possible.

    A zero byte parts the bodies. The first byte of each chooses verb, token, and in how many pieces it comes.
    """
    engine = Engine()
    resource = SpeculationResource(token_file=lambda: str(_TOKENS))
    resource.connect(SimpleNamespace(engine_core=engine), lacking=None)
    for part in data.split(b"\0")[:8]:
        what, body = (part[0], part[1:]) if part else (0, b"")
        verb = (*METHODS, "PUT", "PATCH")[what % 5]
        trusted = bool(what & 0x40)
        before = engine.control.generation, engine.control.held
        status, document = _ask(resource, verb, body, trusted=trusted, pieces=1 + (what >> 3 & 3))
        assert status in STATUSES, status
        if status != 200:
            assert 0 < len(document["error"]) <= ERROR_CHARACTERS_MAX
            assert (engine.control.generation, engine.control.held) == before
        if not trusted:
            assert (engine.control.generation, engine.control.held) == before
            assert verb not in {"PUT", "DELETE"} or status in {401, 413}
        _possible(engine.control)


def _ask(
    resource: SpeculationResource, verb: str, body: bytes, *, trusted: bool, pieces: int
) -> tuple[int, dict[str, Any]]:
    token = TOKEN if trusted else b"" if TOKEN in body[:40] else body[:40]
    headers = [(b"authorization", b"Bearer " + token), (b"content-length", str(len(body)).encode())]
    status, content, _ = _LOOP.run_until_complete(answered(resource, verb, headers, body, pieces))
    assert len(body) <= BODY_BYTES_MAX or verb != "PUT" or status in {401, 413}
    document: dict[str, Any] = json.loads(content)
    return status, document


def _possible(control: Control) -> None:
    """Whatever was asked for: k for every batch size, none above the launch, in few ranges that cover them all."""
    told = control.document(0.0)
    ranges = told["schedule"]
    assert 1 <= len(ranges) <= RANGES_MAX
    assert ranges[0][0] == 1
    assert ranges[-1][1] == BATCH_MAX
    assert all(0 <= k <= K_MAX for _, _, k in ranges)
    assert control.held is None or len(control.held) == BATCH_MAX + 1
    json.dumps(told, allow_nan=False)


def seeds() -> list[bytes]:
    """A change, its renewal, a reset, and what is wrong in some of them."""
    rest = b'"ttl_seconds": 60, "owner": "me", "expected": {"boot_id": "ab12", "generation": 0}}'
    body = b'{"schedule": [[1, 8, 2], [9, 16, 0]], ' + rest
    put, delete = b"\x41", b"\x42"
    renewal = body.replace(b'"generation": 0', b'"generation": 1')
    other = renewal.replace(b'"me"', b'"you", "allow_k_without_graph": true')
    return [
        put + body,
        put + body + b"\0" + put + renewal + b"\0" + delete,
        put + body + b"\0" + put + other,
        b"\x01" + body,
        put + body.replace(b"[1, 8, 2]", b"[1, 8, 3]"),
        put + body.replace(b"60", b"1e400"),
        put + b"[" * 100,
    ]
