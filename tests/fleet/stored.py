"""A fleet's history in a real Prometheus: OpenMetrics text, made into blocks by promtool, block by block."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from deploy.tools import call

from deploy.prometheus import Prometheus, prometheus
from fleet.readings import Readings, readings
from fleet.replica import Replica

BLOCK_SECONDS: Final = 7200
"""promtool cuts blocks at multiples of two hours, and reads the whole text once for each: so each gets its own text."""
_UNCHANGED: Final = ("--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")
"""Nothing is merged while somebody measures."""


def store(
    replicas: Sequence[Replica],
    folder: Path,
    *,
    beginning_unix_seconds: float,
    seconds: float,
    scrape_seconds: float = 30.0,
) -> int:
    """Write the history into the data folder of a Prometheus; how many samples it holds.

    Every replica is scraped at its own offset within the interval, as Prometheus does. Memory and disk hold the text of
    one block at a time.
    """
    database = folder / "tsdb"
    database.mkdir(parents=True, exist_ok=True)
    lives = [_Scraped(each, beginning_unix_seconds, scrape_seconds) for each in replicas]
    start, samples = beginning_unix_seconds, 0
    while start < beginning_unix_seconds + seconds:
        end = min(beginning_unix_seconds + seconds, (math.floor(start / BLOCK_SECONDS) + 1) * BLOCK_SECONDS)
        text = folder / "block.om"
        with text.open("w", encoding="ascii") as file:
            samples += sum(each.write(file, end) for each in lives)
            file.write("# EOF\n")
        call("promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", text, database)
        text.unlink()
        start = end
    return samples


@contextmanager
def serving(folder: Path, *options: str, targets: Sequence[dict[str, Any]] = ()) -> Iterator[Prometheus]:
    """A Prometheus on loopback that holds what was stored in a folder."""
    with prometheus(folder, list(targets), options=(*_UNCHANGED, "--storage.tsdb.retention.time=60d", *options)) as it:
        yield it


class _Scraped:
    """One replica, scraped at its own beat."""

    def __init__(self, replica: Replica, beginning_unix_seconds: float, scrape_seconds: float) -> None:
        self._replica, self._beginning, self._interval = replica, beginning_unix_seconds, scrape_seconds
        self._readings: Readings = readings(replica, beginning_unix_seconds)
        beat = np.random.default_rng(np.random.SeedSequence([replica.seed, 11])).random()
        self._next = round(beat * scrape_seconds, 3)

    def write(self, file: TextIO, until_unix_seconds: float) -> int:
        """Every sample before `until`; how many they were."""
        times = []
        while self._beginning + self._next < until_unix_seconds:
            times.append(self._next)
            self._next += self._interval
        series, written = self._replica.series, 0
        for time, values in zip(times, self._readings.at(times), strict=True):
            if values and self._replica.seen(time):
                stamp = f"{self._beginning + time:.3f}"
                file.writelines(f"{name} {_text(value)} {stamp}\n" for name, value in zip(series, values, strict=True))
                written += len(series)
        return written


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
