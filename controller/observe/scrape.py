"""A running vLLM server, read over HTTP."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from controller.clock import Clock
from controller.observe.http import Fetcher
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page

ACCEPT: Final = "text/plain;version=0.0.4"
"""An OpenMetrics answer would rename `vllm:` to `vllm_`; both are read, but this one is asked for."""


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
