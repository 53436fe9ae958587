"""What a store of metrics holds of the servers that match, over a span of time: a few queries, however many servers."""

import math
from collections import defaultdict
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from controller.observe.errors import ObserveError
from controller.observe.prometheus.answer import Answer, Floats, Series, read
from controller.observe.prometheus.client import Client
from controller.observe.prometheus.fetching import Fetching
from controller.observe.prometheus.selector import inventory, newest
from controller.observe.prometheus.track import Track, track
from controller.observe.snapshot import Key
from controller.observe.vllm_metrics import FIRST_ENGINE, Sample, sample
from controller.plain import plain
from controller.reason import Reason

LOOK_BACK_SECONDS: Final = 24 * 3600.0
"""How far back the youngest sample is looked for, where nothing recent was found."""
SHOWN: Final = 8
"""Servers that are listed where nothing matches."""
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

    def __init__(self, client: Client, match: str = "", begun: Fetching | None = None) -> None:
        """Asks for nothing more yet.

        Args:
            client: The store.
            match: What stands between the braces of a selector.
            begun: A span that is asked for already; None without one.
        """
        self._client = client
        self._match = match
        self._begun = begun

    def now(self) -> float:
        """The store's own clock, in Unix seconds."""
        return self._client.now()

    def read(self, since_unix_seconds: float, until_unix_seconds: float) -> Span:
        """Every scrape after `since` up to `until`; raises as `gathered`."""
        return self.gathered(since_unix_seconds, until_unix_seconds).span()

    def gathered(self, since_unix_seconds: float, until_unix_seconds: float) -> "Gathered":
        """The same, not laid out as tracks yet; raises `ObserveError`, with the cause and the remedy."""
        span, begun = (since_unix_seconds, until_unix_seconds), self._begun
        self._begun = None
        fetching = begun if begun and begun.span == span else Fetching(self._client, self._match, *span)
        found = Gathered()
        with closing(iter(fetching)) as answers:
            for each in answers:
                found.take(read(self._client, each))
        return found

    def why_nothing(self, at_unix_seconds: float) -> ObserveError:
        """Why there is nothing to see: no server matches, and which there are; or the youngest sample is old.

        Raises:
            ObserveError: The store could not be asked.
        """
        found = self._asked(newest(self._match, LOOK_BACK_SECONDS), at_unix_seconds)
        if found:
            return samples_old(at_unix_seconds - float(found[0].values[0]))
        there = self._asked(inventory(("namespace", "job", "model_name")), at_unix_seconds)
        asked = f"matches {{{plain(self._match, 200)}}}" if self._match else "is there"
        return ObserveError(Reason.NOTHING_MATCHES, f"No vLLM server {asked}. {_listed(there)}")

    def _asked(self, expression: str, at_unix_seconds: float) -> tuple[Series, ...]:
        return read(self._client, self._client.fetch(expression, at_unix_seconds)).series


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
