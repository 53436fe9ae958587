"""`controller run --mode apply`, whole but for its process, beside a simulated server, in virtual time.

Its requests go through real sockets, its own port answers, its checkpoint lies on the disk; only time is the stage's.
"""

import heapq
import json
import logging
import random
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import requests
from faults.network import Network
from loopback import self_signed, unused_port

from controller.commands.exit_codes import OK
from controller.commands.run import set_by_signals, watch
from controller.observe.plugin import PATH
from controller.options.run import RunOptions
from controller.reason import OBSERVING_FAILED, Reason
from controller.simulator.grids import LLAMA_EAGLE_H100
from controller.simulator.scenario import Phase, Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.schedule import Schedule
from controller.simulator.server import SimulatedServer

TOKEN: Final = "a-token-of-the-operators"
OWNER: Final = "the-sidecar"
INTERVAL_SECONDS: Final = 10.0
TTL_SECONDS: Final = 60
STAND_DOWN_SECONDS: Final = 60.0
TIMEOUT_SECONDS: Final = 1.0
"""In the machine's time: what hangs costs a test so much for each pass."""
STREAMS: Final = 4
SLOW_CARD: Final = replace(
    LLAMA_EAGLE_H100, step_ms=tuple(tuple(10 * each for each in row) for row in LLAMA_EAGLE_H100.step_ms)
)
"""A tenth of the steps to simulate in a second."""
PROSE: Final[Scenario] = replace(
    SCENARIOS["steady-code"], grid=SLOW_CARD, phases=(Phase(0, (("prose", 1.0),), concurrency=STREAMS),)
)
"""Launched at k=5, and best served at 2: a sidecar has something to hold."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a fault finds when it comes.

    Attributes:
        scenario: The server and its traffic.
        host: The server's name; None is its address.
        tls: Whether it speaks TLS.
    """

    scenario: Scenario = PROSE
    host: str | None = None
    tls: bool = False


USUAL: Final = Setting()


@dataclass(frozen=True, slots=True)
class Pass:
    """What is seen from outside at the end of a pass.

    Attributes:
        at_seconds: When, in virtual time.
        log: The lines since the pass before, whole.
        advice: The `servers` of /recommendation.
        alive: Whether /livez said so.
        schedule: In force in the engine.
        k: Of it, at the load of this moment.
        best_k: What the truth would run.
        clients: Requests at the server, in decoding or waiting.
        tokens: Generated since its start.
        starts: How often the engine started.
    """

    at_seconds: float
    log: tuple[dict[str, Any], ...]
    advice: tuple[dict[str, Any], ...]
    alive: bool
    schedule: Schedule
    k: int
    best_k: int
    clients: int
    tokens: float
    starts: int

    @property
    def failures(self) -> tuple[str, ...]:
        """The reasons that were logged."""
        return tuple(line["reason"] for line in self.log if line["event"] == "failure")

    @property
    def blind(self) -> bool:
        """Whether no page could be used."""
        lines = (line for line in self.log if line["event"] == "failure" and "model_name" not in line)
        return any(Reason(line["reason"]) in OBSERVING_FAILED for line in lines)


@dataclass(order=True)
class _Due:
    at_seconds: float
    number: int
    action: Callable[[], object] = field(compare=False)


