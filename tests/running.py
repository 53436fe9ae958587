"""`controller run` in a process of its own, its log as it comes, and its port."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback import unused_port

PATIENCE_SECONDS = 20.0


@dataclass
class Running:
    """A sidecar in a process of its own, and its log as it comes."""

    process: subprocess.Popen[str]
    address: str
    log: list[dict[str, Any]] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    grown: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Take in the log until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.grown:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.rest.append(line)
                self.grown.notify_all()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], since: int = 0) -> int:
        """Wait for a line of the log; returns how many lines there were up to it."""

        def position() -> int:
            return next((index + 1 for index in range(since, len(self.log)) if wanted(self.log[index])), 0)

        with self.grown:
            assert self.grown.wait_for(position, timeout=PATIENCE_SECONDS), (self.log, self.rest)
            return position()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a path of its own port."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=PATIENCE_SECONDS) as response:
                return int(response.status), response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def running(url: str | None, *options: str) -> Iterator[Running]:
    """`controller run` beside a server, or with the options that name many, ten passes a second."""
    address = f"127.0.0.1:{unused_port()}"
    arguments = [*(("--url", url) if url else ()), "--listen", address, "--interval-seconds", "0.1", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "controller", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("ADAPTIVE_K_")},
    )
    sidecar = Running(process, address)
    listener = threading.Thread(target=sidecar.listen)
    listener.start()
    try:
        yield sidecar
    finally:
        process.kill()
        process.wait()
        listener.join()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == ""
        process.stdout.close()
        process.stderr.close()
        assert sidecar.rest == []  # every line of the log is JSON, to the end
