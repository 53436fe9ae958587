"""What a sidecar publishes in every state that the page must show; most of it by the real loop beside a simulation."""

import functools
import random
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from controller.act.actuator import Acted, Outcome, RecommendOnly
from controller.act.live import LiveActuator, LiveSettings
from controller.cycle import Control, Cycle, EngineCycle, Failure
from controller.decide.decision import Action, Bounded
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Change, Review, Verdict
from controller.live import Live
from controller.loop import Controller
from controller.observe.http import Fetcher
from controller.observe.plugin import PluginSource
from controller.observe.scrape import HttpSource
from controller.reason import Reason
from controller.simulator.inprocess import InProcessPools
from controller.simulator.server import SimulatedServer

URL: Final = "http://simulated"
OWNER: Final = "adaptive-k@vllm-0"
BEGAN: Final = 1_800_000_000.0
HOSTILE: Final = '<img src="https://evil.example/x" onerror=alert(1)>\u202e\x1b]"\'&' + "y" * 4096
DOWN: Final = Failure(
    Reason.SERVER_UNREACHABLE,
    "No connection to http://vllm:8000/metrics (connection refused): check that the server runs, and --url.",
)


@dataclass(frozen=True)
class Scene:
    """Passes one after the other, and how long after the last of them the page is asked for."""

    cycles: tuple[Cycle, ...]
    mode: str = "apply"
    seconds_later: float = 3.0
    checkpoint_failure: str = ""


