"""Stand-ins for the outside world: a clock set by hand, a source that plays a script, an actuator that remembers."""

import threading
from collections.abc import Callable, Sequence

from controller.act.actuator import NOTHING_DONE, Acted, Order, Outcome
from controller.decide.decision import Action
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page

Read = str | Sequence[Snapshot] | ObserveError
"""A page's text, the snapshots themselves, or the error that reading raises."""


class ManualClock:
    """Moves only when told to, or by waiting."""

    def __init__(self, monotonic: float = 1000.0, unix: float = 1.8e9) -> None:
        self.now = monotonic
        self.unix = unix
        self.waits: list[float] = []

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self.now

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return self.unix

    def advance(self, seconds: float) -> None:
        """Let time pass; a negative number is a clock that jumps back."""
        self.now += seconds
        self.unix += seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`: time passes at once."""
        self.waits.append(seconds)
        self.advance(seconds)
        return stop.is_set()


class ScriptedSource:
    """Plays its reads one after the other; the last one for ever. Pages are stamped with the clock's time."""

    def __init__(self, clock: ManualClock, *reads: Read, before_read: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._reads = list(reads)
        self._before_read = before_read

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`."""
        self._before_read()
        read = self._reads.pop(0) if len(self._reads) > 1 else self._reads[0]
        if isinstance(read, ObserveError):
            raise read
        return read_page(read, self._clock.monotonic_seconds()) if isinstance(read, str) else tuple(read)


class RecordingActuator:
    """Changes nothing, and remembers what it was asked to do."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.idled = 0

    def act(self, order: Order) -> Acted:
        """See `Actuator`."""
        self.orders.append(order)
        return NOTHING_DONE if order.decision.action is Action.HOLD else Acted(Outcome.RECOMMENDED)

    def idle(self) -> None:
        """See `Actuator`."""
        self.idled += 1
