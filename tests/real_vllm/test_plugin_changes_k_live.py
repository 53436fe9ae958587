"""The engine plugin in a real server: k changes under load and comes back, and no request notices."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from real_vllm.live import API_KEY, PATH, TOKEN, Live, live_server, load
from real_vllm.load import SETTLE_SECONDS, prompts
from real_vllm.served import K_MAX, speculative_config
from real_vllm.server import MAX_NUM_SEQS

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(1800)]

NEXT_TOKEN: Final = "the-token-that-replaces-it"
LAUNCH: Final = [[1, MAX_NUM_SEQS, K_MAX]]
OFF: Final = [[1, MAX_NUM_SEQS, 0]]
TTL_SECONDS: Final = 10
CHANGES: Final = 40


@pytest.fixture(scope="module")
def server(python: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with n-gram speculation, an API key and the plugin from a read-only folder."""
    folder, config = tmp_path_factory.mktemp("plugin"), speculative_config("ngram", pair)
    assert config is not None
    with live_server(python, pair / "target", config, folder) as live:
        yield live


@pytest.fixture
def live(server: Live) -> Live:
    """The server as it was launched."""
    server.reset()
    return server


def test_the_state_is_open_to_read_though_the_models_clients_need_a_key(live: Live) -> None:
    """The resource lies outside of /v1, which the API key guards."""
    assert requests.get(f"{live.url}/v1/models", timeout=10).status_code == 401
    told = live.get()
    assert told["protocol"] == 1
    assert (told["method"], told["k_max"], told["max_num_seqs"]) == ("ngram", K_MAX, MAX_NUM_SEQS)
    assert told["launch_schedule"] == told["schedule"] == LAUNCH
    assert (told["owner"], told["expires_in_seconds"], told["writable"]) == (None, None, True)


@pytest.mark.parametrize("token", ["", "not-one-of-the-tokens", TOKEN[:-1], API_KEY])
def test_writing_needs_a_token(live: Live, token: str) -> None:
    """None, a wrong one, a shorter one, the key of the models' clients: 401, and nothing changes."""
    seen = live.get()
    assert live.ask("PUT", live.wanted(OFF), token=token).status_code == 401
    assert live.ask("DELETE", token=token).status_code == 401
    assert live.get() == seen


def test_two_tokens_are_valid_while_one_replaces_the_other(live: Live) -> None:
    """The file is read anew: no restart, and the old token ends with its line."""
    statuses = []
    try:
        for lines in (f"{TOKEN}\n{NEXT_TOKEN}\n", f"{NEXT_TOKEN}\n"):
            live.token_file.write_text(lines, "utf-8")
            statuses.append([live.ask("DELETE", token=token).status_code for token in (TOKEN, NEXT_TOKEN)])
    finally:
        live.token_file.write_text(f"{TOKEN}\n", "utf-8")
    assert statuses == [[200, 200], [401, 200]]


def test_k_follows_the_schedule_under_load_and_delete_returns_at_once(live: Live) -> None:
    """At 0 nothing is drafted, at 2 never more than 2; then as launched, where drafts of 4 occur. Nobody fails."""
    with load(live) as sent:
        live.put(OFF)
        off = live.counted_during(3)
        live.put([[1, MAX_NUM_SEQS, 2]])
        two = live.counted_during(3)
        assert live.reset()["schedule"] == LAUNCH
        launched = live.counted_during(3)
    assert sent.failed == []
    assert sent.answered > 0
    assert (off.drafts, off.draft_tokens) == (0, 0)
    assert off.generated_tokens > 0
    assert 0 < two.draft_tokens <= 2 * two.drafts
    assert launched.draft_tokens > 2 * launched.drafts


