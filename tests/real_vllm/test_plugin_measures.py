"""The engine plugin in a real server, by method: k follows, and it counts what the server and its clients count.

Each method drafts in another way: a draft model and EAGLE draft k as told, suffix drafts are cut to k afterwards.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page
from real_vllm.environment import say, suffix_package
from real_vllm.live import Live, live_server, load
from real_vllm.load import CONCURRENCY, MODEL, SETTLE_SECONDS, prompts
from real_vllm.served import K_MAX, speculative_config
from real_vllm.server import MAX_NUM_SEQS

TOKENS: Final = 200
LABELS: Final = ("chat", "code", None, "no label; DROP")
"""What requests call themselves, in turn; without a label the model's name counts, and nonsense is `other`."""
SLOW: Final = pytest.mark.slow

pytestmark = [
    pytest.mark.real_vllm,
    pytest.mark.timeout(1800),
    pytest.mark.parametrize(
        "live", ["draft_model", pytest.param("eagle", marks=SLOW), pytest.param("suffix", marks=SLOW)], indirect=True
    ),
]


@dataclass(frozen=True, slots=True)
class Told:
    """What the server told at one moment, on its page and through the plugin."""

    page: Snapshot
    measured: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """What happened on the server while one load ran, and what the replies told of it."""

    before: Told
    after: Told
    replies: tuple[tuple[str | None, dict[str, Any]], ...]

    def workload(self, name: str) -> dict[str, Any]:
        """The plugin's counts of one workload in the window."""
        first, last = (_workloads(told.measured).get(name, {}) for told in (self.before, self.after))
        return {
            "drafts": last.get("drafts", 0) - first.get("drafts", 0),
            **{key: _less(last.get(key, []), first.get(key, [])) for key in ("drafted", "judged", "accepted")},
        }

    def steps(self, key: str) -> float:
        """One number of all steps in the window, those with prompts included."""
        first, last = (_total(told.measured, key) for told in (self.before, self.after))
        return last - first


