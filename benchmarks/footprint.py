"""What adaptive-k costs: start, memory, parsing, one pass, the plugin's part of an engine step, the simulator's speed.

    python benchmarks/footprint.py [--json] [--repeats N] [--seconds N]

`run` is watched as a process of its own, in apply mode at an interval of 5 s beside eight workloads. Seconds are
medians of several runs with their range; on a shared machine read them as an order of magnitude.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import log
from pathlib import Path

from plugin_step import added_microseconds
from sidecar import import_milliseconds, run_cost, startup_seconds

from controller.decide.objective import fastest
from controller.model.acceptance import estimate
from controller.model.drafter import HEAD, Drafting
from controller.model.economics import Market
from controller.model.evidence import AcceptanceEvidence
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import fit
from controller.observe.vllm_metrics import read_page
from controller.simulator.engine import StepEngine
from controller.simulator.scenario import Phase
from controller.simulator.scenarios import SCENARIOS

PAGES = Path(__file__).parent.parent / "tests" / "data" / "vllm_pages"
MEGABYTE = 1_000_000
TOLD = (
    "rss_mib", "cpu_share", "startup_seconds", "parse_1mb_seconds", "recommend_replay_seconds", "pass_ms_median",
    "plugin_step_us_median", "plugin_step_us_p99",
)  # fmt: skip
"""What --json tells."""
IMPORTS_SHOWN = 12
REPLAY = """
import sys
from controller.__main__ import main
code = main()
print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM:")), file=sys.stderr)
sys.exit(code)
"""  # a child's ru_maxrss would be that of this process, whose memory it shares until it has started


@dataclass(frozen=True)
class Row:
    """One measurement: what, its samples, the unit they are shown in, and what is hoped for."""

    key: str
    name: str
    samples: tuple[float, ...]
    unit: str
    target: str

    @property
    def median(self) -> float:
        """The number to quote."""
        return statistics.median(self.samples)

    def line(self) -> str:
        """A line of the table."""
        spread = f"{min(self.samples):.4g} - {max(self.samples):.4g}"
        return f"{self.name:52}{self.median:10.4g} {self.unit:6} ({spread:>17})   {self.target}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="medians only, machine-readable")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="runs of each (default 7)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="N", help="`run` is watched so long (default 60)"
    )
    options = parser.parse_args()
    rows = [
        *sidecar(options.seconds, options.repeats),
        *replay(options.repeats),
        parse(options.repeats),
        one_pass(options.repeats),
        *plugin(options.repeats),
        *simulator(options.repeats),
    ]
    if options.json:
        by_key = {row.key: row.median for row in rows}
        print(json.dumps({key: by_key[key] for key in TOLD}, indent=2))
        return 0
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"{'':52}{'median':>10} {'':6} ({'range':>17})   target")
    for row in rows:
        print(row.line())
    print("\nimports of `run`, by package, without what they import")
    for name, milliseconds in list(import_milliseconds().items())[:IMPORTS_SHOWN]:
        print(f"{name:52}{milliseconds:10.4g} ms")
    return 0


def sidecar(seconds: float, repeats: int) -> list[Row]:
    """`controller run` as a whole process."""
    cost = run_cost(seconds)
    return [
        Row("rss_mib", "run with 8 workloads, resident memory", (cost.rss_mib,), "MiB", "at most 64 MiB"),
        Row("cpu_share", "its share of a core, after the first minute", (cost.cpu_share,), "", "at most 0.003"),
        Row("scraped_bytes", "scraped in each of its passes", (float(cost.scraped_bytes),), "bytes", ""),
        Row("startup_seconds", "its first /metrics after the start", startup_seconds(repeats), "s", "within 1 s"),
    ]


def replay(repeats: int) -> list[Row]:
    """`controller recommend --source` on two saved pages, as a whole process."""
    pages = [str(PAGES / f"vllm-0.32-ngram-{when}.txt") for when in ("before", "after")]
    command = [sys.executable, "-c", REPLAY, "recommend", "-o", "json", "--source", *pages]
    seconds, mebibytes = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds.append(time.perf_counter() - began)
        mebibytes.append(int(done.stderr.split()[1]) / 1024)
    return [
        Row("recommend_replay_seconds", "recommend --source, whole process", tuple(seconds), "s", "under 0.5 s"),
        Row("recommend_replay_mib", "its peak memory", tuple(mebibytes), "MiB", "under 80 MiB"),
    ]


def parse(repeats: int) -> Row:
    """A page of 1 MB to a `Snapshot`: a real page with the families we do not read repeated under other models."""
    page = (PAGES / "vllm-0.32-ngram-after.txt").read_text("utf-8")
    extra = [line for line in page.splitlines(keepends=True) if "_bucket{" in line]
    text = page
    while len(text) < MEGABYTE:
        text += "".join(extra)
    return Row("parse_1mb_seconds", "1 MB page to Snapshot", timed(lambda: read_page(text), repeats), "s", "0.025 s")


def one_pass(repeats: int) -> Row:
    """Estimate and choose for 64 batches, k up to 16, from 20 measured cells."""
    counts = tuple(100_000 * 0.8**j for j in range(17))
    evidence = AcceptanceEvidence(at_risk=counts[:16], accepted=counts[1:], draft_tokens=16 * counts[0])
    cells = tuple(
        Cell(float(batch), float(k), float(k > 0), log(0.01 * (1 + batch * (1 + k) / 200 + 0.05 * k)), 10.0)
        for batch, k in product((1, 4, 16, 64, 256), (0, 2, 8, 16))
    )

    def work() -> None:
        step_time = fit(StepTable(cells), HEAD)
        assert step_time is not None
        market = Market(estimate(evidence, HEAD), step_time, Drafting.FIXED, 16, 16.0, HEAD.persistence)
        fastest(market.prices(range(1, 65), 16.0), minimum_gain=0.03)

    milliseconds = tuple(1e3 * each for each in timed(work, 5 * repeats))
    return Row("pass_ms_median", "one pass for 64 batches, k up to 16", milliseconds, "ms", "under 1 ms")


def plugin(repeats: int) -> list[Row]:
    """What the engine plugin adds to a step: of 1, 2, 4 ... 64 requests alike, and of the smallest and the largest."""
    batches = tuple(2**doubled for doubled in range(7))
    medians: dict[str, list[float]] = {"": [], "_1": [], "_64": []}
    p99s: dict[str, list[float]] = {"": [], "_1": [], "_64": []}
    for _ in range(repeats):
        by_batch = {batch: added_microseconds(batch) for batch in batches}
        every = [one for added in by_batch.values() for one in added]
        for key, added in (("", every), ("_1", by_batch[1]), ("_64", by_batch[64])):
            medians[key].append(statistics.median(added))
            p99s[key].append(statistics.quantiles(added, n=100)[-1])
    rows = []
    for key, steps in (("", "steps of 1 to 64 requests"), ("_1", "of 1"), ("_64", "of 64")):
        target = ("under 5 us", "under 20 us") if not key else ("", "")
        rows += [
            Row(f"plugin_step_us_median{key}", f"plugin, {steps}, median", tuple(medians[key]), "us", target[0]),
            Row(f"plugin_step_us_p99{key}", f"plugin, {steps}, 99th percentile", tuple(p99s[key]), "us", target[1]),
        ]
    return rows


def simulator(repeats: int) -> list[Row]:
    """Simulated seconds per second, at a closed loop of one batch."""
    rows = []
    for batch in (1, 64, 256):
        ratios = tuple(_real_time_ratio(batch, 3) for _ in range(repeats))
        target = "at least 200" if batch == 64 else ""
        rows.append(
            Row(f"simulator_x_batch_{batch}", f"simulator, times real time at batch {batch}, k=3", ratios, "x", target)
        )
    return rows


def _real_time_ratio(batch: int, k: int, seconds: float = 60.0) -> float:
    phases = (Phase(0, (("chat", 1.0),), concurrency=batch),)
    engine = StepEngine(replace(SCENARIOS["steady-chat"], phases=phases), schedule=((1, 256, k),))
    engine.advance_to(20)
    began = time.perf_counter()
    engine.advance_to(20 + seconds)
    return seconds / (time.perf_counter() - began)


def timed(work: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Seconds of each run, after one that is not counted."""
    work()
    samples: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        samples.append(time.perf_counter() - began)
    return tuple(samples)


if __name__ == "__main__":
    raise SystemExit(main())
