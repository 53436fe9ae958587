"""One engine, followed through its scrapes: what it did from one instant to the next."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from controller.observe.errors import ObserveError
from controller.observe.prometheus.track import STALE_SECONDS, Track
from controller.observe.snapshot import Snapshot
from controller.observe.window import NO_NEW_SAMPLES, Window, between
from controller.plain import plain
from controller.reason import Reason

LABELS_SHOWN: Final = 300
"""Characters of an engine's labels in a sentence."""
KEPT_SECONDS: Final = 600.0
"""Scrapes are kept for so long, to see whether counters that fell come back."""
SHARED: Final = (
    "The counters of {labels} fall and are back, again and again: two servers write the same series. Give each scrape "
    "target labels of its own (pod, or instance with its port)."
)
RESTARTED: Final = (
    "The server restarted between its last two scrapes, so that there is no window of it. The next pass has one again."
)


@dataclass(frozen=True, slots=True)
class Progress:
    """What one engine did between two instants.

    Attributes:
        windows: Between its scrapes; more than one where it restarted in between, and none across a restart.
        latest: Its newest scrape; None before the first.
        refused: Why there is no window; None where there is one, or the engine was seen for the first time.
    """

    windows: tuple[Window, ...] = ()
    latest: Snapshot | None = None
    refused: ObserveError | None = None

    @property
    def seconds(self) -> float:
        """How long the windows last together."""
        return sum(each.seconds or 0.0 for each in self.windows)


class Follower:
    """One engine and how far it was followed."""

    def __init__(self, seen: Track) -> None:
        """Begins with what is known of the engine so far."""
        self._track = seen
        self._latest: Snapshot | None = None

    @property
    def where(self) -> Track:
        """The engine's scrapes that are kept."""
        return self._track

    def absorb(self, seen: Track) -> None:
        """Take in what a later answer holds of the engine."""
        self._track = self._track.then(seen)

    def present(self, at_unix_seconds: float) -> bool:
        """Whether it was scraped not long before; scrapes of which none could be used count, too."""
        count = self._rows_until(at_unix_seconds)
        if count == 0:
            return self._track.damage is not None
        return at_unix_seconds - float(self._track.times[count - 1]) <= STALE_SECONDS

    def waits(self, at_unix_seconds: float) -> bool:
        """Whether it has scrapes from later than an instant."""
        return self._rows_until(at_unix_seconds) < len(self._track.times)

    def advance(self, since_unix_seconds: float | None, at_unix_seconds: float) -> Progress:
        """Its windows up to the newest scrape before an instant.

        They begin where those of the last call ended; at first with the newest scrape before `since`, or where the
        engine came later with its first one. Without a `since` there is nothing to begin with yet.
        """
        rows = self._rows_until(at_unix_seconds)
        if rows == 0:
            return Progress(refused=self._track.damage)
        begun = self._latest
        if begun is None and since_unix_seconds is not None:
            begun = self._track.snapshot(max(0, min(rows, self._rows_until(since_unix_seconds)) - 1))
        if begun is None:
            self._latest = self._track.snapshot(rows - 1)
            return Progress(latest=self._latest)
        first = int(np.searchsorted(self._track.times, begun.at_seconds or 0.0))
        self._latest = begun if first >= rows - 1 else self._track.snapshot(rows - 1)
        if self._track.shared:
            labels = plain(str(dict(self._track.labels)), LABELS_SHOWN)
            return Progress((), self._latest, ObserveError(Reason.SERIES_SHARED, SHARED.format(labels=labels)))
        if first >= rows - 1:
            damage = self._track.damage or ObserveError(Reason.NO_NEW_SAMPLES, NO_NEW_SAMPLES)
            return Progress((), self._latest, damage)
        return self._between(begun, first, rows)

    def forget(self, at_unix_seconds: float) -> None:
        """Let go of scrapes that nothing needs any more, once they are the most: each cut looks at all that stay."""
        begun = self._latest.at_seconds if self._latest is not None else None
        oldest = at_unix_seconds - KEPT_SECONDS
        oldest = oldest if begun is None else min(oldest, begun)
        if 2 * np.searchsorted(self._track.times, oldest) > len(self._track.times):
            self._track = self._track.since(oldest)

    def _rows_until(self, at_unix_seconds: float) -> int:
        return int(np.searchsorted(self._track.times, at_unix_seconds, side="right"))

    def _between(self, begun: Snapshot, first: int, rows: int) -> Progress:
        """The windows between restarts, from the row `first` to the last of `rows`."""
        seen, latest = self._track, self._latest
        assert latest is not None
        starts = first + 1 + np.flatnonzero(seen.starts[first + 1 : rows])
        edges = [first, *starts.tolist(), rows]
        found: list[Window] = []
        refused = ObserveError(Reason.SERVER_RESTARTED, RESTARTED)
        for begin, end in pairwise(edges):
            if end - begin < 2:
                continue
            early = begun if begin == first else seen.snapshot(begin)
            try:
                found.append(between(early, latest if end == rows else seen.snapshot(end - 1)))
            except ObserveError as error:
                refused = error
        return Progress(tuple(found), latest, None if found else refused)
