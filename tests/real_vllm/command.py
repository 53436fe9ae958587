"""The command `controller`, run as its users run it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


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
    """Run the command with the tests' own interpreter, and nothing of it set by the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAPTIVE_K_")}
    done = subprocess.run(
        [sys.executable, "-m", "controller", *map(str, arguments)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