class Stage:
    """One sidecar, one server, and what is done to either.

    Attributes:
        seconds: Virtual time.
        passes: So far.
        options: Of the sidecar.
        network: Between the two.
        server: Of this moment.
        checkpoint: The sidecar's file.
        tokens: The file with the plugin's token as the server reads it; the sidecar has one of its own.
        unix_ahead_seconds: How far the wall clock is ahead.
        hung: Whether the engine stands still.
        outlived: Steps of the engine under a schedule that nobody had renewed in time.
    """

    def __init__(self, folder: Path, setting: Setting, learnt: bytes | None = None) -> None:
        self.seconds, self.passes, self.outlived = 0.0, list[Pass](), list[float]()
        self.unix_ahead_seconds, self._zero_seconds, self.hung = 0.0, 1000.0, False
        self.folder, self.tokens, self.checkpoint = folder, folder / "tokens", folder / "kept" / "checkpoint"
        self.checkpoint.parent.mkdir()
        for each in (self.tokens, folder / "own"):
            each.write_text(TOKEN, "utf-8")
        self._agenda: list[_Due] = []
        self._numbers = count()
        self._lines: list[dict[str, Any]] = []
        self._away: tuple[float, Callable[[], object]] | None = None
        self._held_until_seconds = 0.0
        self.server, self._launched_seconds = self._served(setting.scenario), 0.0
        certificate = self_signed(folder) if setting.tls else None
        self.network = Network(lambda: self.server.url, certificate)
        self.network.after = self._heard
        url = self.network.url if setting.host is None else self.network.url.replace("127.0.0.1", setting.host)
        if learnt is not None:
            saved = {**json.loads(learnt), "server": url, "unix_seconds": self.unix_seconds() - 60}
            self.checkpoint.write_text(json.dumps(saved), "utf-8")
        self.options = RunOptions(
            url=url,
            listen=f"127.0.0.1:{unused_port()}",
            interval_seconds=INTERVAL_SECONDS,
            timeout_seconds=TIMEOUT_SECONDS,
            mode="apply",
            plugin_token_file=folder / "own",
            owner=OWNER,
            ttl_seconds=TTL_SECONDS,
            stand_down_seconds=STAND_DOWN_SECONDS,
            checkpoint=self.checkpoint,
            ca_file=folder / "certificate.pem" if setting.tls else None,
        )

    # What plays.

    def run(self, until_seconds: float) -> None:
        """Let the sidecar watch until then, and start it again whenever it ended."""
        self.at(until_seconds, _terminate)
        random.seed(0)
        with self._listening():
            while self.seconds < until_seconds:
                with set_by_signals() as stop:
                    assert watch(self.options, self, stop) == OK
                if self._away is not None:
                    (seconds, meanwhile), self._away = self._away, None
                    meanwhile()
                    self.advance(seconds)

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something at this time."""
        heapq.heappush(self._agenda, _Due(seconds, next(self._numbers), action))

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        until = self.seconds + seconds
        while self._agenda and self._agenda[0].at_seconds <= until:
            due = heapq.heappop(self._agenda)
            self._to(due.at_seconds)
            due.action()
        self._to(until)

    def close(self) -> None:
        """End everything."""
        self.network.refuse()
        self.server.close()

    # The sidecar's clock.

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self._zero_seconds + self.seconds

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return 1.8e9 + self.seconds + self.unix_ahead_seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`: a pass has ended."""
        if not stop.is_set():
            self.passes.append(self._seen())
            self.advance(seconds)
        return stop.is_set()

    # What can be done.

    def restart_sidecar(self, away_seconds: float = 0.0, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Tell it to end, and start it anew, as on another host: with another zero of its clock."""
        self._away = away_seconds, meanwhile
        self._zero_seconds -= 777.0
        _terminate()

    def serve(self, scenario: Scenario, **options: Any) -> None:
        """Another server at the same address."""
        self.server.close()
        self.server, self._launched_seconds = self._served(scenario, **options), self.seconds

    def ask(self, verb: str, **body: Any) -> Any:
        """What an operator with the token sends to the plugin, and its answer."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.request(verb, self.server.url + PATH, headers=headers, json=body or None, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def hold(self, schedule: Schedule, owner: str, ttl_seconds: int) -> None:
        """Somebody holds a schedule."""
        seen = self.ask("GET")
        expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
        body = {"schedule": schedule, "ttl_seconds": ttl_seconds, "owner": owner}
        self.ask("PUT", **body, expected=expected)
        self._heard(body)

    def get(self, path: str) -> str:
        """A page of the sidecar's own port."""
        with urllib.request.urlopen(f"http://{self.options.listen}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def metrics(self) -> str:
        """The sidecar's own metrics; empty while it is away."""
        try:
            return self.get("/metrics")
        except urllib.error.URLError:
            return ""

    @property
    def launched(self) -> bool:
        """Whether the engine is at its launch schedule."""
        engine = self.server.engines[0]
        return engine.schedule == engine.launch_schedule

    # Within.

    def _served(self, scenario: Scenario, **options: Any) -> SimulatedServer:
        server = SimulatedServer(scenario, speed=0, token_file=self.tokens, **options).start()
        engine = server.engines[0]
        before = engine.before_step

        def before_step(seconds: float) -> None:
            if before is not None:
                before(seconds)
            now = self._launched_seconds + seconds
            if engine.schedule != engine.launch_schedule and now > self._held_until_seconds:
                self.outlived.append(now)

        engine.before_step = before_step
        return server

    def _to(self, seconds: float) -> None:
        passed, self.seconds = max(0.0, seconds - self.seconds), max(seconds, self.seconds)
        if self.hung:
            self._launched_seconds += passed
        self.server.advance_to(self.seconds - self._launched_seconds)

    def _heard(self, document: dict[str, Any]) -> None:
        self._held_until_seconds = self.seconds + document["ttl_seconds"]

    def _seen(self) -> Pass:
        lines, self._lines[:] = tuple(self._lines), ()
        engine = self.server.engines[0]
        load = max(1, engine.running)
        return Pass(
            at_seconds=self.seconds,
            log=lines,
            advice=tuple(json.loads(self.get("/recommendation"))["servers"]),
            alive="progress" in self.get("/livez"),
            schedule=engine.schedule,
            k=next(k for low, _, k in reversed(engine.schedule) if low <= load),
            best_k=engine.phase_truth().best_k(load, engine.k_max) if engine.k_max else 0,
            clients=sum(each.running + each.waiting for each in self.server.engines),
            tokens=sum(each.counters.generation_tokens for each in self.server.engines),
            starts=engine.starts,
        )

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """To the sidecar's log."""

        class Listener(logging.Handler):
            def emit(_, record: logging.LogRecord) -> None:  # noqa: N805  # self is the stage
                self._lines.append(json.loads(record.getMessage()))

        logger, listener = logging.getLogger("adaptive_k"), Listener()
        logger.addHandler(listener)
        try:
            yield
        finally:
            logger.removeHandler(listener)


def _terminate() -> None:
    """What Kubernetes sends when a pod has to go."""
    signal.raise_signal(signal.SIGTERM)
