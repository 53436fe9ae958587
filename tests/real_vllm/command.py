"""The command `controller`, run as its users run it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    status: int
    output: str
    complaint: str

    @property
    def document(self) -> dict[str, Any]:
        """Its output as the JSON document."""
        parsed: dict[str, Any] = json.loads(self.output)
        return parsed

    @property
    def server(self) -> dict[str, Any]:
        """The document's only server."""
        (server,) = self.document["servers"]
        found: dict[str, Any] = server
        return found


def controller(*arguments: object) -> Ran:
    """Run the command with the tests' own interpreter, and nothing of it set by the environment.

    Raises:
        AssertionError: It did not end; with what it was doing.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAPTIVE_K_")}
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "controller", *map(str, arguments)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, complaint = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            doing = _doing(process.pid)
            process.send_signal(signal.SIGABRT)  # faulthandler then writes where it is
            output, complaint = process.communicate()
            raise AssertionError(f"still there after {PATIENCE_SECONDS} s: {doing}\n{complaint}\n{output}") from None
    return Ran(process.returncode, output, complaint)


def _doing(pid: int) -> str:
    """The state of each of its threads, and what each waits for in the kernel."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        state = (task / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
        found.append(f"thread {task.name} {state} in {(task / 'wchan').read_text('ascii', 'replace') or '?'}")
    return "; ".join(found) or "no thread left"
