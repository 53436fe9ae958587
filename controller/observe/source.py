"""Where pages come from: a running server, or files saved from one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from controller.clock import Clock
from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher, cause
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page
from controller.reason import Reason

ACCEPT: Final = "text/plain;version=0.0.4"
"""An OpenMetrics answer would rename `vllm:` to `vllm_`; both are read, but this one is asked for."""


class MetricsSource(Protocol):
    """Something that can be read again and again for the present state of every engine."""

    def read(self) -> tuple[Snapshot, ...]:
        """The snapshots of all engines now; raises `ObserveError`."""


class HttpSource:
    """A running vLLM server, scraped over HTTP."""

    def __init__(self, url: str, clock: Clock, fetcher: Fetcher) -> None:
        """`url` is the server's address, `http://host:port`; `/metrics` is added unless the path says so already."""
        self.url = metrics_url(url)
        self._clock = clock
        self._fetcher = fetcher

    def read(self) -> tuple[Snapshot, ...]:
        """Scrape once; the snapshots are stamped with the middle of the scrape."""
        started = self._clock.monotonic_seconds()
        text = self._fetcher.get(self.url, ACCEPT)
        finished = self._clock.monotonic_seconds()
        return read_page(text, (started + finished) / 2)


class ReplaySource:
    """Saved pages, read in order through the same path as live ones, so that a bug report is reproducible."""

    def __init__(self, paths: Sequence[Path], interval_seconds: float | None = None) -> None:
        """`interval_seconds` lies between one page and the next; None when it is not known."""
        self._paths = tuple(paths)
        self._interval_seconds = interval_seconds
        self._next = 0

    def read(self) -> tuple[Snapshot, ...]:
        """The next page; the last one again when there are no more."""
        index = min(self._next, len(self._paths) - 1)
        self._next += 1
        at_seconds = None if self._interval_seconds is None else index * self._interval_seconds
        path = self._paths[index]
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ObserveError(
                Reason.FILE_UNREADABLE,
                f"The saved page {path} cannot be read ({cause(error)}): save one with "
                "`curl -s http://HOST:PORT/metrics > page.txt`.",
            ) from error
        try:
            return read_page(text, at_seconds)
        except ObserveError as error:
            raise ObserveError(error.reason, f"{path}: {error.message}") from error


def metrics_url(url: str) -> str:
    """The address of the page for the address of a server.

    >>> metrics_url("http://127.0.0.1:8000")
    'http://127.0.0.1:8000/metrics'
    >>> metrics_url("https://llm.example/gateway/metrics")
    'https://llm.example/gateway/metrics'
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    path = path if path.endswith("/metrics") else f"{path}/metrics"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
