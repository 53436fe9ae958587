"""Live control of a real server: k follows what the traffic accepts, down and up again, and no request notices."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from controller.observe.vllm_metrics import read_page
from real_vllm.live import Live, load
from real_vllm.load import CONCURRENCY, SETTLE_SECONDS
from real_vllm.served import K_MAX
from real_vllm.sidecar import BUSY, Sidecar, running_sidecar
from real_vllm.synthetic import Synthetic, synthetic_server

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(1800), pytest.mark.flaky(reruns=1)]

PATIENCE_SECONDS: Final = 400
"""A pass takes a second and following takes some; a busy machine, or a probe that had bad luck, gets its time."""
EASY: Final = (0.95,)
HOPELESS: Final = (0.02,)


@pytest.fixture(scope="module")
def server(python: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synthetic]:
    """A server with a draft model, whose acceptance is set by the test."""
    with synthetic_server(python, pair, tmp_path_factory.mktemp("synthetic")) as synthetic:
        yield synthetic


def k_in_force(live: Live) -> int:
    """What the server itself says it drafts for the load of the test."""
    schedule: list[list[int]] = live.get()["schedule"]
    return next(k for low, high, k in reversed(schedule) if low <= CONCURRENCY)


def settled(event: dict[str, Any], low: int, high: int) -> bool:
    """Whether it tells that the k in force, within these, is as good as the best: not a probe, whoever began it.

    A machine whose every core serves tokens may starve the sidecar until its time to live has passed. The launch's k
    is then in force already when it is wanted again, and no change is carried out.
    """
    at_rest = event.get("reason") in {"best_already", "gain_below_minimum"}
    return at_rest and low <= event["k"] <= high


def wait_until(true: Callable[[], bool], sidecar: Sidecar) -> None:
    """Poll until it is true.

    Raises:
        AssertionError: It took too long, or the sidecar ended; the message holds the end of its log.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        told = "\n".join(str(each) for each in sidecar.events()[-12:])
        assert sidecar.process.poll() is None, f"the sidecar ended; its log ends with\n{told}"
        assert time.monotonic() < deadline, f"k did not follow within {PATIENCE_SECONDS} s; the log ends with\n{told}"
        time.sleep(0.5)


def test_k_follows_acceptance_down_and_up_again_and_no_request_fails(server: Synthetic, tmp_path: Path) -> None:
    """High acceptance keeps the k of the launch; at 2% almost nothing is drafted; when it is back, so is k."""
    live = server.live
    live.reset()
    server.accept(*EASY)
    short = ("--cooldown-seconds", "2")
    with (
        load(live) as sent,
        running_sidecar(live.url, live.token_file, tmp_path, *short, interval_seconds=1.0) as sidecar,
    ):
        sidecar.wait_for(lambda event: settled(event, K_MAX - 1, K_MAX), PATIENCE_SECONDS)
        wait_until(lambda: k_in_force(live) >= K_MAX - 1, sidecar)  # a probe may run just now
        before = len(sidecar.events())
        server.accept(*HOPELESS)
        sidecar.wait_for(lambda event: settled(event, 0, 1), PATIENCE_SECONDS, since=before)
        wait_until(lambda: k_in_force(live) <= 1, sidecar)
        turned = len(sidecar.events())
        server.accept(*EASY)
        sidecar.wait_for(lambda event: settled(event, K_MAX - 1, K_MAX), PATIENCE_SECONDS, since=turned)
        wait_until(lambda: k_in_force(live) >= K_MAX - 1, sidecar)
        wait_until(lambda: sidecar.metrics().get("adaptive_k_effective_k", 0) >= 2, sidecar)
        own = sidecar.metrics()
    assert sent.failed == []
    assert sent.answered > 0
    events = sidecar.events()
    assert {each["reason"] for each in events if each["event"] == "failure"} <= BUSY
    assert own["adaptive_k_max_k"] == K_MAX


def test_the_server_accepts_what_the_test_sets(server: Synthetic) -> None:
    """What all else here rests on: of drafts at risk, three in ten at the first position, one in ten after it."""
    server.live.reset()
    server.accept(0.3, 0.1)
    with load(server.live):
        time.sleep(SETTLE_SECONDS)
        before = accepted_by_position(server.live)
        time.sleep(8)
        after = accepted_by_position(server.live)
    drafts, *accepted = (late - early for early, late in zip(before, after, strict=True))
    assert accepted[0] / drafts == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / drafts) ** 0.5)
    assert accepted[1] / accepted[0] == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / accepted[0]) ** 0.5)


def test_a_sidecar_that_ends_leaves_its_schedule_to_its_time_to_live(server: Synthetic, tmp_path: Path) -> None:
    """It was told to end, so that nothing is in doubt: the schedule holds until then, and then the launch's does."""
    live = server.live
    live.reset()
    launch = live.get()["schedule"]
    server.accept(*HOPELESS)
    short = ("--cooldown-seconds", "2", "--ttl-seconds", "10")
    with load(live) as sent:
        with running_sidecar(live.url, live.token_file, tmp_path, *short, interval_seconds=1.0) as sidecar:
            wait_until(lambda: k_in_force(live) <= 1, sidecar)
        wait_until_launch(live, launch)
    assert sent.failed == []


def accepted_by_position(live: Live) -> tuple[float, ...]:
    """What the server counted since its start: drafts, then those accepted at each position."""
    page = requests.get(f"{live.url}/metrics", timeout=10)
    (snapshot,) = read_page(page.text)
    return (float(snapshot.drafts or 0), *snapshot.accepted_by_position)


def wait_until_launch(live: Live, launch: list[list[int]]) -> None:
    """Poll until the launch schedule is in force and nobody holds another."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seen := live.get())["schedule"] != launch or seen["owner"] is not None:
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)
