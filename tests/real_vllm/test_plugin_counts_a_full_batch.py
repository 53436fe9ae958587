"""Requests that draft alike are counted together, from a batch on that no other test of a real server reaches."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

import pytest
import requests

from controller.engine.meter import TOGETHER_MIN
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page
from real_vllm.live import Live, live_server
from real_vllm.load import SETTLE_SECONDS, prompts
from real_vllm.served import speculative_config

CLIENTS: Final = TOGETHER_MIN + 4
TOKENS: Final = 200

pytestmark = [pytest.mark.real_vllm, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_full_batch_of_one_workload_counts_as_the_servers_own_page(python: Path, pair: Path, tmp_path: Path) -> None:
    """Verifications, drafts, accepted drafts by position and tokens, exactly, while replies begin and end."""
    config = speculative_config("draft_model", pair)
    assert config is not None
    more = [f"--max-num-seqs={CLIENTS}"]
    with live_server(python, pair / "target", config, tmp_path, more_arguments=more) as live:
        earlier = _page(live)
        with ThreadPoolExecutor(CLIENTS) as clients:
            replies = [*clients.map(lambda prompt: live.reply(prompt, TOKENS), islice(prompts(), 2 * CLIENTS))]
        page, measured = _page(live), live.measured()
    (counted,) = measured["workloads"]
    accepted = zip(page.accepted_by_position, earlier.accepted_by_position, strict=True)
    assert counted["drafts"] == page.drafts - earlier.drafts > 0
    assert sum(counted["drafted"]) == page.draft_tokens - earlier.draft_tokens
    assert counted["accepted"] == [late - early for late, early in accepted]
    steps = [*measured["steps"], measured["other_steps"]]
    assert sum(each["tokens"] for each in steps) == page.generated_tokens == TOKENS * len(replies)
    assert sum(each["steps"] for each in measured["steps"] if each["batch_min"] >= TOGETHER_MIN) > 0


def _page(live: Live) -> Snapshot:
    """Of the idle server."""
    time.sleep(SETTLE_SECONDS)
    (page,) = read_page(requests.get(f"{live.url}/metrics", timeout=30).text)
    return page
