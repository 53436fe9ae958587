"""`controller simulate` in a process of its own, with a token for its plugin."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from loopback import unused_port
from running import PATIENCE_SECONDS

from controller.observe.plugin import PATH

TOKEN: Final = "a-token-of-the-operators"


@dataclass(frozen=True)
class Simulated:
    """A simulated server that can be asked over its port.

    Attributes:
        url: Of the server.
        tokens: The file with its token.
    """

    url: str
    tokens: Path

    @property
    def told(self) -> Any:
        """What its plugin tells."""
        return requests.get(self.url + PATH, timeout=PATIENCE_SECONDS).json()

    def hold(self, k: int, owner: str, ttl_seconds: int = 3600) -> None:
        """Somebody holds one k at every batch size."""
        seen = self.told
        body = {
            "schedule": [[1, seen["max_num_seqs"], k]],
            "ttl_seconds": ttl_seconds,
            "owner": owner,
            "expected": {"boot_id": seen["boot_id"], "generation": seen["generation"]},
        }
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.put(self.url + PATH, json=body, headers=bearer, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text

    def wait_for_owner(self, owner: str | None) -> Any:
        """Wait until this one holds the schedule, None for nobody; what the plugin tells then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (told := self.told)["owner"] != owner:
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        return told


@contextmanager
def simulated(folder: Path, scenario: str, speed: float = 20.0) -> Iterator[Simulated]:
    """A server that plays a scenario, faster than life."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n", "utf-8")
    listen = f"127.0.0.1:{unused_port()}"
    arguments = ["--listen", listen, "--scenario", scenario, "--speed", str(speed), "--plugin-token-file", str(tokens)]
    with subprocess.Popen(
        [sys.executable, "-m", "controller", "simulate", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert listen in process.stderr.readline()
            yield Simulated(f"http://{listen}", tokens)
        finally:
            process.kill()
