"""What a store of metrics holds of the servers that match, over a span of time: a few queries, however many servers."""

import math
from collections import defaultdict, deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from controller.observe.errors import ObserveError
from controller.observe.prometheus.ahead import begun
from controller.observe.prometheus.client import Answer, Client, Floats, Series
from controller.observe.prometheus.selector import inventory, newest, ranged
from controller.observe.prometheus.track import Track, track
from controller.observe.snapshot import Key
from controller.observe.vllm_metrics import FIRST_ENGINE, PER_POSITION, WANTED, Sample, sample
from controller.plain import plain
from controller.reason import Reason

LOOK_BACK_SECONDS: Final = 24 * 3600.0
"""How far back the youngest sample is looked for, where nothing recent was found."""
SHOWN: Final = 8
"""Servers that are listed where nothing matches."""
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
_NOT_IDENTITY: Final = frozenset({"__name__", "model_name", "engine", "position"})


@dataclass(frozen=True, slots=True)
class Span:
    """The scrapes of a span of time.

    Attributes:
        tracks: One an engine, ordered by its key.
        partial: Why the answers may lack something, in the store's words; empty where they do not.
        queries: How many were asked.
        size_bytes: Of their answers.
        nameless: Series without the label model_name, which belong to nobody.
        elsewhere: Names of labels that the servers have which the same answers showed beside these.
    """

    tracks: tuple[Track, ...]
    partial: str
    queries: int
    size_bytes: int
    nameless: int = 0
    elsewhere: frozenset[str] = frozenset()


class History:
    """The servers that match, in one store."""

    def __init__(self, client: Client, match: str = "") -> None:
        """Asks for nothing yet; `match` is what stands between the braces of a selector."""
        self._client = client
        self._match = match

    def now(self) -> float:
        """The store's own clock, in Unix seconds."""
        return self._client.now()

    def read(self, since_unix_seconds: float, until_unix_seconds: float) -> Span:
        """Every scrape after `since` up to `until`; raises as `gathered`."""
        return self.gathered(since_unix_seconds, until_unix_seconds).span()

    def gathered(self, since_unix_seconds: float, until_unix_seconds: float) -> "Gathered":
        """The same, not put in rows yet: one query for every few of vLLM's metrics that are wanted.

        Where the store refuses so much at once, the span is asked for in parts.

        Raises:
            ObserveError: With the cause and the remedy.
        """
        found = Gathered()
        for answer in self._answers(since_unix_seconds, until_unix_seconds):
            found.take(answer)
        return found

    def _answers(self, since: float, until: float) -> Iterator[Answer]:
        """The answer to each query; while one is read, the store works on the next ones, few at a time."""
        asked = deque((names, since, until) for names in _QUERIES)
        coming = deque(begun(lambda: self._fetched(asked)) for _ in range(_AHEAD))
        while coming:
            try:
                fetched = coming.popleft()()
                if asked:
                    coming.append(begun(lambda: self._fetched(asked)))
                answer = self._client.read(fetched)
            except ObserveError:
                for each in coming:  # whoever asks again finds nobody asking
                    with suppress(ObserveError):
                        each()
                raise
            yield answer

    def _fetched(self, asked: deque[tuple[tuple[str, ...], float, float]]) -> str:
        """The next answer; what the store refuses so much of is asked for in halves."""
        while True:
            names, since, until = asked.popleft()
            try:
                return self._client.fetch(ranged(names, self._match, until - since), until)
            except ObserveError as error:
                if error.reason is not Reason.STORE_LIMIT or until - since < 2 * SPLIT_SECONDS:
                    raise
            middle = (since + until) / 2
            asked.extendleft([(names, middle, until), (names, since, middle)])

    def why_nothing(self, at_unix_seconds: float) -> ObserveError:
        """Why there is nothing to see: no server matches, and which there are; or the youngest sample is old.

        Raises:
            ObserveError: The store could not be asked.
        """
        found = self._client.query(newest(self._match, LOOK_BACK_SECONDS), at_unix_seconds).series
        if found:
            return samples_old(at_unix_seconds - float(found[0].values[0]))
        there = self._client.query(inventory(("namespace", "job", "model_name")), at_unix_seconds).series
        asked = f"matches {{{plain(self._match, 200)}}}" if self._match else "is there"
        return ObserveError(Reason.NOTHING_MATCHES, f"No vLLM server {asked}. {_listed(there)}")


class Gathered:
    """What a store answered of a span of time: its series, put together again as the engines that showed them.

    Attributes:
        nameless: Series without the label model_name, which belong to nobody.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.nameless = 0
        self._partial = ""
        self._queries = self._size_bytes = 0
        self._found: dict[Key, dict[Sample, tuple[tuple[Floats, Floats], ...]]] = defaultdict(dict)

    @property
    def engines(self) -> list[Key]:
        """Those that were not told of yet, ordered by key."""
        return sorted(self._found)

    @property
    def newest_unix_seconds(self) -> float:
        """Of all samples of these engines; -infinity without one."""
        ends = (times[-1] for each in self._found.values() for parts in each.values() for times, _ in parts)
        return float(max(ends, default=-math.inf))

    def take(self, answer: Answer) -> None:
        """Put each series where it belongs; those without a model name are only counted."""
        self._queries, self._size_bytes = self._queries + 1, self._size_bytes + answer.size_bytes
        self._partial = self._partial or "; ".join(answer.warnings)
        for each in answer.series:
            what, labels = _what(each), each.labels
            if what is None:
                continue
            if not labels.get("model_name"):
                self.nameless += 1
                continue
            identity = {**labels}
            for name in _NOT_IDENTITY:
                identity.pop(name, None)
            key = labels["model_name"], labels.get("engine", FIRST_ENGINE), tuple(sorted(identity.items()))
            parts = self._found[key]
            parts[what] = (*parts.get(what, ()), (each.times, each.values))

    def span(self, engines: AbstractSet[Key] | None = None, elsewhere: frozenset[str] = frozenset()) -> Span:
        """The scrapes of some of the engines, or of all that are left: what was told once is let go of."""
        wanted = self.engines if engines is None else sorted(self._found.keys() & engines)
        tracks = tuple(track(*key, self._found.pop(key)) for key in wanted)
        return Span(tracks, self._partial, self._queries, self._size_bytes, self.nameless, elsewhere)


def samples_old(age_seconds: float) -> ObserveError:
    """Why there is nothing to see of servers that there were."""
    return ObserveError(
        Reason.SAMPLES_OLD,
        f"The newest sample of the servers that match is {age_seconds:.0f} s old: they were scaled away, scraping "
        "stopped, or the clock of what scrapes is behind that of what answers. Look at `up` and the targets.",
    )


def _what(series: Series) -> Sample | None:
    try:
        return sample(series.labels.get("__name__", ""), series.labels)
    except ObserveError:  # without a position that is a number; the engine is then seen to lack it
        return None


def _listed(there: tuple[Series, ...]) -> str:
    """What there is instead, the largest first."""
    if not there:
        return "There is no vLLM series at all: check that vLLM's /metrics is scraped, and the tenant (--org-id)."
    ordered = sorted(there, key=lambda each: -float(each.values[-1]))
    names = ("namespace", "job", "model_name")
    listed = ", ".join(
        f"{{{','.join(f'{name}={plain(each.labels[name], 60)!r}' for name in names if name in each.labels)}}} "
        f"({each.values[-1]:.0f})"
        for each in ordered[:SHOWN]
    )
    more = f", and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return f"There are, with their engines: {listed}{more}. Change --match."
