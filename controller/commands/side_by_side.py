"""Many rows of one window, judged in as many processes as there are processors: rows know nothing of each other."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

from controller.beside import Beside
from controller.cycle import Cycle
from controller.loop import Controller
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Key, Snapshot
from controller.observe.source import MetricsSource

PROCESSES_MAX: Final = 4
"""More would be made for longer than they work."""
WORTH_IT_ROWS: Final = 200
"""Fewer are judged before another process has started."""
Reading = tuple[Snapshot, ...] | ObserveError


def judged(source: MetricsSource, loop: Callable[[MetricsSource], Controller]) -> Cycle:
    """The cycle of the window between two readings: that of one loop over all rows, made by several."""
    loop(_Handed(()))  # what is wrong with the settings is told before the work
    processes = min(PROCESSES_MAX, len(os.sched_getaffinity(0)))
    beside = [Beside(lambda pipe: _judge(pipe, loop)) for _ in range(processes - 1)]  # before there is much to copy
    readings = _readings(source)
    keys = [] if isinstance(readings[-1], ObserveError) else [each.key for each in readings[-1]]
    if len(keys) < WORTH_IT_ROWS:
        return _last(loop, readings)
    parts = [_part(readings, frozenset(keys[start::processes])) for start in range(processes)]
    for each, part in zip(beside, parts[1:], strict=True):
        _hand(each.pipe, part)
    cycle = _last(loop, parts[0])
    others = [_told(each.pipe) or _last(loop, part) for each, part in zip(beside, parts[1:], strict=True)]
    by_key = {engine.key: engine for each in (cycle, *others) for engine in each.engines}
    return replace(cycle, engines=tuple(by_key[key] for key in keys))


class _Handed:
    """A source of what was read already."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = iter(readings)

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`."""
        found = next(self._readings)
        if isinstance(found, ObserveError):
            raise found
        return found


def _readings(source: MetricsSource) -> list[Reading]:
    """The beginning and the end of the window, or what there is up to a failure."""
    found: list[Reading] = []
    try:
        found.append(source.read())
        found.append(source.read())
    except ObserveError as error:
        found.append(error)
    return found


def _part(readings: Sequence[Reading], keys: frozenset[Key]) -> list[Reading]:
    """Of each reading these rows."""
    return [
        each if isinstance(each, ObserveError) else tuple(row for row in each if row.key in keys) for each in readings
    ]


def _last(loop: Callable[[MetricsSource], Controller], readings: Sequence[Reading]) -> Cycle:
    controller = loop(_Handed(readings))
    return [controller.step() for _ in readings][-1]


def _judge(pipe: Connection, loop: Callable[[MetricsSource], Controller]) -> None:
    pipe.send(_last(loop, pipe.recv()))


def _hand(pipe: Connection, part: Sequence[Reading]) -> None:
    with suppress(ConnectionError):  # it ended, killed for memory perhaps: that is seen where its answer is missing
        pipe.send(part)


def _told(pipe: Connection) -> Cycle | None:
    """The answer of a process; None where it ended without one."""
    try:
        found: Cycle = pipe.recv()
    except (EOFError, ConnectionError):
        return None
    return found
