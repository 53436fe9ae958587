"""Kill -9 of the sidecar, of vLLM and of both: serving goes on where it can, and nothing must be repaired by hand."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import pytest
import requests

from real_vllm.live import Live, load
from real_vllm.relay import Relay, relay
from real_vllm.served import K_MAX
from real_vllm.server import MAX_NUM_SEQS
from real_vllm.sidecar import BUSY, Sidecar, running_sidecar
from real_vllm.synthetic import Synthetic, synthetic_server

pytestmark = [pytest.mark.real_vllm, pytest.mark.slow, pytest.mark.timeout(1800)]

LAUNCH: Final = [[1, MAX_NUM_SEQS, K_MAX]]
EASY: Final = (0.95,)
HOPELESS: Final = (0.02,)
TTL_SECONDS: Final = 20
"""More than a machine whose every core serves tokens keeps a sidecar waiting: five seconds were seen on two cores."""
PATIENCE_SECONDS: Final = 300
OWNER: Final = "sidecar-under-test"


class Servers:
    """One server at a time; the next one is started when the one before was killed."""

    def __init__(self, start: Callable[[], Synthetic]) -> None:
        self._start = start
        self._server: Synthetic | None = None

    def running(self) -> Synthetic:
        """The one that runs, as it was launched."""
        if self._server is None:
            self._server = self._start()
        self._server.live.reset()
        return self._server

    def kill(self) -> None:
        """End the server and its whole process group as the kernel does when memory runs out."""
        assert self._server is not None
        port = self._server.live.url.rpartition(":")[2]
        os.killpg(os.getpgid(_process_with_argument(f"--port={port}")), signal.SIGKILL)
        self._server = None


@pytest.fixture(scope="module")
def servers(python: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers whose acceptance is set by the test."""
    with ExitStack() as stack:
        yield Servers(lambda: stack.enter_context(synthetic_server(python, pair, tmp_path_factory.mktemp("synthetic"))))


def test_a_sidecar_killed_in_mid_change_is_followed_by_the_next_or_by_the_launch_schedule(
    servers: Servers, tmp_path: Path
) -> None:
    """Killed between the engine's change and the answer that tells of it, it is followed by one that goes on.

    That one takes the schedule over as its own; killed as well, it leaves it to its time to live.
    """
    server = servers.running()
    live = server.live
    server.accept(*EASY)
    with load(live) as sent, relay(live.url) as between:
        with sidecar(between, server, tmp_path) as first:
            first.wait_for(lambda event: event.get("reason") == "best_already", PATIENCE_SECONDS)

            def kill_in_mid_change() -> None:
                if live.get()["schedule"] != LAUNCH:  # a renewal changes nothing
                    first.process.kill()

            between.after_put = kill_in_mid_change
            server.accept(*HOPELESS)
            until(lambda: first.process.poll() is not None)
        between.after_put = None
        left = live.get()
        assert left["owner"] == OWNER
        assert left["schedule"] != LAUNCH
        with sidecar(between, server, tmp_path) as second:
            second.wait_for(lambda event: event["event"] == "restored", PATIENCE_SECONDS)
            second.wait_for(lambda event: event.get("outcome") in {"applied", "renewed", "held"}, PATIENCE_SECONDS)
            until(lambda: live.get()["schedule"] != LAUNCH)
            assert failures(second) == []
            second.kill()
        held, answered = live.get(), sent.answered
        assert held["owner"] == OWNER
        until(lambda: live.get()["owner"] is None)
        assert live.get()["schedule"] == LAUNCH
        until(lambda: sent.answered > answered)
    assert sent.failed == []
    assert live.get()["boot_id"] == left["boot_id"] == held["boot_id"]


def test_a_sidecar_outlives_a_killed_server_and_takes_up_the_next_one(servers: Servers, tmp_path: Path) -> None:
    """It tells that the server is gone, stays alive and ready, and changes k in the server that comes back."""
    server = servers.running()
    server.accept(*HOPELESS)
    with relay(server.live.url) as between, sidecar(between, server, tmp_path) as surviving:
        with load(server.live):
            until(lambda: server.live.get()["owner"] == OWNER)
        gone = server.live.get()["boot_id"]
        servers.kill()
        killed = len(surviving.events())
        surviving.wait_for(lambda event: event["event"] == "failure", PATIENCE_SECONDS, since=killed)
        for path in ("livez", "readyz"):
            assert requests.get(f"{surviving.url}/{path}", timeout=10).status_code == 200
        following = servers.running()
        following.accept(*HOPELESS)
        between.server = following.live.url
        token(following.live, tmp_path)
        with load(following.live) as sent:
            until(lambda: following.live.get()["owner"] == OWNER)
        assert sent.failed == []
        assert following.live.get()["boot_id"] != gone
        assert surviving.process.poll() is None


def test_after_a_kill_of_both_the_sidecar_goes_on_from_its_checkpoint(servers: Servers, tmp_path: Path) -> None:
    """What it learnt was saved whole; the new server runs as launched until the sidecar is back."""
    server = servers.running()
    server.accept(*HOPELESS)
    with relay(server.live.url) as between:
        with sidecar(between, server, tmp_path) as first:
            with load(server.live):
                until(lambda: server.live.get()["owner"] == OWNER)
            first.kill()
            servers.kill()
        following = servers.running()
        following.accept(*HOPELESS)
        between.server = following.live.url
        assert following.live.get()["schedule"] == LAUNCH
        with sidecar(between, following, tmp_path) as second, load(following.live) as sent:
            second.wait_for(lambda event: event["event"] == "restored", PATIENCE_SECONDS)
            until(lambda: following.live.get()["owner"] == OWNER)
            assert failures(second) == []
    assert sent.failed == []


def sidecar(between: Relay, server: Synthetic, folder: Path) -> AbstractContextManager[Sidecar]:
    """A sidecar that sees the server through the relay, under the same name each time."""
    return running_sidecar(
        between.url,
        token(server.live, folder),
        folder,
        *("--owner", OWNER, "--ttl-seconds", str(TTL_SECONDS), "--cooldown-seconds", "2"),
        interval_seconds=1.0,
    )


def token(live: Live, folder: Path) -> Path:
    """The sidecar's copy of the server's token, as a Secret mounted into both."""
    copy = folder / "token"
    copy.write_text(live.token_file.read_text("utf-8"), "utf-8")
    return copy


def failures(sidecar: Sidecar) -> list[object]:
    """What its log tells of failures, a refused change among them; not of a busy server that answered too late."""
    return [each for each in sidecar.events() if each["event"] == "failure" and each["reason"] not in BUSY]


def until(true: Callable[[], bool]) -> None:
    """Poll until it is true.

    Raises:
        AssertionError: It took too long.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"it did not come about within {PATIENCE_SECONDS} s"
        time.sleep(0.2)


def _process_with_argument(argument: str) -> int:
    """The process with this argument; the port in it was chosen for our server alone."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and argument.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
        except OSError:
            continue  # it ended while we looked
    raise AssertionError(f"no process has the argument {argument}")
