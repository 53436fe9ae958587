"""What something answers in Prometheus' place: status and JSON -> client, history, fleet -> the loop."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs

from fakes import ManualClock, RecordingActuator
from pages import after, page, snapshot
from prometheus_client.parser import text_string_to_metric_families

from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.observe.http import Fetcher
from controller.observe.prometheus.client import Client
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.grouping import EACH, Grouping
from controller.observe.prometheus.history import History
from controller.observe.prometheus.source import LiveSource
from fuzz.edits import edited, edits
from fuzz.holding import publish

T0: Final = 1.8e9
EVERY_SECONDS: Final = 30.0
SCRAPES: Final = 5
STATUSES: Final = (200, 200, 200, 200, 400, 401, 422, 429, 500, 503)
GROUPINGS: Final = (EACH, Grouping(()), Grouping(("namespace",)))


class Store(Fetcher):
    """Answers each query with those series of one document that it asks for, as far as they can be told."""

    def __init__(self, clock: ManualClock, status: int, text: str, *, tells_time: bool) -> None:
        self._clock = clock
        self._status = status
        self._whole = text
        self._tells_time = tells_time

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], str]:
        """See `Fetcher`."""
        query = parse_qs((body or b"").decode())["query"][0]
        if query == "time()" and self._tells_time:
            return 200, {}, json.dumps({"data": {"resultType": "scalar", "result": [self._clock.unix, "0"]}})
        try:
            document = json.loads(self._whole)
            found = [each for each in document["data"]["result"] if _asked(each, query)]
            data = {**document["data"], "result": found}
        except (ValueError, TypeError, LookupError, RecursionError):
            return self._status, {}, self._whole
        return self._status, {}, json.dumps({**document, "data": data})


def _asked(series: Any, query: str) -> bool:
    """Whether a query asks for a series; what is none comes with every answer."""
    try:
        return f"{series['metric']['__name__']}|" in query
    except (TypeError, LookupError):
        return True


def check(data: bytes) -> None:
    """Passes end in decisions or in named failures, and can be published.

    The first byte is a status, a grouping, and whether the store's clock is as documented.
    """
    head = data[0] if data else 0
    text = edited(data[1:], _documents()).decode("utf-8", "replace")
    clock = ManualClock(unix=T0 + EVERY_SECONDS)
    store = Store(clock, STATUSES[head % len(STATUSES)], text, tells_time=not head & 0x80)
    fleet = Fleet(GROUPINGS[head // len(STATUSES) % len(GROUPINGS)])
    source = LiveSource(History(Client("http://prometheus:9090", store)), fleet)
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    cycles = []
    for _ in range(3):
        clock.advance(EVERY_SECONDS)
        cycles.append(loop.step())
    publish(cycles)


@cache
def _documents() -> tuple[Any, ...]:
    """What Prometheus answers of one engine, and of two."""
    return tuple(_matrix(count) for count in (1, 2))


def _matrix(engines: int) -> dict[str, Any]:
    kept: dict[tuple[tuple[str, str], ...], list[list[Any]]] = {}
    shown = [snapshot() for _ in range(engines)]
    for scrape in range(SCRAPES):
        for number, each in enumerate(shown):
            for family in text_string_to_metric_families(page(each)):
                for sample in family.samples:
                    labels = {"__name__": sample.name, **sample.labels, "pod": f"p{number}", "namespace": "llm"}
                    point = [T0 + scrape * EVERY_SECONDS, str(sample.value)]
                    kept.setdefault(tuple(labels.items()), []).append(point)
        shown = [after(each) for each in shown]
    result = [{"metric": dict(labels), "values": points} for labels, points in kept.items() if "le" not in dict(labels)]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def seeds() -> list[bytes]:
    """Whole answers, edited ones, and refusals."""
    whole = [bytes((head,)) + json.dumps(_documents()[0]).encode() for head in (0, 10)]
    changed = [bytes((head,)) + each for head in (0, 10, 20) for each in edits()]
    return [
        *whole,
        *changed,
        b'\x80{"data": {"resultType": "scalar", "result": [1e300, "0"]}}',
        b'\x80{"data": {"resultType": "scalar", "result": [NaN, "0"]}}',
        b'\x06{"error": "query processing would load too many samples"}',
        b"\x09<html>",
    ]
