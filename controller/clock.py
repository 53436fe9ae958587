"""The only place that reads time."""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the loop needs of time."""

    def monotonic_seconds(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""

    def unix_seconds(self) -> float:
        """Seconds since 1970 for timestamps that people and Prometheus read."""

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Sleep, but wake at once when `stop` is set; True when it was."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return time.time()

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`."""
        return stop.wait(max(0.0, seconds))


def utc_text(unix_seconds: float) -> str:
    """The instant as people write it.

    >>> utc_text(0.0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(unix_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
