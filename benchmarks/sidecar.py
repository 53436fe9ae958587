"""What `controller run --mode apply` costs beside a simulated server with eight workloads, as a process of its own."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from controller.observe.plugin import PATH
from controller.simulator.scenario import Phase, Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer

INTERVAL_SECONDS: Final = 5.0
SCRAPE_SECONDS: Final = 15.0
"""Prometheus asks the sidecar's own port as often."""
SETTLE_SECONDS: Final = 60.0
"""A server that was just met is explored: while a probe runs, a pass comes every 1.5 s instead of every 5."""
WORKLOADS: Final = 8
TOKEN: Final = "a-token-of-the-benchmark"
IMPORTS: Final = "import gc; gc.disable(); import controller.cli, controller.commands.run"  # as `controller` begins


@dataclass(frozen=True)
class Cost:
    """What the process took.

    Attributes:
        rss_mib: Resident memory at the end.
        cpu_share: Processor seconds per second, after the first minute.
        scraped_bytes: What is read from the server in each pass: its page and its plugin's document.
    """

    rss_mib: float
    cpu_share: float
    scraped_bytes: int


def run_cost(seconds: float) -> Cost:
    """The sidecar watched for so long, its port scraped meanwhile."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (server, tokens):
        scraped = sum(len(_get(server.url + path, TOKEN)) for path in ("/metrics", PATH))
        with _running(server.url, tokens, Path(folder)) as (process, port):
            _first_page(process, port)
            _scrape(port, SETTLE_SECONDS)
            began, used = time.monotonic(), _processor_seconds(process.pid)
            _scrape(port, seconds)
            share = (_processor_seconds(process.pid) - used) / (time.monotonic() - began)
            status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
            (kibibytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
            return Cost(int(kibibytes) / 1024, share, scraped)


def _scrape(port: str, seconds: float) -> None:
    """As Prometheus does, for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(SCRAPE_SECONDS, left))
        _get(port)


def startup_seconds(repeats: int) -> tuple[float, ...]:
    """From the start of the process to its first answer on /metrics."""
    samples = []
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (server, tokens):
        for _ in range(repeats):
            began = time.perf_counter()
            with _running(server.url, tokens, Path(folder)) as (process, port):
                _first_page(process, port)
                samples.append(time.perf_counter() - began)
    return tuple(samples)


def import_milliseconds() -> dict[str, float]:
    """By package, the time that importing its modules takes, the longest first; what they import is counted there."""
    command = [sys.executable, "-X", "importtime", "-c", IMPORTS]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    taken = Counter[str]()
    for microseconds, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", told):
        package = name.split(".")[0]
        taken["the standard library" if package in sys.stdlib_module_names else package] += int(microseconds)
    return {name: count / 1000 for name, count in taken.most_common()}


@contextmanager
def _server(folder: Path) -> Iterator[tuple[SimulatedServer, Path]]:
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n", "utf-8")
    with SimulatedServer(eight_workloads(), token_file=tokens) as server:
        yield server, tokens


def eight_workloads() -> Scenario:
    """Those of a mix, some of them several times."""
    mixed = SCENARIOS["mixed-workloads"]
    kinds = [mixed.workloads[number % len(mixed.workloads)] for number in range(WORKLOADS)]
    workloads = tuple(replace(kind, name=f"tenant-{number}") for number, kind in enumerate(kinds))
    traffic = Phase(0, tuple((each.name, 1.0) for each in workloads), concurrency=32)
    return replace(mixed, workloads=workloads, phases=(traffic,), events=(), loop_seconds=None)


@contextmanager
def _running(url: str, tokens: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        listen = f"127.0.0.1:{unused.getsockname()[1]}"
    settings = ("--interval-seconds", str(INTERVAL_SECONDS), "--listen", listen, "--mode", "apply")
    files = ("--plugin-token-file", str(tokens), "--checkpoint", str(folder / "checkpoint"))
    process = subprocess.Popen(
        [sys.executable, "-m", "controller", "run", "--url", url, *settings, *files],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # as in the image
    )
    try:
        yield process, f"http://{listen}/metrics"
    finally:
        process.terminate()
        process.wait()


def _first_page(process: subprocess.Popen[bytes], port: str) -> None:
    while process.poll() is None:
        try:
            _get(port)
        except urllib.error.URLError:
            time.sleep(0.002)
        else:
            return
    raise RuntimeError(f"controller run ended with {process.returncode}")


def _get(url: str, token: str | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return bytes(response.read())


def _processor_seconds(pid: int) -> float:
    """Of all its threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9