def test_a_schedule_that_nobody_renews_ends_under_load(live: Live) -> None:
    """The scheduler itself judges it: nobody asks for the state in between."""
    with load(live) as sent:
        live.put(OFF, ttl_seconds=TTL_SECONDS)
        assert live.counted_during(2).drafts == 0
        time.sleep(TTL_SECONDS - 2)
        assert live.counted_during(3).drafts > 0
    assert sent.failed == []
    assert live.get()["schedule"] == LAUNCH


def test_a_schedule_that_ends_while_the_server_is_idle_is_not_used_again(live: Live) -> None:
    """The first step after idle is one of the launch schedule."""
    generation = live.put(OFF, ttl_seconds=TTL_SECONDS)["generation"]
    time.sleep(TTL_SECONDS + 0.5)
    before = live.counters()
    live.complete(next(prompts()), 200)
    time.sleep(SETTLE_SECONDS)
    assert live.counters().drafts > before.drafts
    assert live.get()["generation"] == generation + 1


def test_a_greedy_reply_is_the_same_to_the_byte_while_k_changes(live: Live) -> None:
    """Real rejection sampling, one request at a time, 300 tokens: k decides how fast, never what."""
    prompt = next(prompts())
    undisturbed = live.complete(prompt, 300)
    before = live.counters()
    enough, replies, generation = threading.Event(), [], live.get()["generation"]

    def switch() -> None:
        ks = random.Random(0)
        while not enough.is_set():
            live.put([[1, MAX_NUM_SEQS, ks.randint(0, K_MAX)]])

    with ThreadPoolExecutor(1) as background:
        switching = background.submit(switch)
        try:
            while live.get()["generation"] < generation + CHANGES and not switching.done():
                replies.append(live.complete(prompt, 300))
        finally:
            enough.set()
    switching.result()
    assert set(replies) == {undisturbed}
    assert live.counters().drafts > before.drafts


def test_a_renewal_keeps_the_generation_and_another_owner_waits(live: Live) -> None:
    """What a controller relies on: who holds a schedule keeps it while it renews."""
    first = live.put(OFF, ttl_seconds=30)
    renewed = live.put(OFF, ttl_seconds=600)
    assert renewed["generation"] == first["generation"]
    assert renewed["expires_in_seconds"] > first["expires_in_seconds"]
    other = live.ask("PUT", live.wanted(LAUNCH, owner="somebody-else"))
    assert other.status_code == 409
    assert "test holds a schedule" in other.json()["error"]
    assert other.json()["current"]["generation"] == first["generation"]


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"schedule": [[1, 8, K_MAX + 1]]}, 422, f"k {K_MAX + 1} is above {K_MAX}"),
        ({"schedule": [[2, 8, 1]]}, 422, "must start at 1"),
        ({"schedule": [[1, 8, True]]}, 422, "three integers"),
        ({"schedule": [[1, 4, 1], [4, 8, 0]]}, 422, "sort them apart"),
        ({"ttl_seconds": 9}, 422, "from 10 to 3600"),
        ({"expected": {"boot_id": "0" * 32, "generation": 0}}, 409, "it was restarted"),
        ({"owner": "x" * 70_000}, 413, "larger than 65536 bytes"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(
    live: Live, change: dict[str, Any], status: int, reason: str
) -> None:
    """Each by its own status and sentence; the state stays as it was."""
    seen = live.get()
    refused = live.ask("PUT", {**live.wanted(OFF), **change})
    assert refused.status_code == status
    assert reason in refused.json()["error"]
    assert live.get() == seen


def test_nonsense_is_refused_and_the_server_serves_on(live: Live) -> None:
    """No body, no JSON, JSON without end, another verb, a slash too many."""
    for body in (b"", b"{", b"[" * 60_000, b"\xff", b"1" * 6_000):
        assert live.ask("PUT", body).status_code == 422
    assert live.ask("POST", {}).status_code == 405
    assert requests.get(f"{live.url}{PATH}/", allow_redirects=False, timeout=10).status_code in {307, 404}
    assert len(live.complete("import os", 16)) > 0
