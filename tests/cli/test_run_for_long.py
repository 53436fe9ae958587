"""Ten minutes of `controller run --mode apply` beside a server under load leave the process as it was."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from running import Running, running
from simulated import simulated

from controller.commands.exit_codes import OK
from controller.loop import JITTER, SHORT_SHARE

OWNER: Final = "the-sidecar"
INTERVAL_SECONDS: Final = 2.0
WARM_UP_SECONDS: Final = 120.0
SECONDS: Final = 480.0
DAY_SPEED: Final = 12.0
"""The scenario's day, which lasts two hours, passes in these ten minutes."""
MEBIBYTE: Final = 2**20
PATHS: Final = ("/metrics", "/", "/?live", "/recommendation", "/livez", "/readyz", "/nothing")


@dataclass(frozen=True)
class Held:
    """What a process holds, and what it has used."""

    resident_bytes: int
    file_handles: int
    threads: int
    processor_seconds: float


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_minutes_under_load_leave_the_process_as_it_was(tmp_path: Path) -> None:
    """Memory, file handles and threads; no failure in the log, no request on its port lost, and no busy loop."""
    control = ("--mode", "apply", "--owner", OWNER, "--interval-seconds", str(INTERVAL_SECONDS))
    with simulated(tmp_path, "day-curve", DAY_SPEED) as server:
        files = ("--plugin-token-file", str(server.tokens), "--checkpoint", str(tmp_path / "checkpoint"))
        with running(server.url, *control, *files) as sidecar:
            sidecar.wait_for(lambda line: line["event"] == "decision")
            with visitors(sidecar):
                threading.Event().wait(WARM_UP_SECONDS)
            warm, passes = at_rest(sidecar), len(decisions(sidecar))
            with visitors(sidecar) as statuses:
                threading.Event().wait(SECONDS)
            end, passes = at_rest(sidecar), len(decisions(sidecar)) - passes
            assert server.told["owner"] == OWNER
            assert sidecar.end() == OK
    assert end.resident_bytes - warm.resident_bytes < 2 * MEBIBYTE
    assert (end.file_handles, end.threads) == (warm.file_handles, warm.threads)
    assert [line for line in sidecar.log if line["event"] == "failure"] == []
    assert set(statuses) == {200, 404}
    assert {"applied", "renewed"} <= {line["outcome"] for line in decisions(sidecar)}
    # a loop that never waits would make passes without end, and use a core
    assert 0.5 * SECONDS / INTERVAL_SECONDS < passes < 1.2 * SECONDS / (INTERVAL_SECONDS * SHORT_SHARE * (1 - JITTER))
    assert end.processor_seconds - warm.processor_seconds < 0.25 * SECONDS


def decisions(sidecar: Running) -> list[dict[str, object]]:
    """One a pass."""
    return [line for line in sidecar.log if line["event"] == "decision"]


@contextmanager
def visitors(sidecar: Running) -> Iterator[list[int]]:
    """Three clients that ask its port for everything, five times a second each; the statuses of what they get."""
    statuses: list[int] = []
    gone = threading.Event()

    def visit(first: int) -> None:
        turn = first
        while not gone.wait(0.2):
            statuses.append(sidecar.get(PATHS[turn % len(PATHS)])[0])
            turn += 1

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        gone.set()
        for thread in threads:
            thread.join()


def at_rest(sidecar: Running) -> Held:
    """What it holds between two passes, when the last visitor's connection is closed."""
    seen = [held(sidecar.process.pid)]
    while len(seen) < 5 or len({each.file_handles for each in seen[-5:]}) > 1:
        time.sleep(INTERVAL_SECONDS / 10)
        seen.append(held(sidecar.process.pid))
    return seen[-1]


def held(pid: int) -> Held:
    """By the kernel's word."""
    process = Path(f"/proc/{pid}")
    numbers = dict(line.split(":", 1) for line in (process / "status").read_text("utf-8").splitlines())
    ticks = (process / "stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
    return Held(
        resident_bytes=1024 * int(numbers["VmRSS"].split()[0]),
        file_handles=len(list((process / "fd").iterdir())),
        threads=int(numbers["Threads"]),
        processor_seconds=sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
    )
