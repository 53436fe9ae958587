"""Live control in one process: the whole loop beside a simulated server with the real plugin, on the server's clock."""

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import requests

from controller.act.actuator import RecommendOnly
from controller.act.live import LiveActuator, LiveSettings
from controller.cycle import Cycle, EngineCycle
from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.loop import Controller
from controller.memory import Learnt
from controller.observe.http import PLUGIN, Fetcher
from controller.observe.plugin import PATH, PluginSource
from controller.observe.scrape import HttpSource
from controller.observe.snapshot import Key
from controller.simulator.inprocess import InProcessAdapter, InProcessPools
from controller.simulator.scenario import Scenario
from controller.simulator.server import SimulatedServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

URL: Final = "http://simulated"
TOKEN: Final = "a-token-of-the-operators"
OWNER: Final = "the-sidecar"
INTERVAL_SECONDS: Final = 10.0
POLICY: Final = PolicySettings(minimum_gain=0.01)

Fault = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]
"""What the server answers in place of its own answer; what it raises, the client's library raises."""


class SimulatedClock:
    """The server's own time, `offset_seconds` ahead on the monotonic clock: each process has a zero of its own."""

    def __init__(self, server: SimulatedServer, offset_seconds: float = 0.0) -> None:
        self._server = server
        self._offset_seconds = offset_seconds

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self._server.simulated_seconds + self._offset_seconds

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return 1.8e9 + self._server.simulated_seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`: the server plays on at once."""
        self._server.advance_to(self._server.simulated_seconds + seconds)
        return stop.is_set()


class Served:
    """A simulated server with the plugin, and what its operator and its network do to it.

    Attributes:
        faults: What is answered in place of the server's answer, by the end of the path.
    """

    def __init__(self, scenario: Scenario | str, folder: Path, *, seed: int = 0, **options: Any) -> None:
        self.tokens = folder / "tokens"
        self.tokens.write_text(f"{TOKEN}\n", "utf-8")
        self.server = SimulatedServer(scenario, seed=seed, speed=0, **({"token_file": self.tokens} | options))
        self.engine = self.server.engines[0]
        self.faults: dict[str, Fault] = {}
        self._session = requests.Session()
        self._session.mount(URL, InProcessAdapter(self.server.application))

    @property
    def application(self) -> "WSGIApplication":
        """The server behind its network."""

        def application(environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
            path = environment["PATH_INFO"]
            fault = next((fault for end, fault in self.faults.items() if path.endswith(end)), None)
            return (fault or self.server.application)(environment, start)

        return application

    def told(self) -> Any:
        """What the plugin tells an operator with the token."""
        return self.ask("GET").json()

    def ask(self, verb: str, token: str = TOKEN, **body: Any) -> requests.Response:
        """What an operator sends to the plugin."""
        headers = {"Authorization": f"Bearer {token}"}
        return self._session.request(verb, URL + PATH, headers=headers, json=body or None)

    def hold(self, k: int, owner: str, ttl_seconds: int = 3600) -> None:
        """Somebody holds one k at every batch size."""
        seen = self.told()
        expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
        ranges = [[1, seen["max_num_seqs"], k]]
        held = self.ask("PUT", schedule=ranges, ttl_seconds=ttl_seconds, owner=owner, expected=expected)
        assert held.status_code == 200, held.text

    @property
    def k(self) -> int:
        """In force at the load of this moment."""
        batch = max(1, self.engine.running)
        return next(k for low, _, k in reversed(self.engine.schedule) if low <= batch)


class Sidecar:
    """The loop beside a server: in apply mode, or with `applying=False` only watching.

    Attributes:
        frozen: Whether the operator froze changes.
        passed_at_seconds: When the last pass was, on the server's clock.
    """

    def __init__(
        self,
        served: Served,
        *,
        applying: bool = True,
        owner: str = OWNER,
        tokens: Path | None = None,
        policy: PolicySettings = POLICY,
        stand_down_seconds: float = 900.0,
        allow_k_without_graph: bool = False,
        seed: int = 0,
        restored: Mapping[Key, Learnt] | None = None,
        offset_seconds: float = 0.0,
    ) -> None:
        self.served, self.frozen = served, False
        self.clock = SimulatedClock(served.server, offset_seconds)
        pools = InProcessPools(served.application)
        asks = Fetcher(pools=pools, token_file=tokens or served.tokens, peer=PLUGIN)
        live = Live(
            owner,
            lambda: self.frozen,
            random.Random(seed).random,
            stand_down_seconds=stand_down_seconds,
            allow_k_without_graph=allow_k_without_graph,
        )
        self.loop = Controller(
            HttpSource(URL, self.clock, Fetcher(pools=pools)),
            self.clock,
            LiveActuator(URL, asks, LiveSettings(owner, allow_k_without_graph=allow_k_without_graph))
            if applying
            else RecommendOnly(),
            policy,
            plugin=PluginSource(URL, asks),
            live=live if applying else None,
            restored=restored,
        )
        self._due = self.passed_at_seconds = served.server.simulated_seconds

    def until(self, seconds: float) -> list[Cycle]:
        """Passes until then, as `Controller.run` paces them."""
        cycles = []
        while self._due <= seconds:
            self.served.server.advance_to(self._due)
            cycles.append(self.loop.step())
            self.passed_at_seconds = self._due
            self._due += self.loop.pause_seconds(INTERVAL_SECONDS)
        self.served.server.advance_to(seconds)
        return cycles

    def engine(self, seconds: float) -> EngineCycle:
        """The engine as of the last pass until then."""
        return self.until(seconds)[-1].engines[0]
