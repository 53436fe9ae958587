"""The engine plugin behind several API servers: whichever of them answers, there is one engine and one schedule."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from controller.observe.vllm_metrics import read_page
from real_vllm.live import Live, live_server, load
from real_vllm.served import K_MAX, speculative_config
from real_vllm.server import MAX_NUM_SEQS

pytestmark = [pytest.mark.real_vllm, pytest.mark.slow, pytest.mark.timeout(1800)]

API_SERVERS: Final = 2
CHANGES: Final = 30
WRITERS: Final = 4
ASKED: Final = 4
"""Each question is a connection of its own, and the kernel gives it to either server: all to one is 1 in 8 a round."""


@pytest.fixture(scope="module")
def live(python: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with a draft model, two API servers, and the plugin."""
    folder, config = tmp_path_factory.mktemp("several"), speculative_config("draft_model", pair)
    assert config is not None
    with live_server(python, pair / "target", config, folder, api_servers=API_SERVERS) as live:
        yield live


def test_there_are_several_of_them(live: Live) -> None:
    """What all else here rests on: only a server of one process can say when its counters were created."""
    (snapshot,) = read_page(requests.get(f"{live.url}/metrics", timeout=30).text)
    assert snapshot.created_seconds is None


def test_what_one_of_them_puts_in_force_all_of_them_tell_and_no_request_fails(live: Live) -> None:
    """One state of one engine, whoever is asked, while requests run."""
    draws = random.Random(0)
    with load(live) as sent:
        for _ in range(CHANGES):
            schedule = [[1, MAX_NUM_SEQS, draws.randint(0, K_MAX)]]
            put = live.put(schedule)
            told = [live.get() for _ in range(ASKED)]
            assert {each["boot_id"] for each in told} == {put["boot_id"]}
            assert {each["generation"] for each in told} == {put["generation"]}
            assert all(each["schedule"] == schedule for each in told)
    assert sent.failed == []
    assert sent.answered > 0


def test_of_writers_at_once_one_wins_and_the_others_are_told_so(live: Live) -> None:
    """All rest on the same generation: one change is made, and no other is lost in silence."""
    live.reset()
    before = live.get()

    def write(number: int) -> tuple[int, dict[str, Any]]:
        expected = {"boot_id": before["boot_id"], "generation": before["generation"]}
        body = {"schedule": [[1, MAX_NUM_SEQS, number]], "ttl_seconds": 60, "owner": f"writer-{number}"}
        answer = live.ask("PUT", {**body, "expected": expected})
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(WRITERS) as writers:
        answers = list(writers.map(write, range(WRITERS)))
    assert sorted(status for status, _ in answers) == [200, *[409] * (WRITERS - 1)]
    (won,) = (document for status, document in answers if status == 200)
    assert live.get()["schedule"] == won["schedule"]
    assert live.get()["generation"] == before["generation"] + 1
