"""A sidecar's life in scripted time, in a process of its own: `python long_life.py SEED HOURS INTERVAL_SECONDS FOLDER`.

It does what `controller run --mode apply` does, beside a server on which nothing stays, and leaves in FOLDER all
that it said: `documents`, `log`, `metrics`, `page`, the checkpoint. On stdout it tells, as JSON, what it held after
half of its life and at the end, and how far its estimates were from the truth at each noon.
"""

import gc
import json
import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from churning import NOON, NOON_BATCH, ChurningServer, step_seconds, survival
from fakes import ManualClock
from prometheus_client import CollectorRegistry, generate_latest

from controller.checkpoint import Checkpoint
from controller.cycle import Cycle, EngineCycle
from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.loop import Controller
from controller.report.document import document
from controller.serve.log import log_cycle
from controller.serve.page import Page
from controller.serve.page_view import About
from controller.serve.telemetry import Telemetry

OWNER: Final = "the-sidecar"
SCRAPE_PASSES: Final = 20
"""The port is asked once in so many passes."""


class Life:
    """The sidecar from its first pass to its last."""

    def __init__(self, seed: int, interval_seconds: float, folder: Path) -> None:
        self.clock = ManualClock()
        self.server = ChurningServer(self.clock, OWNER, seed)
        self.interval_seconds = interval_seconds
        self._random = random.Random(seed)
        self.loop = Controller(
            self.server.pages,
            self.clock,
            self.server,
            PolicySettings(minimum_gain=0.01, cooldown_seconds=60.0, interval_seconds=interval_seconds),
            plugin=self.server.plugin,
            live=Live(OWNER, lambda: False, self._random.random),
        )
        self._checkpoint = Checkpoint(folder / "checkpoint", "http://churning", self.clock)
        self._page = Page(About(), 60.0)
        self._telemetry = Telemetry()
        self._registry = CollectorRegistry()
        self._registry.register(self._telemetry)
        self._out = {name: (folder / name).open("wb") for name in ("documents", "metrics", "page")}
        self._log = logging.FileHandler(folder / "log")
        logging.getLogger("adaptive_k").addHandler(self._log)
        logging.getLogger("adaptive_k").setLevel(logging.INFO)
        self.last: Cycle | None = None

    def until(self, hour: int, each: Callable[[Cycle], None]) -> None:
        """Passes until that hour of the server's, as `run` makes them."""
        stop = threading.Event()

        def publish(cycle: Cycle) -> None:
            self._telemetry.publish(cycle)
            self._page.publish(cycle)
            log_cycle(cycle)
            self._checkpoint.save(self.loop.learnt)
            if cycle.number % SCRAPE_PASSES == 0:
                self._asked(cycle)
            each(cycle)
            self.last = cycle
            if self.server.hour >= hour:
                stop.set()

        self.loop.run(stop, self.interval_seconds, publish, lambda: self._random.uniform(-1.0, 1.0))

    def close(self) -> None:
        """Everything that was said is in its file."""
        self._log.close()
        for file in self._out.values():
            file.close()

    def _asked(self, cycle: Cycle) -> None:
        self._out["documents"].write(json.dumps(document(cycle)).encode() + b"\n")
        self._out["metrics"].write(generate_latest(self._registry))
        self._out["page"].write(self._page.answer("", self.clock.unix_seconds()))


def held() -> dict[str, int]:
    """What this process holds now."""
    gc.collect()
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text("utf-8").split())
    return {
        "own_bytes": (resident - shared) * os.sysconf("SC_PAGE_SIZE"),  # the kernel drops and rereads pages of files
        "allocated_blocks": sys.getallocatedblocks(),
        "file_handles": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
    }


def missed(engine: EngineCycle) -> dict[str, float] | None:
    """How far the estimates at noon are from the truth; None where nothing was decided."""
    decision, acceptance = engine.decision, engine.acceptance
    if engine.failure or acceptance is None or not decision.scores or decision.k_now is None:
        return None
    k = round(decision.k_now)
    pairs = list(zip(acceptance.survival, survival(len(acceptance.survival)), strict=True))[:k]
    return {
        "k": k,
        "survival": max((abs(seen - true) for seen, true in pairs), default=0.0),
        "step_ratio": decision.scores[k].step_seconds / step_seconds(NOON_BATCH, k),
    }


def main() -> None:
    """See the top."""
    seed, hours, interval_seconds, folder = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    life = Life(seed, interval_seconds, folder)
    noons: dict[int, Any] = {}
    seen: set[str] = set()

    def note(cycle: Cycle) -> None:
        seen.update(failure.reason.value for failure in cycle.failures)
        for engine in cycle.engines:
            seen.update((engine.decision.reason.value, engine.acted.outcome.value))
        if life.server.hour % 24 == NOON and cycle.engines and (found := missed(cycle.engines[0])):
            noons[life.server.hour // 24] = found  # the last pass of the hour stays

    life.until(hours // 2, note)
    warm = held()
    life.until(hours, note)
    end = held()
    life.close()
    assert life.last is not None
    came = {"warm": warm, "end": end, "noons": noons, "passes": life.last.number, "seen": sorted(seen)}
    sys.stdout.write(json.dumps(came))


if __name__ == "__main__":
    main()