class _SimulatedTime:
    """The simulated server's own time."""

    def __init__(self, server: SimulatedServer) -> None:
        self._server = server

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self._server.simulated_seconds

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return BEGAN + self._server.simulated_seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`: the server plays on at once."""
        self._server.advance_to(self._server.simulated_seconds + seconds)
        return stop.is_set()


@functools.cache
def watched(scenario: str, passes: int, *, live: bool = True) -> tuple[Cycle, ...]:
    """So many passes of the real loop, ten simulated seconds apart."""
    with ThreadPoolExecutor(1) as pool:  # the simulation wants an event loop of its own; a driven browser holds ours
        return pool.submit(_watch, scenario, passes, live=live).result()


def _watch(scenario: str, passes: int, *, live: bool, seed: int = 3) -> tuple[Cycle, ...]:
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text("a-token-of-the-tests\n", "utf-8")
        server = SimulatedServer(scenario, seed=seed, token_file=token if live else None)
        clock, pools = _SimulatedTime(server), InProcessPools(server.application)
        fetcher = Fetcher(pools=pools, token_file=token if live else None)
        loop = Controller(
            HttpSource(URL, clock, Fetcher(pools=pools)),
            clock,
            LiveActuator(URL, fetcher, LiveSettings(OWNER)) if live else RecommendOnly(),
            PolicySettings(),
            plugin=PluginSource(URL, fetcher) if live else None,
            live=Live(OWNER, frozen=lambda: False, chance=random.Random(seed).random) if live else None,
        )
        found = []
        for _ in range(passes):
            found.append(loop.step())
            clock.wait(10.0, threading.Event())
    return tuple(found)


def full() -> tuple[Cycle, ...]:
    """Live control of a mix of workloads, after it has measured and changed something."""
    return watched("day-curve", 30)


def _after_full(seconds: float = 10.0, **values: object) -> tuple[Cycle, ...]:
    """The same, and one more pass in which the engine differs."""
    return (*full(), _with(_later(full()[-1], seconds), **values))


RESTARTED: Final = Failure(Reason.SERVER_RESTARTED, "A counter fell: the server restarted inside the window.")
MISSING: Final = Acted(
    Outcome.FAILED,
    Reason.PLUGIN_MISSING,
    "http://vllm:8000 has no engine plugin (404): install adaptive-k-vllm beside vLLM, or use --mode recommend.",
)
ROLLING: Final = Acted(
    Outcome.ROLLING,
    message="Deployment llm/vllm: 1 of 3 replicas run k=2, the next one restarts when this one is ready.",
    rollout="rolling",
)
REFUSED: Final = Acted(
    Outcome.FAILED,
    Reason.PLUGIN_REFUSES,
    "The engine plugin at http://vllm:8000 refuses the token (401): check --plugin-token-file.",
)
NOT_SAVED: Final = "The checkpoint /var/lib/adaptive-k/state cannot be written (no space left on device): make room."


def changed(cycle: Cycle) -> Cycle:
    """The next pass changes from k=5 to 2; it took back an earlier change from 5 to 4, which had become slower."""
    (engine,) = cycle.engines
    decision = replace(
        engine.decision,
        action=Action.CHANGE,
        reason=Reason.FASTER_K,
        sentence="k=2 yields +13.5% (+5.1% to +22.6%) over k=5 at a batch of 48.2, from 21,480 drafts.",
        k_now=5.0,
        k=2,
        k_best=2,
        batch=48.2,
        gain=Bounded(1.135, 1.051, 1.226),
        schedule=((1, 4, 5), (5, 15, 4), (16, 31, 3), (32, 127, 2), (128, 256, 0)),
    )
    assert engine.control is not None
    change = Change(0.0, 12.0, 5, 4, Bounded(1.05, 1.03, 1.07))
    control = replace(engine.control, review=Review(change, Bounded(0.97, 0.95, 0.99), Verdict.WORSE), applied=True)
    new = replace(engine, decision=decision, control=control, acted=Acted(Outcome.APPLIED))
    return replace(_later(cycle, 10.0), engines=(new,))


def many(cycle: Cycle, engines: int) -> Cycle:
    """The first engine so many times."""
    return replace(cycle, engines=tuple(replace(cycle.engines[0], engine=str(each)) for each in range(engines)))


def _later(cycle: Cycle, seconds: float) -> Cycle:
    return replace(cycle, at_unix_seconds=cycle.at_unix_seconds + seconds, number=cycle.number + round(seconds / 10))


def _failed(cycle: Cycle, *, engines: bool = True) -> Cycle:
    return replace(cycle, failure=DOWN, engines=cycle.engines if engines else ())


def _with(cycle: Cycle, **values: object) -> Cycle:
    changed: Sequence[EngineCycle] = [replace(each, **values) for each in cycle.engines]  # type: ignore[arg-type]
    return replace(cycle, engines=tuple(changed))


def _frozen(cycle: Cycle) -> Control:
    control = cycle.engines[0].control
    assert control is not None
    return replace(control, frozen=True)


def _hostile(cycle: Cycle) -> tuple[object, ...]:
    return tuple(replace(each, name=HOSTILE) for each in cycle.engines[0].workloads)


SCENES: Final[dict[str, Callable[[], Scene]]] = {
    "full": lambda: Scene(full()),
    "changed": lambda: Scene((*full(), changed(full()[-1]))),
    "recommending": lambda: Scene(watched("code-to-prose", 18, live=False), "recommend"),
    "before-the-first-pass": lambda: Scene(()),
    "never-reached": lambda: Scene((_failed(full()[0], engines=False),)),
    "warming-up": lambda: Scene(full()[:1]),
    "no-speculation": lambda: Scene(watched("no-speculation", 3, live=False), "recommend"),
    "idle": lambda: Scene(watched("idle", 3, live=False), "recommend"),
    "server-down": lambda: Scene((*full(), *(_later(_failed(full()[-1]), 10.0 * each) for each in range(1, 13)))),
    "restarted": lambda: Scene(_after_full(failure=RESTARTED)),
    "plugin-missing": lambda: Scene(_after_full(acted=MISSING, control=Control())),
    "plugin-refuses": lambda: Scene(_after_full(acted=REFUSED)),
    "rolling": lambda: Scene(
        (*full(), _with(changed(full()[-1]), acted=ROLLING, control=None, workloads=())), "rollout"
    ),
    "frozen": lambda: Scene(_after_full(control=_frozen(full()[-1]))),
    "hangs": lambda: Scene(full(), seconds_later=200.0),
    "checkpoint-failing": lambda: Scene(full(), checkpoint_failure=NOT_SAVED),
    "two-engines": lambda: Scene(watched("two-engines", 8, live=False), "recommend"),
    "many-engines": lambda: Scene((many(full()[-1], 8),)),
    "hostile": lambda: Scene((_with(full()[-1], model_name=HOSTILE, engine=HOSTILE, workloads=_hostile(full()[-1])),)),
}
"""Every state by name."""


@functools.cache
def scene(name: str) -> Scene:
    """One of them."""
    return SCENES[name]()
