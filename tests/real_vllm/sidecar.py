"""The sidecar as its users run it: a process beside a server, with its checkpoint, its log and its port."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from prometheus_client.parser import text_string_to_metric_families

from real_vllm.server import free_port

START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
TIMEOUT_SECONDS: Final = 10
CHECKPOINT: Final = "checkpoint.json"
BUSY: Final = {"server_timeout", "plugin_unreachable"}
"""What a sidecar may meet on a machine whose every core serves tokens; a pass is lost, and nothing else."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running `controller run --mode apply`.

    Attributes:
        process: It.
        url: Where it listens.
        log: The file that it logs to, one JSON object a line.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """Its log so far; the last line may still be on its way."""
        lines = self.log.read_text("utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float, *, since: int = 0) -> dict[str, Any]:
        """The first event of its log that is wanted, from the line `since` on.

        Raises:
            AssertionError: It did not come in time, or the sidecar ended; the message holds the end of the log.
        """
        deadline = time.monotonic() + seconds
        while True:
            events = self.events()
            found = next((each for each in events[since:] if wanted(each)), None)
            if found is not None:
                return found
            told = "\n".join(str(each) for each in events[-12:])
            assert self.process.poll() is None, f"the sidecar ended with status {self.process.returncode}:\n{told}"
            assert time.monotonic() < deadline, f"it did not come within {seconds:g} s; the log ends with\n{told}"
            time.sleep(0.2)

    def metrics(self) -> dict[str, float]:
        """Its own metrics: the value of each sample by name, summed over labels."""
        page = requests.get(f"{self.url}/metrics", timeout=TIMEOUT_SECONDS)
        page.raise_for_status()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(page.text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    def kill(self) -> None:
        """End it as the kernel does when memory runs out: it learns nothing of it."""
        self.process.kill()
        self.process.wait(timeout=STOP_SECONDS)


@contextmanager
def running_sidecar(
    url: str, token_file: Path, folder: Path, *options: str, interval_seconds: float
) -> Iterator[Sidecar]:
    """Run it while the block runs. What it learnt stays in the folder for its next start, and so does its log.

    Raises:
        RuntimeError: It ended while starting; the message holds the end of its log.
    """
    address = f"127.0.0.1:{free_port()}"
    arguments = [
        *(sys.executable, "-m", "controller", "run", "--mode", "apply", "--url", url, "--listen", address),
        *("--plugin-token-file", str(token_file), "--interval-seconds", str(interval_seconds)),
        *("--checkpoint", str(folder / CHECKPOINT), *options),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ADAPTIVE_K_")}
    log = folder / f"sidecar-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(arguments, env=inherited, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        _wait_until_alive(f"http://{address}/livez", process, log)
        yield Sidecar(process, f"http://{address}", log)
    finally:
        _end(process)


def _wait_until_alive(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if requests.get(address, timeout=TIMEOUT_SECONDS).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    told = log.read_text("utf-8", errors="replace")[-3000:]
    raise RuntimeError(f"the sidecar did not start (status {process.poll()}):\n{told}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
