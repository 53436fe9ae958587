"""What a fleet costs: many servers recommended live from a real Prometheus, and their past replayed.

    python benchmarks/fleet.py [--quick] [--json] [--only live|week|wide]

Simulated fleets, drawn from the simulator's exact expectations, become the blocks of a real Prometheus on loopback,
which `controller` then asks as a process of its own. Queries and bytes are Prometheus' own count. Memory is the most
that `controller` and the processes it starts hold at once, shared pages counted once; processor time is that of all of
them; Prometheus is in neither. On a shared machine read seconds as an order of magnitude.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

import requests
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fleet import fleets
from fleet.replica import Replica
from fleet.stored import serving, store

from deploy import tools_prometheus

STEP: Final = 30.0
AHEAD_SECONDS: Final = 3600.0
"""History is stored this far into the future, so that the present is in it while everything is measured."""
GROUPED: Final = ("--group-by", "namespace,model_name")
WATCHED_EVERY_SECONDS: Final = 0.2
"""How often memory is looked at: each look takes 2 ms of a processor, and of what is measured."""
LIVE_SECONDS: Final = 3.0
LIVE_MIB: Final = 150.0
SLOPE: Final = 1.1
REPLICA_HOURS_A_MINUTE: Final = 1000.0


@dataclass(frozen=True)
class Ran:
    """One run of `controller`."""

    seconds: float
    cpu_seconds: float
    mebibytes: float
    queries: float
    megabytes: float
    output: str


@dataclass(frozen=True)
class Row:
    """One measurement: medians of its runs.

    Attributes:
        what: What was run.
        replicas: How many servers it read.
        replica_hours: How much history of them it replayed; 0 for a live recommendation.
    """

    what: str
    replicas: int
    replica_hours: float
    seconds: float
    cpu_seconds: float
    mebibytes: float
    queries: float
    megabytes: float

    @property
    def pace(self) -> float:
        """Replica-hours a minute."""
        return 60 * self.replica_hours / self.seconds

    def line(self) -> str:
        """A line of the table."""
        pace = f"{self.pace:10,.0f}" if self.replica_hours else f"{'':10}"
        return (
            f"{self.what:46}{self.replicas:9,}{self.seconds:9.2f}{self.cpu_seconds:9.2f}{self.mebibytes:8.0f}{self.queries:9,.0f}"
            f"{self.megabytes:9.1f}{pace}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 servers and a day instead of 1,000 and a week")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--only", choices=["live", "week", "wide"], help="one part of it")
    options = parser.parse_args()
    why = tools_prometheus.cannot_have()
    if why is not None:
        sys.exit(f"no Prometheus on this machine: {why}")
    tools_prometheus.install()
    rows: list[Row] = []
    slopes: dict[str, float] = {}
    if options.only in (None, "live", "wide"):
        for part, found in wide(100 if options.quick else 1000, options.only):
            rows += found
            slopes[part] = slope([(row.replicas, row.seconds) for row in found[-2:]])
    if options.only in (None, "week"):
        for part, found in week(1 if options.quick else 7):
            rows += found
            if len(found) > 1:
                slopes[part] = slope([(row.replica_hours, row.seconds) for row in found[-2:]])
    if options.json:
        print(json.dumps({"rows": [vars(row) for row in rows], "slopes": slopes}, indent=2))
    else:
        show(rows, slopes)
    return 0


def show(rows: Sequence[Row], slopes: dict[str, float]) -> None:
    """The table, and how the seconds grow."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"{'':46}{'replicas':>9}{'s':>9}{'cpu s':>9}{'MiB':>8}{'queries':>9}{'MB':>9}{'replica-h/min':>14}")
    for row in rows:
        print(row.line())
    for part, value in slopes.items():
        print(f"{part}: between the two largest, seconds grow with the power {value:.2f}   (target at most {SLOPE})")
    print(
        f"targets: {LIVE_SECONDS:g} s and {LIVE_MIB:g} MiB live, {REPLICA_HOURS_A_MINUTE:,.0f} replica-hours a minute"
    )


