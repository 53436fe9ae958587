"""What a server answers to `controller doctor`: JSON -> `inspect` -> the report."""

import json
from typing import Final
from urllib.parse import urlsplit

from pages import after, snapshot

from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.inspect import inspect
from controller.reason import Reason
from controller.report.doctor import examine, text
from controller.simulator.engine import StepEngine
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.vllm_documents import models, server_info, version
from fuzz.edits import edited, edits

PARTS: Final = b"\0"
LINE_CHARACTERS_MAX: Final = 4000
_ENGINE: Final = StepEngine(SCENARIOS["saturation"])
_INFO: Final = server_info(_ENGINE)
_PATHS: Final = ("/version", "/v1/models", "/server_info")


class Answers(Fetcher):
    """Answers each path with its part of the input; an empty part is a server that has no such path."""

    def __init__(self, data: bytes) -> None:
        parts = [*data.split(PARTS, 2), b"", b""]
        self._answers = dict(zip(_PATHS, parts, strict=False))

    def get(self, url: str, accept: str) -> str:
        """See `Fetcher`."""
        text = self._answers[urlsplit(url).path]
        if not text:
            raise ObserveError(Reason.SERVER_ERROR, "status 404")
        return text.decode("utf-8", "replace")


def check(data: bytes) -> None:
    """Whatever it says, there is a report of printable lines."""
    answers = Answers(b"\0\0" + edited(data, [_INFO]) if data[:1] == b"\xff" else data)
    identity = inspect("http://127.0.0.1:8000", answers, answers)
    report = text(examine(identity, (after(snapshot()),), None))
    assert all(line.isprintable() and len(line) <= LINE_CHARACTERS_MAX for line in report.splitlines())


def seeds() -> list[bytes]:
    """A simulated server's own, edited, and what proxies say."""
    documents = (version(), models(_ENGINE), _INFO)
    return [
        PARTS.join(json.dumps(each).encode() for each in documents),
        PARTS.join(
            [b'{"version": "0.11.2rc1"}', b"", b'{"vllm_config": {"speculative_config": {"method": "suffix"}}}']
        ),
        PARTS.join([b"<html>", b"[]", b"null"]),
        *edits(),
    ]
