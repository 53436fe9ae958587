"""The scrapes of one engine, as a store of metrics keeps them: rows that belong together, in order of time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.observe.errors import ObserveError
from controller.observe.prometheus.answer import Floats
from controller.observe.snapshot import Labels, Snapshot
from controller.observe.vllm_metrics import ALWAYS, CREATED, GAUGES, LIMIT, Sample, assembled, refuse_impossible

Bools = NDArray[np.bool_]

STALE_SECONDS: Final = 300.0
"""An engine without a sample for so long is gone: Prometheus' own look-back. It may come back, in another window."""
REGAIN_ROWS: Final = 3
"""A counter that is back above its old height within so many scrapes of a fall did not start from zero."""
SHARED_TIMES: Final = 2
"""So often it must happen before two servers are seen in one series."""


@dataclass(frozen=True)
class Track:
    """Raw samples of one engine, one row a scrape: samples of one scrape carry the same time.

    Attributes:
        model_name: The served model.
        engine: The engine's label.
        labels: All others: which server it is.
        times: Unix seconds, ascending, shape (row,).
        columns: What each column holds.
        values: Shape (row, column); NaN where the engine has no such series, but never in a part of a scrape.
        damage: Why rows were left out; None where none was.
    """

    model_name: str
    engine: str
    labels: Labels
    times: Floats
    columns: tuple[Sample, ...]
    values: Floats
    damage: ObserveError | None = None

    @cached_property
    def starts(self) -> Bools:
        """By row: whether it does not continue the one before, since the server restarted or became another.

        It does not when a counter fell, when its creation time or its series changed, after a long gap, and when a
        counter is suddenly back above the height that it fell from, which is another server under the same labels.
        """
        found = np.ones(len(self.times), bool)
        counters = [place for place, (name, _) in enumerate(self.columns) if name not in GAUGES and name != CREATED]
        values, present = self.values[:, counters], ~np.isnan(self.values)
        found[1:] = (values[1:] < values[:-1]).any(axis=1)
        found[1:] |= (present[1:] != present[:-1]).any(axis=1) | (self.times[1:] - self.times[:-1] > STALE_SECONDS)
        for created in self._columns(CREATED):
            found[1:] |= (created[1:] < created[:-1]) | (created[1:] > created[:-1])  # neither where there is none
        found[self._regained] = True
        return found

    @cached_property
    def shared(self) -> bool:
        """Whether two servers write these series in turn: their counters fall and are back, again and again."""
        if len(self._regained) >= SHARED_TIMES:
            return True
        return any((each[1:] < each[:-1]).any() for each in self._columns(CREATED))

    @cached_property
    def _regained(self) -> list[int]:
        """Rows at which a counter is back above the height that it fell from shortly before."""
        found = []
        for height in self._columns(ALWAYS):
            for fall in np.flatnonzero(height[1:] < height[:-1]):
                back = np.flatnonzero(height[fall + 2 : fall + 2 + REGAIN_ROWS] >= height[fall])
                if height[fall] > 0 and len(back):
                    found.append(int(fall + 2 + back[0]))
        return found

    def _columns(self, name: str) -> list[Floats]:
        return [self.values[:, place] for place, column in enumerate(self.columns) if column == (name, None)]

    def snapshot(self, row: int) -> Snapshot:
        """One scrape, stamped with its own time."""
        samples = _samples(self.columns, self.values[row])
        return assembled(self.model_name, self.engine, samples, float(self.times[row]), self.labels)

    def then(self, later: "Track") -> "Track":
        """This track, and those rows of a later answer that are new."""
        if not len(self.times):
            return later
        fresh = later.times > self.times[-1]
        damage = later.damage
        if not fresh.any():
            return self if damage is None else replace(self, damage=damage)
        columns = tuple(dict.fromkeys((*self.columns, *later.columns)))
        parts = (_laid(self.columns, self.values, columns), _laid(later.columns, later.values[fresh], columns))
        times = np.concatenate((self.times, later.times[fresh]))
        return replace(self, times=times, columns=columns, values=np.concatenate(parts), damage=damage)

    def since(self, unix_seconds: float) -> "Track":
        """Its rows from a time on."""
        kept = self.times >= unix_seconds
        return self if kept.all() else replace(self, times=self.times[kept], values=self.values[kept])


def track(
    model_name: str, engine: str, labels: Labels, found: Mapping[Sample, tuple[tuple[Floats, Floats], ...]]
) -> Track:
    """The rows of one engine; those that no scrape of vLLM can have left are left out, and `damage` says why.

    Args:
        model_name: The served model.
        engine: The engine's label.
        labels: All others.
        found: Times and values by what they are; several where a series was renamed in between.
    """
    columns = tuple(found)
    scrapes = {at.tobytes(): at for parts in found.values() for at, _ in parts}  # the same for most series
    times = np.array(sorted(set().union(*(at.tolist() for at in scrapes.values()))))
    rows = {key: np.searchsorted(times, at) for key, at in scrapes.items()}
    values = np.full((len(times), len(columns)), np.nan)
    for place, parts in enumerate(found.values()):
        for at, samples in parts:
            values[rows[at.tobytes()], place] = samples
    damage, usable = _checked(model_name, engine, labels, columns, values)
    return Track(model_name, engine, labels, times[usable], columns, values[usable], damage)


def _checked(
    model_name: str, engine: str, labels: Labels, columns: tuple[Sample, ...], values: Floats
) -> tuple[ObserveError | None, Bools]:
    """Why some rows are not usable, and which are."""
    damage: ObserveError | None = None
    usable = np.ones(len(values), bool)
    impossible = (values < 0) | (values >= LIMIT)
    for row, place in np.argwhere(impossible):
        usable[row] = False
        damage = damage or _refused(lambda r=row, p=place: refuse_impossible(columns[p], float(values[r, p])))
    present = ~np.isnan(values)
    shapes = {row.tobytes(): row for row in present} if not present.all() else {b"": present[0]}
    for shape in shapes.values():
        like = (present == shape).all(axis=1)
        samples = _samples(columns, values[int(np.flatnonzero(like)[0])])
        error = _refused(lambda s=samples: assembled(model_name, engine, s, None, labels))
        if error is not None:
            usable[like] = False
            damage = damage or error
    return damage, usable


def _refused(attempt: object) -> ObserveError | None:
    try:
        attempt()  # type: ignore[operator]
    except ObserveError as error:
        return error
    return None


def _samples(columns: tuple[Sample, ...], row: Floats) -> dict[Sample, float]:
    return {column: value for column, value in zip(columns, row.tolist(), strict=True) if value == value}  # noqa: PLR0124  NaN


def _laid(columns: tuple[Sample, ...], values: Floats, wanted: tuple[Sample, ...]) -> Floats:
    """The values under another order of columns, NaN where there is none."""
    if columns == wanted:
        return values
    laid = np.full((len(values), len(wanted)), np.nan)
    laid[:, [wanted.index(column) for column in columns]] = values
    return laid
