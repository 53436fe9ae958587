"""Fleets as sources of snapshots: as they are now, again and again, or at chosen instants of the past."""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from controller.observe.errors import ObserveError
from controller.observe.prometheus.fetching import CHUNK_SECONDS, LOOK_BACK_SECONDS, chunks
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.history import History, Span
from controller.observe.snapshot import Snapshot

OVERLAP_SECONDS: Final = 60.0
"""What arrived late in the store is asked for again so long."""


class LiveSource:
    """The fleet now: each reading asks the store for what is new. Time is the store's own."""

    def __init__(self, history: History, fleet: Fleet) -> None:
        """Asks for nothing yet."""
        self._history = history
        self._fleet = fleet
        self._until: float | None = None

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`."""
        now = self._history.now()
        since = now - LOOK_BACK_SECONDS if self._until is None else self._until - OVERLAP_SECONDS
        self._fleet.absorb(self._history.read(since, now))
        self._until = now
        found = self._fleet.at(now)
        if not found:
            raise self._history.why_nothing(now)
        return found


class Spans(Protocol):
    """What holds the past."""

    def read(self, since_unix_seconds: float, until_unix_seconds: float) -> Span:
        """Every scrape after `since` up to `until`; raises `ObserveError`."""

    def why_nothing(self, at_unix_seconds: float) -> ObserveError:
        """Why there is nothing to see; raises `ObserveError` where that cannot be told."""


class PastSource:
    """The fleet at one instant after the other, the last one for ever; fetched in chunks, each when it is needed."""

    def __init__(
        self, past: Spans, fleet: Fleet, instants: Sequence[float], chunk_seconds: float = CHUNK_SECONDS
    ) -> None:
        """Asks for nothing yet; `instants` are Unix seconds of the store's clock, ascending."""
        self._past = past
        self._fleet = fleet
        self._instants = tuple(instants)
        self._chunks = deque(chunks(instants, chunk_seconds))
        self._next = 0

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`; nothing at an instant without a server, but why at the last.

        Nothing is skipped by an answer that failed: it is asked for again.
        """
        at = self._instants[min(self._next, len(self._instants) - 1)]
        while self._chunks and self._chunks[0][0] < at:
            self._fleet.absorb(self._past.read(*self._chunks[0]))
            self._chunks.popleft()
        self._next += 1
        found = self._fleet.at(at)
        if not found and self._next >= len(self._instants):
            raise self._past.why_nothing(at)
        return found
