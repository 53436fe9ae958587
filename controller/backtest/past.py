"""History as a source of metrics, and the clock that goes with it: one instant after the other, chunk by chunk."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Final, Protocol

from controller.clock import Clock
from controller.observe.errors import ObserveError
from controller.observe.prometheus.history import Span
from controller.observe.snapshot import Snapshot
from controller.reason import Reason

LOOK_BACK_SECONDS: Final = 120.0
"""The first window begins with the newest scrape before it, which is looked for so far back."""
CHUNK_SAMPLES: Final = 600_000
"""Samples that one chunk is to hold: what memory depends on, however long the history and however large the fleet."""
CHUNK_SECONDS: Final = (60.0, 24 * 3600.0)
FIRST_CHUNK_SECONDS: Final = 600.0
GROWTH: Final = 8.0
AGAIN_SECONDS: Final = 2.0
"""After a failure that may pass, the store is asked once more, so much later."""
_MAY_PASS: Final = frozenset({Reason.STORE_UNREACHABLE, Reason.STORE_TIMEOUT, Reason.STORE_ERROR})


class Store(Protocol):
    """Where history is read from."""

    def read(self, since_unix_seconds: float, until_unix_seconds: float) -> Span:
        """Every scrape after `since` up to `until`; raises `ObserveError`."""


class Rows(Protocol):
    """What makes snapshots of scrapes."""

    def absorb(self, span: Span) -> None:
        """Take in what the store holds of a span of time."""

    def at(self, unix_seconds: float) -> tuple[Snapshot, ...]:
        """One snapshot a row, at an instant later than that of the last call."""


@dataclass(frozen=True, slots=True)
class Instants:
    """When passes are made: at multiples of the step, so that the same history gives the same passes.

    >>> list(Instants(95.0, 190.0, 30.0))
    [120.0, 150.0, 180.0]
    """

    since_unix_seconds: float
    until_unix_seconds: float
    step_seconds: float

    def __iter__(self) -> "takewhile[float]":
        """In order."""
        first = -(-self.since_unix_seconds // self.step_seconds)
        return takewhile(
            lambda each: each <= self.until_unix_seconds, (each * self.step_seconds for each in count(first))
        )


class PastClock:
    """Stands at the instant that is replayed."""

    def __init__(self) -> None:
        self.at_unix_seconds = 0.0

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self.at_unix_seconds

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return self.at_unix_seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`; no time passes."""
        del seconds
        return stop.is_set()


class Past:
    """The fleet at each instant, read from a store in chunks of about as many samples each."""

    def __init__(
        self, store: Store, rows: Rows, instants: Instants, wall: Clock, tell: Callable[[float], None]
    ) -> None:
        """Asks for nothing yet.

        Args:
            store: Where history is.
            rows: What makes snapshots of it.
            instants: When passes are made.
            wall: Waits before the store is asked again.
            tell: Is told how far history has been fetched, in Unix seconds.
        """
        self._store, self._rows, self._instants = store, rows, instants
        self._wall, self._tell = wall, tell
        self._until = next(iter(instants), instants.until_unix_seconds) - LOOK_BACK_SECONDS
        self._chunk_seconds = min(CHUNK_SECONDS[1], max(FIRST_CHUNK_SECONDS, 4 * instants.step_seconds))
        self.queries = self.size_bytes = 0

    def at(self, unix_seconds: float) -> tuple[Snapshot, ...]:
        """The snapshots of an instant later than that of the last call; none where no server was.

        Raises:
            ObserveError: The store could not be asked, even when tried again.
        """
        while self._until < unix_seconds:
            self._fetch()
        return self._rows.at(unix_seconds)

    def _fetch(self) -> None:
        until = min(self._until + self._chunk_seconds, self._instants.until_unix_seconds)
        try:
            span = self._store.read(self._until, until)
        except ObserveError as error:
            if error.reason not in _MAY_PASS or self._wall.wait(AGAIN_SECONDS, threading.Event()):
                raise
            span = self._store.read(self._until, until)
        self._rows.absorb(span)
        self.queries += span.queries
        self.size_bytes += span.size_bytes
        samples = sum(each.values.size for each in span.tracks)
        wanted = (until - self._until) * min(GROWTH, CHUNK_SAMPLES / max(1, samples))
        self._chunk_seconds = min(max(wanted, self._instants.step_seconds, CHUNK_SECONDS[0]), CHUNK_SECONDS[1])
        self._until = until
        self._tell(until)
