"""The controller under test, wired to a simulated server as it is beside a real one: pages, and the engine's plugin."""

import random
import tempfile
import threading
from pathlib import Path
from typing import Final, Protocol

from controller.act.live import LiveActuator, LiveSettings
from controller.clock import Clock
from controller.cycle import Cycle
from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.loop import Controller
from controller.observe.http import Fetcher
from controller.observe.plugin import PluginSource
from controller.observe.scrape import HttpSource
from controller.simulator.inprocess import InProcessPools
from controller.simulator.server import SimulatedServer

URL: Final = "http://simulated"
OWNER: Final = "benchmark"


class Stepper(Protocol):
    """Something that looks at its server once a pass, and may set its schedule."""

    def pause_seconds(self, interval_seconds: float) -> float:
        """Until the next pass."""

    def step(self) -> Cycle:
        """One pass."""


class SimulatedClock:
    """The server's own time."""

    def __init__(self, server: SimulatedServer) -> None:
        self._server = server

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self._server.simulated_seconds

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return 1.8e9 + self._server.simulated_seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`: the server plays on at once."""
        self._server.advance_to(self._server.simulated_seconds + seconds)
        return stop.is_set()


def token_file() -> Path:
    """The token that the simulated server's plugin and the controller share: no secret, and one file for all runs."""
    path = Path(tempfile.gettempdir()) / "adaptive-k-benchmark.token"
    if not path.exists():
        path.write_text("a-token-of-the-benchmark\n", "utf-8")
    return path


def adaptive(server: SimulatedServer, clock: Clock, seed: int = 0) -> Stepper:
    """The controller in apply mode with its default settings; the server must have been made with `token_file()`."""
    pools = InProcessPools(server.application)
    pages, plugin = Fetcher(pools=pools), Fetcher(pools=pools, token_file=token_file())
    return Controller(
        HttpSource(URL, clock, pages),
        clock,
        LiveActuator(URL, plugin, LiveSettings(OWNER)),
        PolicySettings(minimum_gain=0.01),
        plugin=PluginSource(URL, plugin),
        live=Live(OWNER, frozen=lambda: False, chance=random.Random(seed).random),
    )
