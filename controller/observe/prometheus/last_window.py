"""The last window of a fleet: asked for once, then told in parts of which none has to know what another holds."""

from collections.abc import Sequence

from controller.observe.errors import ObserveError
from controller.observe.prometheus.fetching import chunks
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.grouping import Grouping
from controller.observe.prometheus.history import Gathered, History, Span, samples_old
from controller.observe.prometheus.source import PastSource
from controller.observe.snapshot import Key


class LastWindow:
    """What a store holds of the servers that match, from one instant to another."""

    def __init__(self, history: History, grouping: Grouping, instants: Sequence[float]) -> None:
        """Asks for nothing yet; `instants` are Unix seconds of the store's clock, ascending."""
        self._history, self._grouping, self._instants = history, grouping, instants
        self._answers: list[Gathered | ObserveError] = []

    def fetch(self) -> None:
        """Take in all of it, up to a failure, which each of the parts then raises."""
        try:
            for since, until in chunks(self._instants):
                self._answers.append(self._history.gathered(since, until))
        except ObserveError as error:
            self._answers.append(error)

    @property
    def engines(self) -> list[Key]:
        """Those that were seen, ordered by key."""
        return sorted({key for each in self._answers if isinstance(each, Gathered) for key in each.engines})

    def parts(self, count: int) -> tuple[PastSource, ...]:
        """So many sources, or fewer, that tell all rows together, each row once. To be taken once.

        A label to group by is refused where no server of the whole window has it.
        """
        found = [each for each in self._answers if isinstance(each, Gathered)]
        engines = self.engines
        names = frozenset(name for _, _, labels in engines for name, _ in labels)
        newest = max(each.newest_unix_seconds for each in found) if engines else None
        parts = (
            _Part(self._history, self._answers, share, names, newest)
            for share in self._grouping.parts(engines, count) or [frozenset()]
        )
        return tuple(PastSource(each, Fleet(self._grouping), self._instants) for each in parts)


class _Part:
    """Some of the engines: `Spans` that were asked for already."""

    def __init__(
        self,
        history: History,
        answers: Sequence[Gathered | ObserveError],
        engines: frozenset[Key],
        names: frozenset[str],
        newest_unix_seconds: float | None,
    ) -> None:
        self._history, self._answers, self._engines = history, answers, engines
        self._names, self._newest = names, newest_unix_seconds
        self._next = 0

    def read(self, since_unix_seconds: float, until_unix_seconds: float) -> Span:
        """See `Spans`."""
        del since_unix_seconds, until_unix_seconds  # they follow on one another as they were asked for
        found = self._answers[self._next]
        if isinstance(found, ObserveError):
            raise found
        self._next += 1
        return found.span(self._engines, self._names)

    def why_nothing(self, at_unix_seconds: float) -> ObserveError:
        """See `Spans`."""
        if self._newest is None:
            return self._history.why_nothing(at_unix_seconds)
        return samples_old(at_unix_seconds - self._newest)
