"""The loop on history: all workloads in this process, or shared among some, since they know nothing of each other."""

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Final, Protocol, Self

from controller.backtest.account import Account
from controller.backtest.outcome import Outcome
from controller.backtest.past import PastClock
from controller.beside import Beside
from controller.loop import Controller
from controller.observe.snapshot import Key, Snapshot
from controller.observe.source import MetricsSource

Loop = Callable[[MetricsSource, PastClock], Controller]
"""Makes the loop on a source and a clock."""
PARCEL: Final = 64
"""Passes that are handed over at once."""


class Decider(Protocol):
    """Makes passes over some workloads, and keeps their accounts."""

    def decide(self, at_unix_seconds: float, snapshots: tuple[Snapshot, ...]) -> None:
        """One pass."""

    def outcomes(self) -> list[Outcome]:
        """The accounts, when all passes have been made."""


class Here:
    """In this process."""

    def __init__(self, loop: Loop, step_seconds: float) -> None:
        """No pass has been made yet."""
        self._handed: tuple[Snapshot, ...] = ()
        self._clock = PastClock()
        self._controller = loop(self, self._clock)
        self._step_seconds = step_seconds
        self._accounts: dict[Key, Account] = {}

    def read(self) -> tuple[Snapshot, ...]:
        """What was handed over: this is the loop's source."""
        return self._handed

    def decide(self, at_unix_seconds: float, snapshots: tuple[Snapshot, ...]) -> None:
        """See `Decider`."""
        self._clock.at_unix_seconds, self._handed = at_unix_seconds, snapshots
        for engine in self._controller.step().engines:
            account = self._accounts.setdefault(engine.key, Account(engine.key))
            account.add(at_unix_seconds, self._step_seconds, engine)

    def outcomes(self) -> list[Outcome]:
        """See `Decider`."""
        return [each.outcome() for each in self._accounts.values()]


class There:
    """In a process of its own."""

    def __init__(self, loop: Loop, step_seconds: float) -> None:
        """Starts the process."""
        self._beside = Beside(lambda pipe: _serve(pipe, loop, step_seconds))
        self._parcel: list[tuple[float, tuple[Snapshot, ...]]] = []

    def decide(self, at_unix_seconds: float, snapshots: tuple[Snapshot, ...]) -> None:
        """See `Decider`; waits while the process is behind."""
        self._parcel.append((at_unix_seconds, snapshots))
        if len(self._parcel) >= PARCEL:
            self._send()

    def outcomes(self) -> list[Outcome]:
        """See `Decider`; the process has then ended."""
        self._send()
        try:
            self._beside.pipe.send(None)
            found: list[Outcome] = self._beside.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._beside.ended()
        return found

    def _send(self) -> None:
        try:
            self._beside.pipe.send(self._parcel)
        except OSError as error:
            raise self._ended() from error
        self._parcel = []

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"a process that decides ended with {self._beside.ended()}: was it killed for memory?")


class Shared:
    """Several deciders, each with the workloads that it got first."""

    def __init__(self, deciders: Sequence[Decider]) -> None:
        """No workload is known yet."""
        self._deciders = tuple(deciders)
        self._whose: dict[Key, int] = {}

    @classmethod
    def among(cls, processes: int, loop: Loop, step_seconds: float) -> Self:
        """So many processes; one is this one."""
        if processes == 1:
            return cls([Here(loop, step_seconds)])
        return cls([There(loop, step_seconds) for _ in range(processes)])

    def decide(self, at_unix_seconds: float, snapshots: tuple[Snapshot, ...]) -> None:
        """See `Decider`."""
        parts: list[list[Snapshot]] = [[] for _ in self._deciders]
        for each in snapshots:
            mine = self._whose.setdefault(each.key, len(self._whose) % len(self._deciders))
            parts[mine].append(each)
        for decider, part in zip(self._deciders, parts, strict=True):
            decider.decide(at_unix_seconds, tuple(part))

    def outcomes(self) -> list[Outcome]:
        """See `Decider`."""
        return [outcome for each in self._deciders for outcome in each.outcomes()]


def _serve(pipe: Connection, loop: Loop, step_seconds: float) -> None:
    """Passes until there are no more."""
    decider = Here(loop, step_seconds)
    while (parcel := pipe.recv()) is not None:
        for at, snapshots in parcel:
            decider.decide(at, snapshots)
    pipe.send(decider.outcomes())
