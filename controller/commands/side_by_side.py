"""Many rows of one window, judged in as many processes as there are processors: rows know nothing of each other."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

from controller.beside import Beside
from controller.cycle import Cycle
from controller.loop import Controller
from controller.observe.prometheus.last_window import LastWindow
from controller.observe.snapshot import Snapshot
from controller.observe.source import MetricsSource
from controller.reason import Reason

PROCESSES_MAX: Final = 4
"""More would be made for longer than they work."""
WORTH_IT_ENGINES: Final = 200
"""Fewer are judged before another process has started."""
PARTS_EACH: Final = 8
"""Parts for each process: whoever is done takes the next one, for no two processors are equally quick."""
Judge = Callable[[int], Cycle]
"""The cycle of a part, by its place."""


def judged(window: LastWindow, loop: Callable[[MetricsSource], Controller]) -> Cycle:
    """The cycle of a fleet's window: that of one loop over all rows, made by several."""
    loop(_Nothing())  # what is wrong with the settings is told before all is read
    window.fetch()
    processes = min(PROCESSES_MAX, len(os.sched_getaffinity(0)))
    shared = processes > 1 and len(window.engines) >= WORTH_IT_ENGINES
    parts = window.parts(processes * PARTS_EACH if shared else 1)

    def judge(place: int) -> Cycle:
        controller = loop(parts[place])
        cycle = controller.step()
        return cycle if cycle.failure is not None else controller.step()

    return judge(0) if len(parts) == 1 else joined(_all(len(parts), judge, min(processes, len(parts)) - 1))


def joined(cycles: Sequence[Cycle]) -> Cycle:
    """All rows as one cycle. That a part has none is no failure where another one has some."""
    rows = sorted((row for cycle in cycles for row in cycle.engines), key=lambda row: row.key)
    failures = [each.failure for each in cycles if each.failure is not None]
    told = [each for each in failures if not rows or each.reason is not Reason.SAMPLES_OLD]
    return replace(cycles[0], engines=tuple(rows), failure=told[0] if told else None)


def _all(count: int, judge: Judge, others: int) -> list[Cycle]:
    """The cycles of all parts, by this process and by others, which hold what it holds: they begin as its copies."""
    left, found = deque(range(count)), dict[int, Cycle]()
    beside = _begun(others, judge)
    handing = [threading.Thread(target=_hand, args=(each.pipe, left, found), daemon=True) for each in beside]
    for each in handing:
        each.start()
    _take(left, found, judge)
    for each in handing:
        each.join()
    _take(left, found, judge)  # what a process that ended had left
    return [found[place] for place in range(count)]


def _begun(count: int, judge: Judge) -> list[Beside]:
    """So many processes, or as many as the machine allows."""
    found: list[Beside] = []
    with suppress(OSError):  # no memory or no process left: this one can judge everything
        while len(found) < count:
            found.append(Beside(lambda pipe: _judge(pipe, judge)))
    return found


class _Nothing:
    """A source that is not read."""

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`."""
        return ()


def _take(left: deque[int], found: dict[int, Cycle], judge: Judge) -> None:
    """Judge here what nobody has taken."""
    while (place := _next(left)) is not None:
        found[place] = judge(place)


def _hand(pipe: Connection, left: deque[int], found: dict[int, Cycle]) -> None:
    """Let a process judge what nobody has taken; a part that it does not answer is left again."""
    while (place := _next(left)) is not None:
        try:
            pipe.send(place)
            found[place] = pipe.recv()
        except Exception:  # noqa: BLE001  (it ended, killed for memory perhaps, in the middle of what it was telling)
            left.append(place)
            return


def _next(left: deque[int]) -> int | None:
    try:
        return left.popleft()
    except IndexError:  # another has taken the last one
        return None


def _judge(pipe: Connection, judge: Judge) -> None:
    while True:
        pipe.send(judge(pipe.recv()))
