"""The contract: a page written by vLLM's own metrics classes, from numbers we chose, is read back as those numbers."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(1800)]

K_MAX: Final = 5
ENGINES: Final[dict[str, dict[str, Any]]] = {
    "0": {
        "drafts": [[5, 5], [5, 2], [5, 0], [3, 3]],
        "generated_tokens": 15,
        "latencies_seconds": [0.25, 0.25, 0.5, 0.125],
        "first_tokens_seconds": [1.5],
        "prompt_tokens": 96,
        "preemptions": 1,
        "times_per_output_token_seconds": [0.0625, 0.125],
        "running": 4,
        "waiting": 2,
        "kv_cache_usage": 0.5,
    },
    "1": {
        "drafts": [[1, 1], [2, 1]],
        "generated_tokens": 4,
        "latencies_seconds": [0.5, 0.5],
        "first_tokens_seconds": [],
        "prompt_tokens": 0,
        "preemptions": 0,
        "times_per_output_token_seconds": [],
        "running": 2,
        "waiting": 0,
        "kv_cache_usage": 0.25,
    },
}
"""Binary fractions, so that sums are exact."""


@pytest.fixture(scope="module")
def engines(python: Path) -> dict[str, Snapshot]:
    """What our parser makes of vLLM's page, by engine."""
    written = subprocess.run(
        [str(python), str(Path(__file__).with_name("vllm_page.py"))],
        input=json.dumps({"k_max": K_MAX, "engines": ENGINES}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.returncode == 0, written.stderr[-3000:]
    return {snapshot.engine: snapshot for snapshot in read_page(written.stdout)}


def test_every_engine_of_the_page_is_a_snapshot_of_its_own(engines: dict[str, Snapshot]) -> None:
    """Engines share a page, not their counters."""
    assert [snapshot.key[:2] for snapshot in engines.values()] == [("known", "0"), ("known", "1")]


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_k_max_is_known_before_anything_was_accepted_at_its_last_position(
    engines: dict[str, Snapshot], engine: str
) -> None:
    """vLLM creates a child for every position at start; engine 1 never accepted more than one draft."""
    assert engines[engine].k_max == K_MAX


@pytest.mark.parametrize(
    ("engine", "drafts", "drafted", "accepted", "by_position"),
    [("0", 4, 18, 10, (3, 3, 2, 1, 1)), ("1", 2, 3, 2, (2, 0, 0, 0, 0))],
)
def test_speculation_is_counted_as_it_was_observed(
    engines: dict[str, Snapshot], engine: str, drafts: int, drafted: int, accepted: int, by_position: tuple[int, ...]
) -> None:
    """Drafts, drafted and accepted tokens and accepted tokens by position, to the last one; no `_created` value."""
    read = engines[engine]
    assert read.drafts == drafts
    assert read.draft_tokens == drafted
    assert read.accepted_tokens == accepted
    assert read.accepted_by_position == by_position


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_load_is_counted_as_it_was_observed(engines: dict[str, Snapshot], engine: str) -> None:
    """Steps, tokens, latencies and gauges of one recorded step."""
    read, known = engines[engine], ENGINES[engine]
    assert read.steps == 1
    assert read.generated_tokens == known["generated_tokens"]
    assert read.prompt_tokens == known["prompt_tokens"]
    assert read.preemptions == known["preemptions"]
    assert (read.running, read.waiting) == (known["running"], known["waiting"])


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_latencies_are_read_as_a_count_and_a_sum(engines: dict[str, Snapshot], engine: str) -> None:
    """Buckets are too coarse for a step time; count and sum are exact."""
    read, known = engines[engine], ENGINES[engine]
    assert read.latency_samples == len(known["latencies_seconds"])
    assert read.latency_seconds == sum(known["latencies_seconds"])
    assert read.first_tokens == len(known["first_tokens_seconds"])
