"""Many rows of one window, judged in as many processes as there are processors: rows know nothing of each other."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

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
    readings = _readings(source)
    keys = [] if isinstance(readings[-1], ObserveError) else [each.key for each in readings[-1]]
    processes = min(PROCESSES_MAX, len(os.sched_getaffinity(0))) if len(keys) >= WORTH_IT_ROWS else 1
    parts = [_part(readings, frozenset(keys[start::processes])) for start in range(processes)]
    if processes == 1:
        return _last(loop, readings)
    beside = [_begun(loop, part) for part in parts[1:]]
    cycle = _last(loop, parts[0])
    others = [_told(pipe) or _last(loop, part) for pipe, part in zip(beside, parts[1:], strict=True)]
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


def _begun(loop: Callable[[MetricsSource], Controller], part: Sequence[Reading]) -> Connection:
    """A process that judges a part, and where its answer will come from; it ends with this one."""
    context = multiprocessing.get_context("fork")  # settings and rows go along as they are
    ours, theirs = context.Pipe(duplex=False)
    context.Process(target=_tell, args=(theirs, loop, part), daemon=True).start()
    theirs.close()
    return ours


def _tell(pipe: Connection, loop: Callable[[MetricsSource], Controller], part: Sequence[Reading]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the other process's business
    with suppress(BrokenPipeError):
        pipe.send(_last(loop, part))


def _told(pipe: Connection) -> Cycle | None:
    """The answer of a process; None where it ended without one, killed for memory perhaps."""
    try:
        found: Cycle = pipe.recv()
    except EOFError:
        return None
    return found
