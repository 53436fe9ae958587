"""Many rows of one window, judged in as many processes as there are processors: rows know nothing of each other."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
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
PARTS_EACH: Final = 8
"""Parts for each process: whoever is done takes the next one, for no two processors are equally quick."""
Reading = tuple[Snapshot, ...] | ObserveError
Part = Sequence[Reading]


def judged(source: MetricsSource, loop: Callable[[MetricsSource], Controller]) -> Cycle:
    """The cycle of the window between two readings: that of one loop over all rows, made by several."""
    loop(_Handed(()))  # what is wrong with the settings is told before the work
    processes = min(PROCESSES_MAX, len(os.sched_getaffinity(0)))
    beside = [Beside(lambda pipe: _judge(pipe, loop)) for _ in range(processes - 1)]  # before there is much to copy
    readings = _readings(source)
    keys = [] if isinstance(readings[-1], ObserveError) else [each.key for each in readings[-1]]
    if len(keys) < WORTH_IT_ROWS:
        return _last(loop, readings)
    count = processes * PARTS_EACH
    left = deque(_part(readings, frozenset(keys[start::count])) for start in range(count))
    found: list[Cycle] = []
    handing = [threading.Thread(target=_hand, args=(each.pipe, left, found), daemon=True) for each in beside]
    for each in handing:
        each.start()
    _take(left, found, loop)
    for each in handing:
        each.join()
    _take(left, found, loop)  # what a process that ended had left
    by_key = {engine.key: engine for cycle in found for engine in cycle.engines}
    return replace(found[0], engines=tuple(by_key[key] for key in keys))


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


def _part(readings: Sequence[Reading], keys: frozenset[Key]) -> Part:
    """Of each reading these rows."""
    return [
        each if isinstance(each, ObserveError) else tuple(row for row in each if row.key in keys) for each in readings
    ]


def _last(loop: Callable[[MetricsSource], Controller], readings: Part) -> Cycle:
    controller = loop(_Handed(readings))
    return [controller.step() for _ in readings][-1]


def _take(left: deque[Part], found: list[Cycle], loop: Callable[[MetricsSource], Controller]) -> None:
    """Judge here what nobody has taken."""
    while (part := _next(left)) is not None:
        found.append(_last(loop, part))


def _hand(pipe: Connection, left: deque[Part], found: list[Cycle]) -> None:
    """Let a process judge what nobody has taken; a part that it does not answer is left again."""
    while (part := _next(left)) is not None:
        try:
            pipe.send(part)
            found.append(pipe.recv())
        except Exception:  # noqa: BLE001  (it ended, killed for memory perhaps, in the middle of what it was telling)
            left.append(part)
            return


def _next(left: deque[Part]) -> Part | None:
    try:
        return left.popleft()
    except IndexError:  # another has taken the last one
        return None


def _judge(pipe: Connection, loop: Callable[[MetricsSource], Controller]) -> None:
    while True:
        pipe.send(_last(loop, pipe.recv()))
