"""A hundred thousand windows leave memory as they found it."""

import gc
import random
from pathlib import Path

import pytest
from fakes import ManualClock, RecordingActuator
from pages import after, snapshot

from controller.act.actuator import RecommendOnly
from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.observe.snapshot import Snapshot

WINDOWS, WARM_UP = 100_000, 5_000
MEBIBYTE = 2**20


class WanderingServer:
    """An engine whose load and traffic change from page to page."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._random = random.Random(3)
        self._now = snapshot(8)

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`."""
        self._clock.advance(10.0)
        alpha = self._random.uniform(0.2, 0.9)
        batch = 2 ** self._random.uniform(0, 8)
        survival = tuple(alpha**position for position in range(1, 9))
        seconds = 0.006 * (1 + batch * 9 / 200) * self._random.lognormvariate(0, 0.05)
        self._now = after(self._now, survival=survival, batch=batch, step_seconds=seconds)
        return (self._now,)


def resident_bytes() -> int:
    """Memory of this process that lies in RAM."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_over_a_hundred_thousand_windows() -> None:
    """After the warm-up the process grows by less than a mebibyte, whatever the traffic did."""
    clock = ManualClock()
    loop = Controller(WanderingServer(clock), clock, RecommendOnly(), PolicySettings())
    for _ in range(WARM_UP):
        loop.step()
    warm = resident_bytes()
    for _ in range(WINDOWS - WARM_UP):
        loop.step()
    assert resident_bytes() - warm < MEBIBYTE


def test_the_same_windows_make_the_same_decisions() -> None:
    """Nothing in the line from page to decision rolls dice: two runs act alike, to the last digit."""
    acted = []
    for _ in range(2):
        clock, actuator = ManualClock(), RecordingActuator()
        loop = Controller(WanderingServer(clock), clock, actuator, PolicySettings())
        for _ in range(100):
            loop.step()
        acted.append(actuator.orders)
    assert len(acted[0]) > 50
    assert acted[0] == acted[1]
