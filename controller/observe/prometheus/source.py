"""Fleets as sources of snapshots: as they are now, again and again, or at chosen instants of the past."""

from collections.abc import Sequence
from typing import Final

from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.history import History
from controller.observe.snapshot import Snapshot

LOOK_BACK_SECONDS: Final = 120.0
"""A window begins with the newest scrape before it, which is looked for so far back."""
OVERLAP_SECONDS: Final = 60.0
"""What arrived late in the store is asked for again so long."""
CHUNK_SECONDS: Final = 3600.0


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


class PastSource:
    """The fleet at one instant after the other, the last one for ever; fetched in chunks, each when it is needed."""

    def __init__(
        self, history: History, fleet: Fleet, instants: Sequence[float], chunk_seconds: float = CHUNK_SECONDS
    ) -> None:
        """Asks for nothing yet; `instants` are Unix seconds of the store's clock, ascending."""
        self._history = history
        self._fleet = fleet
        self._instants = tuple(instants)
        self._chunk_seconds = chunk_seconds
        self._next = 0
        self._empty = True
        self._until = self._instants[0] - LOOK_BACK_SECONDS

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`; nothing at an instant without a server, and why at the last if there never was one.

        Nothing is skipped by an answer that failed: it is asked for again.
        """
        at = self._instants[min(self._next, len(self._instants) - 1)]
        while self._until < at:
            until = min(self._until + self._chunk_seconds, self._instants[-1])
            self._fleet.absorb(self._history.read(self._until, until))
            self._until = until
        self._next += 1
        found = self._fleet.at(at)
        self._empty = self._empty and not found
        if self._empty and self._next >= len(self._instants):
            raise self._history.why_nothing(at)
        return found
