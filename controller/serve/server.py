"""The sidecar's own port: the status page at /, /metrics, /livez, /readyz, /recommendation. Read-only throughout."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from controller.clock import Clock
from controller.cycle import Cycle
from controller.json_text import json_text
from controller.listener import Listener
from controller.report.document import document
from controller.serve.page import HEADERS, Page
from controller.serve.page_view import About
from controller.serve.telemetry import Telemetry

THREADS: Final = 4
IDLE_SECONDS: Final = 10
"""A connection that sends nothing for this long is closed, so that slow clients do not use the port up."""
LIVE_INTERVALS: Final = 5.0
"""The loop is taken for dead when no pass ended within this many intervals, and at least a minute."""

Answer = tuple[str, str, bytes]


class Server:
    """Serves the latest cycle over HTTP from a few bounded threads; the loop never waits for a client."""

    def __init__(self, listen: str, clock: Clock, interval_seconds: float, about: About | None = None) -> None:
        """Binds at once, so that a port in use is an error at the start: OSError."""
        self._clock = clock
        self._patience_seconds = max(60.0, LIVE_INTERVALS * interval_seconds)
        self._progress_seconds = clock.monotonic_seconds()
        self._page = Page(replace(about or About(), interval_seconds=interval_seconds), self._patience_seconds)
        self._telemetry = Telemetry(about.labels if about else ())
        registry = CollectorRegistry()
        registry.register(self._telemetry)
        self._metrics = make_wsgi_app(registry)
        host, _, port = listen.rpartition(":")
        self._listener = Listener(
            self._application,
            host.strip("[]"),
            int(port),
            threads=THREADS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=IDLE_SECONDS,
            asyncore_loop_timeout=IDLE_SECONDS // 2,  # whatever happens wakes it; by itself it looks for the idle
            max_request_body_size=1024,
            ident="adaptive-k",
            clear_untrusted_proxy_headers=True,
        )

    @property
    def port(self) -> int:
        """The port in use; the chosen one for port 0."""
        return self._listener.port

    def start(self) -> None:
        """Serve in the background."""
        self._listener.start()

    def close(self) -> None:
        """Stop serving."""
        self._listener.close()

    def publish(self, cycle: Cycle) -> None:
        """Make a cycle the one that is served."""
        self._telemetry.publish(cycle)
        self._page.publish(cycle)
        self._progress_seconds = self._clock.monotonic_seconds()

    def checkpoint_failed(self, message: str) -> None:
        """Why what was learnt could not be kept after the last pass; empty when it was."""
        self._page.checkpoint_failed(message)

    def _application(self, environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "/")
        method = environment.get("REQUEST_METHOD")
        if method != "GET":  # the answer to HEAD has no body by definition, and waitress would send one
            words = b"" if method == "HEAD" else b"This port is read-only: use GET.\n"
            return _send(start, ("405 Method Not Allowed", "text/plain", words), (("Allow", "GET"),))
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics(environment, start)
            return page
        if path in ("/", ""):  # a proxy that takes its prefix away may leave nothing
            body = self._page.answer(environment.get("QUERY_STRING", ""), self._clock.unix_seconds())
            return _send(start, ("200 OK", "text/html", body), HEADERS)
        routes: dict[str, Callable[[], Answer]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/recommendation": self._recommendation,
        }
        return _send(start, routes.get(path, _not_found)())

    def _live(self) -> Answer:
        silent = self._clock.monotonic_seconds() - self._progress_seconds
        if silent > self._patience_seconds:
            return _text("503 Service Unavailable", f"The loop has made no pass for {silent:.0f} s.")
        return _text("200 OK", "The loop makes progress.")

    def _ready(self) -> Answer:
        """Never depends on vLLM: an unready sidecar would take the model out of its Service."""
        return _text("200 OK", "Ready.")

    def _recommendation(self) -> Answer:
        cycle = self._telemetry.cycle
        if cycle is None:
            return _text("503 Service Unavailable", "No pass has ended yet: try again in a few seconds.")
        return "200 OK", "application/json", json_text(document(cycle)).encode()


def _send(start: StartResponse, answer: Answer, more: Sequence[tuple[str, str]] = ()) -> Iterable[bytes]:
    status, kind, body = answer
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *more,
    ]
    start(status, headers)
    return [body]


def _text(status: str, text: str) -> Answer:
    return status, "text/plain", f"{text}\n".encode()


def _not_found() -> Answer:
    return _text("404 Not Found", "There are /, /metrics, /livez, /readyz and /recommendation.")
