"""A double of Prometheus' HTTP API: it keeps what it is given to scrape, and answers the queries that we ask."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from pages import CREATED, after, page, snapshot
from prometheus_client.parser import text_string_to_metric_families

from controller.listener import Listener
from controller.observe.http import Fetcher
from controller.observe.prometheus.client import PROMETHEUS, Client
from controller.observe.prometheus.history import History
from controller.simulator.inprocess import InProcessPools

Labels = frozenset[tuple[str, str]]
URL: Final = "http://prometheus.test"
_RANGE: Final = re.compile(r"(\{.*\})\[(\d+)ms\]")
_COUNT: Final = re.compile(r"count by \((.*?)\) \((\{.*\})\)")
_NEWEST: Final = re.compile(r"max\(max_over_time\(timestamp\((\{.*\})\)\[(\d+)s:1m\]\)\)")
_MATCHER: Final = re.compile(r'([a-zA-Z_]\w*)(=~|!=|=)"([^"]*)"')


class StoreDouble:
    """Remembers samples, and what it was asked.

    Attributes:
        now: Its clock, in Unix seconds.
        warnings: Sent with every answer.
        forms: Every query's form, as it came.
        headers: Of the last request.
        fails: Asked before each answer; a status and a body to send instead, or None.
    """

    def __init__(self, now: float = 1.8e9) -> None:
        self.now = now
        self.warnings: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.headers: dict[str, str] = {}
        self.fails: Callable[[dict[str, str]], tuple[int, str] | None] = lambda _: None
        self._samples: dict[Labels, list[tuple[float, str]]] = {}

    def scrape(self, page: str, at: float, without: Iterable[str] = (), **labels: str) -> None:
        """Keep a page under target labels; `without` names samples that did not arrive, or labels that are dropped."""
        for family in text_string_to_metric_families(page):
            for each in family.samples:
                if each.name not in without and not each.name.endswith("_bucket"):
                    own = {name: value for name, value in each.labels.items() if name not in without}
                    series = frozenset({"__name__": each.name, **own, **labels}.items())
                    self._samples.setdefault(series, []).append((round(at, 3), repr(float(each.value))))

    def history(self, match: str = "") -> History:
        """The servers that match, asked for without sockets."""
        fetcher = Fetcher(pools=InProcessPools(self.application), peer=PROMETHEUS)
        return History(Client(URL, fetcher), match)

    def application(self, environment: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        """The API."""
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.forms.append(form)
        self.headers = {name: str(value) for name, value in environment.items() if name.startswith("HTTP_")}
        status, text = self.fails(form) or (200, json.dumps(self._answer(form)))
        start(f"{status} whatever", [("Content-Type", "application/json"), ("Content-Length", str(len(text.encode())))])
        return [text.encode()]

    def _answer(self, form: Mapping[str, str]) -> dict[str, Any]:
        query, at = form["query"], float(form.get("time", self.now))
        if query == "time()":
            kind, result = "scalar", [self.now, str(self.now)]
        elif found := _RANGE.fullmatch(query):
            kind, result = "matrix", list(self._range(found[1], at - float(found[2]) / 1e3, at))
        elif found := _COUNT.fullmatch(query):
            kind, result = "vector", list(self._count(found[2], found[1].split(","), at))
        else:
            newest = _NEWEST.fullmatch(query)
            assert newest, query
            seen = [point[0] for each in self._range(newest[1], at - float(newest[2]), at) for point in each["values"]]
            kind, result = "vector", [{"metric": {}, "value": [at, str(max(seen))]}] if seen else []
        more = {"warnings": self.warnings} if self.warnings else {}
        return {"status": "success", "data": {"resultType": kind, "result": result}, **more}

    def _range(self, selector: str, since: float, until: float) -> Iterator[dict[str, Any]]:
        for labels, samples in self._samples.items():
            named = dict(labels)
            if _matches(selector, named):
                points = sorted([at, value] for at, value in samples if since < at <= until)
                if points:
                    yield {"metric": named, "values": points}

    def _count(self, selector: str, names: list[str], at: float) -> Iterator[dict[str, Any]]:
        counts: dict[Labels, int] = {}
        for each in self._range(selector, at - 300, at):
            group = frozenset((name, each["metric"][name]) for name in names if name in each["metric"])
            counts[group] = counts.get(group, 0) + 1
        for group, count in counts.items():
            yield {"metric": dict(group), "value": [at, str(count)]}


def _matches(selector: str, labels: Mapping[str, str]) -> bool:
    for name, operator, wanted in _MATCHER.findall(selector):
        has = labels.get(name, "")
        good = {"=": has == wanted, "!=": has != wanted, "=~": re.fullmatch(wanted, has) is not None}[operator]
        if not good:
            return False
    return True


@contextmanager
def serving(store: StoreDouble) -> Iterator[str]:
    """The API on the loopback; its address."""
    listener = Listener(store.application, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{listener.port}"
    finally:
        listener.close()


class GrowingStore(StoreDouble):
    """Pods at work: whenever the time is asked for, half a minute has passed and all were scraped again."""

    def __init__(self, traffic: Mapping[str, Mapping[str, Any]], minutes: int = 5) -> None:
        """Traffic by pod, as `pages.after` takes it, one pod in a namespace of its own; and how much past there is."""
        super().__init__()
        self._traffic = traffic
        self._pages = {
            pod: snapshot(model_name="llama", created_seconds=CREATED + place) for place, pod in enumerate(traffic)
        }
        for _ in range(2 * minutes):
            self._pass()

    def _pass(self) -> None:
        self.now += 30
        for pod, traffic in self._traffic.items():
            self._pages[pod] = after(self._pages[pod], **traffic)
            self.scrape(page(self._pages[pod]), self.now - 5, pod=pod, namespace=f"ns-{pod}")

    def _answer(self, form: Mapping[str, str]) -> dict[str, Any]:
        if form["query"] == "time()":
            self._pass()
        return super()._answer(form)