def wide(replicas: int, only: str | None) -> Iterator[tuple[str, list[Row]]]:
    """Many servers for an hour: recommended live in three sizes, then replayed in three sizes."""
    kinds = fleets.KINDS[:5]
    sizes = [(r"-[01]", 10), (r"-1?[0-9]", 100), ("", 1000)][: 3 if replicas > 100 else 2]
    seconds = fleets.HOUR + AHEAD_SECONDS
    pods = fleets.replicas(kinds, replicas // len(kinds), seconds=seconds, troubled=False)
    with history(pods, fleets.HOUR) as url:
        if only != "wide":
            for name, more in (("a row a server", ()), ("a row a workload", GROUPED)):
                command = ("recommend", "--prometheus-url", url, "-o", "json", *more)
                yield (
                    f"recommend, {name}",
                    [
                        measured(f"recommend, {name}", count, 0.0, url, (*command, *_matching(pods_like)), repeats=5)
                        for pods_like, count in sizes
                    ],
                )
        if only != "live":
            command = ("backtest", "--prometheus-url", url, "--since", "1h", "-o", "json")
            yield (
                "backtest of 1 h over servers",
                [
                    measured("backtest of 1 h", count, float(count), url, (*command, *_matching(pods_like)), repeats=3)
                    for pods_like, count in sizes
                ],
            )


def week(days: int) -> Iterator[tuple[str, list[Row]]]:
    """Twenty servers of four workloads, whose load follows the day: replayed in three lengths, and server by server."""
    seconds = days * fleets.DAY
    pods = fleets.replicas(fleets.WEEK, 5, seconds=seconds)
    with history(pods, seconds, 0.0) as url:
        hours = int(seconds / 3600)
        command = ("backtest", "--prometheus-url", url, "-o", "json")
        found = []
        for part in (4, 2, 1):
            since = ("--since", f"{hours // part}h")
            found.append(measured(f"backtest of {hours // part} h", 20, 0.0, url, (*command, *since), repeats=1))
        yield "backtest of 20 servers over time", found
        by_server = ("--since", f"{days * 2}h", "--group-by", "instance")
        what = f"backtest of {days * 2} h, server by server"
        yield what, [measured(what, 20, 0.0, url, (*command, *by_server), repeats=1)]


def _matching(pods: str) -> tuple[str, ...]:
    return ("--match", f'pod=~".*{pods}"') if pods else ()


@contextmanager
def history(pods: Sequence[Replica], seconds: float, ahead: float = AHEAD_SECONDS) -> Iterator[str]:
    """A Prometheus that holds the last `seconds` of a fleet; its address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        beginning = math.floor(time.time() - seconds)
        samples = store(pods, folder, beginning_unix_seconds=beginning, seconds=seconds + ahead)
        spent = time.monotonic() - began
        print(f"{len(pods)} servers, {samples:,} samples stored in {spent:.0f} s", file=sys.stderr, flush=True)
        with serving(folder) as prometheus:
            yield prometheus.url


def measured(
    what: str, replicas: int, replica_hours: float, url: str, arguments: Sequence[str], *, repeats: int
) -> Row:
    """Medians of some runs; the replica-hours of a backtest are those that it says it counted."""
    runs = [run(url, arguments) for _ in range(repeats)]
    if arguments[0] == "backtest":
        replica_hours = json.loads(runs[0].output)["engine_hours"]
    row = Row(
        what,
        replicas,
        replica_hours,
        median(each.seconds for each in runs),
        median(each.cpu_seconds for each in runs),
        median(each.mebibytes for each in runs),
        median(each.queries for each in runs),
        median(each.megabytes for each in runs),
    )
    print(row.line(), file=sys.stderr, flush=True)
    return row


def run(url: str, arguments: Sequence[str]) -> Ran:
    """Run `controller` once."""
    before = asked(url)
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen([sys.executable, "-m", "controller", *arguments], stdout=output)
        memory = Memory(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        seconds, mebibytes = time.perf_counter() - began, memory.peak()
        output.seek(0)
        text = output.read().decode()
    assert code in (0, 3, 10), f"controller {' '.join(arguments)} ended with {code}"
    after = asked(url)
    return Ran(
        seconds,
        usage.ru_utime + usage.ru_stime,
        mebibytes,
        after[0] - before[0],
        (after[1] - before[1]) / 1e6,
        text,
    )


class Memory:
    """Watches a process and its children: the most memory they held at once, in MiB, shared pages counted once."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def peak(self) -> float:
        """When it has ended."""
        self._over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._over.wait(WATCHED_EVERY_SECONDS):
            self._peak = max(self._peak, sum(_proportional_mebibytes(each) for each in _family(self._pid)))


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _proportional_mebibytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def asked(url: str) -> tuple[float, float]:
    """How many queries this Prometheus has answered, and with how many bytes, by its own count."""
    page = requests.get(f"{url}/metrics", timeout=30).text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("handler") == "/api/v1/query"
        and sample.name.startswith("prometheus_http_response_size_bytes_")
        and "le" not in sample.labels
    }
    name = "prometheus_http_response_size_bytes_"
    return found.get(f"{name}count", 0.0), found.get(f"{name}sum", 0.0)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of a straight line through the logarithms: the power with which the second grows with the first."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x_mean, y_mean = fmean(xs), fmean(ys)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)


if __name__ == "__main__":
    raise SystemExit(main())
