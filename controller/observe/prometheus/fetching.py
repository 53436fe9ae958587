"""What is asked of a store about a span of time: a few queries, however many servers, two of them at once."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from controller.observe.errors import ObserveError
from controller.observe.prometheus.ahead import begun
from controller.observe.prometheus.client import Client
from controller.observe.prometheus.selector import ranged
from controller.observe.vllm_metrics import PER_POSITION, WANTED
from controller.reason import Reason

LOOK_BACK_SECONDS: Final = 120.0
"""A window begins with the newest scrape before it, which is looked for so far back."""
CHUNK_SECONDS: Final = 3600.0
SPLIT_SECONDS: Final = 60.0
"""A span that is too much for the store is asked for in halves, down to this."""
_TOGETHER: Final = 4
"""So many metrics are asked for at once: about as many series an engine as the one that has a series a position."""
_SINGLE: Final = sorted(WANTED - {PER_POSITION})
_QUERIES: Final = (
    (PER_POSITION,),
    *(tuple(_SINGLE[start : start + _TOGETHER]) for start in range(0, len(_SINGLE), _TOGETHER)),
)
"""Five queries beside that of the time, whatever the fleet's size, each with an answer that is held in memory alone."""
_AHEAD: Final = 2
"""So many are under way at once: one would leave the store idle while its answer is on the way."""


class Fetching:
    """The answers to the queries of a span: one query for every few of vLLM's metrics that are wanted.

    While one is read, the store works on the next ones, few at a time. Where it refuses so much at once, the span is
    asked for in halves.

    Attributes:
        span: From when to when, in Unix seconds.
    """

    def __init__(self, client: Client, match: str, since_unix_seconds: float, until_unix_seconds: float) -> None:
        """Begins to ask for what is after `since` up to `until`."""
        self.span = since_unix_seconds, until_unix_seconds
        self._client, self._match = client, match
        self._asked = deque((names, since_unix_seconds, until_unix_seconds) for names in _QUERIES)
        self._coming = deque(self._next() for _ in range(_AHEAD))

    def __iter__(self) -> Generator[str, None, None]:
        """Each answer as text, once; raises `ObserveError`, with the cause and the remedy."""
        try:
            while self._coming:
                fetched = self._coming.popleft()()
                if self._asked:
                    self._coming.append(self._next())
                yield fetched
        finally:
            for each in self._coming:  # whoever asks again finds nobody asking
                with suppress(ObserveError):
                    each()

    def _next(self) -> Callable[[], str]:
        """The next query, begun."""
        return begun(partial(self._fetched, *self._asked.popleft()))

    def _fetched(self, names: tuple[str, ...], since: float, until: float) -> str:
        """The answer to a query; where the store refuses so much, to its first half, and the second one is the next."""
        while True:
            try:
                return self._client.fetch(ranged(names, self._match, until - since), until)
            except ObserveError as error:
                if error.reason is not Reason.STORE_LIMIT or until - since < 2 * SPLIT_SECONDS:
                    raise
            middle = (since + until) / 2
            self._asked.appendleft((names, middle, until))
            until = middle


def chunks(instants: Sequence[float], chunk_seconds: float = CHUNK_SECONDS) -> Iterator[tuple[float, float]]:
    """The spans of time that hold what the instants need, one after the other.

    >>> [*chunks((1000.0, 1300.0), 250.0)]
    [(880.0, 1130.0), (1130.0, 1300.0)]
    """
    since = instants[0] - LOOK_BACK_SECONDS
    while since < instants[-1]:
        until = min(since + chunk_seconds, instants[-1])
        yield since, until
        since = until
