"""A fleet's history in memory, as a store of metrics would answer, for tests that must be quick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from controller.observe.errors import ObserveError
from controller.observe.prometheus.history import Span
from controller.observe.prometheus.track import Track, track
from controller.observe.vllm_metrics import Sample, sample
from fleet.readings import readings
from fleet.replica import Replica


@dataclass
class Remembered:
    """Every scrape of some replicas; `read` is what `History.read` would give.

    Attributes:
        breaks_at: From this time on the store cannot be asked.
        error: What is raised then.
        asked: The spans that were asked for.
    """

    tracks: tuple[Track, ...]
    breaks_at: float = float("inf")
    error: ObserveError | None = None
    asked: list[tuple[float, float]] = field(default_factory=list)

    def read(self, since_unix_seconds: float, until_unix_seconds: float) -> Span:
        """Every scrape after `since` up to `until`."""
        self.asked.append((since_unix_seconds, until_unix_seconds))
        if self.error is not None and until_unix_seconds > self.breaks_at:
            raise self.error
        cut = (_between(each, since_unix_seconds, until_unix_seconds) for each in self.tracks)
        found = tuple(each for each in cut if len(each.times))
        return Span(found, "", 1, sum(each.values.size for each in found))


def remembered(
    replicas: Sequence[Replica], beginning_unix_seconds: float, seconds: float, scrape_seconds: float = 30.0
) -> Remembered:
    """The history of some replicas, all scraped at the same beat."""
    return Remembered(tuple(_track(each, beginning_unix_seconds, seconds, scrape_seconds) for each in replicas))


def _track(replica: Replica, beginning: float, seconds: float, scrape_seconds: float) -> Track:
    times = [scrape_seconds * each for each in range(int(seconds / scrape_seconds) + 1)]
    rows = [
        (beginning + time, values)
        for time, values in zip(times, readings(replica, beginning).at(times), strict=True)
        if values and replica.seen(time)
    ]
    at = np.array([time for time, _ in rows])
    columns = np.array([values for _, values in rows])
    found: dict[Sample, tuple[tuple[np.ndarray, np.ndarray], ...]] = {}
    for place, name in enumerate(replica.series):
        what = sample(name.partition("{")[0], _labels(name))
        assert what is not None
        found[what] = ((at, columns[:, place]),)
    labels = tuple(sorted((key, value) for key, value in _labels(replica.series[0]).items() if key not in _OWN))
    return track(replica.scenario.model_name, "0", labels, found)


_OWN = ("model_name", "engine", "position")


def _labels(series: str) -> Mapping[str, str]:
    inside = series.partition("{")[2].removesuffix("}")
    return {key: value.strip('"') for key, _, value in (part.partition("=") for part in inside.split(","))}


def _between(found: Track, since: float, until: float) -> Track:
    kept = (found.times > since) & (found.times <= until)
    return Track(
        found.model_name, found.engine, found.labels, found.times[kept], found.columns, found.values[kept], found.damage
    )