@pytest.fixture(scope="module")
def live(
    request: pytest.FixtureRequest, python: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A server of the method that the test names, with an API key and the plugin."""
    method: str = request.param
    folder = tmp_path_factory.mktemp(method)
    config = _eagle(pair, folder) if method == "eagle" else speculative_config(method, pair)
    assert config is not None
    beside = [_suffix_or_skip(python)] if method == "suffix" else []
    with live_server(python, pair / "target", config, folder, more_paths=beside) as live:
        yield live


@pytest.fixture(scope="module")
def window(live: Live) -> Window:
    """One load of requests that call themselves all that `LABELS` says."""
    live.reset()
    before = _told(live)
    with ThreadPoolExecutor(CONCURRENCY) as clients:
        labels = [LABELS[number % len(LABELS)] for number in range(3 * CONCURRENCY)]
        replies = clients.map(
            lambda label, prompt: live.reply(prompt, TOKENS, **_xargs(label)), labels, islice(prompts(), len(labels))
        )
        answered = tuple(zip(labels, replies, strict=True))
    return Window(before, _told(live), answered)


def test_k_follows_the_schedule_and_so_do_the_counts(live: Live) -> None:
    """At 0 nothing is drafted, at 2 nothing beyond the second position; then as launched. Nobody fails."""
    with load(live) as sent:
        live.put([[1, MAX_NUM_SEQS, 0]])
        off = _positions_during(live, 2)
        live.put([[1, MAX_NUM_SEQS, 2]])
        two = _positions_during(live, 2)
        live.reset()
        launched = _positions_during(live, 2)
    assert sent.failed == []
    assert sent.answered > 0
    assert off == [0] * K_MAX
    assert two[1] > 0
    assert two[2:] == [0] * (K_MAX - 2)
    assert launched[2] > 0
    ks = {steps["k"] for steps in live.measured()["steps"]}
    assert {0, 2, K_MAX} <= ks


def test_drafts_are_those_of_the_servers_own_page(window: Window) -> None:
    """Over all workloads together, exactly: verifications, drafts, accepted drafts, also by position."""
    page, earlier = window.after.page, window.before.page
    every = [window.workload(name) for name in _workloads(window.after.measured)]
    assert page.drafts > earlier.drafts
    assert sum(one["drafts"] for one in every) == page.drafts - earlier.drafts
    assert sum(sum(one["drafted"]) for one in every) == page.draft_tokens - earlier.draft_tokens
    accepted = [sum(each) for each in zip(*(one["accepted"] for one in every), strict=True)]
    assert accepted == _less(page.accepted_by_position, earlier.accepted_by_position)


def test_workloads_are_told_apart_as_their_requests_name_them(window: Window) -> None:
    """Each reply tells its own drafts; per label they add up to the plugin's counts, exactly."""
    names = {None: MODEL, "no label; DROP": "other"}
    for label in LABELS:
        counted = window.workload(names.get(label, str(label)))
        told = [reply["metrics"]["speculative_decoding"] for sent, reply in window.replies if sent == label]
        assert counted["drafts"] == sum(each["num_spec_steps"] for each in told) > 0
        assert sum(counted["drafted"]) == sum(each["num_draft_tokens"] for each in told)
        assert sum(counted["accepted"]) == sum(each["num_accepted_draft_tokens"] for each in told)


def test_tokens_of_all_steps_are_those_the_clients_got(window: Window) -> None:
    """Steps with prompts and without, first tokens and the cut ends of replies included."""
    assert window.steps("tokens") == window.after.page.generated_tokens - window.before.page.generated_tokens
    assert window.steps("tokens") == TOKENS * len(window.replies)


def test_steps_last_as_long_as_their_requests_felt_them(window: Window) -> None:
    """The mean of the decoding steps, each weighted by its requests, against the page's inter-token latency.

    The latency includes steps that read prompts, which are the longer ones, so it may be somewhat above.
    """
    page, earlier = window.after.page, window.before.page
    felt = (page.latency_seconds - earlier.latency_seconds) / (page.latency_samples - earlier.latency_samples)
    before = {(each["batch_min"], each["k"]): each for each in window.before.measured["steps"]}
    weight = seconds = 0.0
    for each in window.after.measured["steps"]:
        old = before.get((each["batch_min"], each["k"]), dict.fromkeys(each, 0))
        if each["steps"] > old["steps"]:
            requests_then = each["request_steps"] - old["request_steps"]
            weight += requests_then
            seconds += requests_then * (each["seconds"] - old["seconds"]) / (each["steps"] - old["steps"])
    assert seconds / weight == pytest.approx(felt, rel=0.4)


def test_without_a_token_nothing_is_told_of_workloads(live: Live, window: Window) -> None:
    """Their names come from clients; the rest of the state is open."""
    assert window.after.measured["workloads"]
    assert "measured" not in live.get()
    wrong = live.ask("GET", token="not-one-of-the-tokens")
    assert wrong.status_code == 200
    assert "measured" not in wrong.json()


def _xargs(label: str | None) -> dict[str, Any]:
    return {} if label is None else {"vllm_xargs": {"workload": label}}


def _told(live: Live) -> Told:
    """The idle server's page and counts."""
    time.sleep(SETTLE_SECONDS)
    (page,) = read_page(requests.get(f"{live.url}/metrics", timeout=30).text)
    return Told(page, live.measured())


def _workloads(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {workload["name"]: workload for workload in measured["workloads"]}


def _total(measured: dict[str, Any], key: str) -> float:
    return float(sum(steps[key] for steps in (*measured["steps"], measured["other_steps"])))


def _less(after: Any, before: Any) -> list[float]:
    """Element by element; nothing counts as zeros."""
    return [late - early for late, early in zip(after, before or [0] * len(after), strict=True)]


def _positions_during(live: Live, seconds: float) -> list[float]:
    """Drafts by position that the plugin counts in so many seconds, after what was under way is over."""
    time.sleep(SETTLE_SECONDS)
    before = _drafted(live.measured())
    time.sleep(seconds)
    return _less(_drafted(live.measured()), before)


def _drafted(measured: dict[str, Any]) -> list[int]:
    lists = [workload["drafted"] for workload in measured["workloads"]] or [[0] * K_MAX]
    return [sum(each) for each in zip(*lists, strict=True)]


def _eagle(pair: Path, folder: Path) -> dict[str, Any]:
    """EAGLE with a head of one layer and random weights: nearly all its drafts are wrong, and drafted all the same."""
    head = json.loads((pair / "target" / "config.json").read_text("utf-8")) | {"num_hidden_layers": 1}
    (folder / "eagle").mkdir()
    (folder / "eagle" / "config.json").write_text(json.dumps(head), "utf-8")
    dummy = {"load_format": "dummy"}
    model = {"model": str(folder / "eagle"), "draft_load_config": dummy}
    return {"method": "eagle", "num_speculative_tokens": K_MAX, **model}


def _suffix_or_skip(python: Path) -> Path:
    """Where the package lies that suffix decoding needs. Skips where it cannot be compiled; in CI that is a failure."""
    try:
        return suffix_package(python)
    except RuntimeError as error:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(str(error))
        refuse("no suffix decoding on this machine: arctic-inference could not be built; its log is above")
        raise
