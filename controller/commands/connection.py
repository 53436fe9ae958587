"""From settings to a connection. Apart from the loop's wiring, so that replaying saved pages loads no HTTP client."""

from pathlib import Path

from controller.clock import Clock
from controller.observe.http import PLUGIN, Fetcher
from controller.observe.scrape import HttpSource
from controller.options.server import ServerOptions


def fetcher(options: ServerOptions, timeout_seconds: float | None = None) -> Fetcher:
    """What fetches from the server that the options name."""
    return Fetcher(
        timeout_seconds=timeout_seconds or options.timeout_seconds,
        limit_bytes=options.page_limit_bytes,
        token_file=options.token_file,
        ca_file=options.ca_file,
    )


def plugin_fetcher(options: ServerOptions, token_file: Path | None) -> Fetcher:
    """What speaks to the server's engine plugin, with the plugin's own token."""
    return Fetcher(
        timeout_seconds=options.timeout_seconds,
        limit_bytes=options.page_limit_bytes,
        token_file=token_file,
        peer=PLUGIN,
        ca_file=options.ca_file,
    )


def http_source(options: ServerOptions, clock: Clock) -> HttpSource:
    """The server's metrics page."""
    assert options.url is not None
    return HttpSource(options.url, clock, fetcher(options))
