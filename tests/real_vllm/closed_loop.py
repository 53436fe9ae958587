"""One closed-loop trace, played the same way on a real server and on a simulated one, and what the pages told of it."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any, Final

import requests

from controller.observe.plugin import read_speculation
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation, StepCounts, measured_between
from controller.observe.vllm_metrics import read_page
from controller.observe.window import Window, between
from controller.simulator.scenario import Scenario
from controller.simulator.scenario_file import read_traces
from controller.simulator.server import SimulatedServer
from real_vllm.environment import say
from real_vllm.live import API_KEY, Live
from real_vllm.load import MODEL, SETTLE_SECONDS
from real_vllm.server import MAX_NUM_SEQS

CONCURRENCIES: Final = (1, 4)
KS: Final = (4, 2, 0)
PROMPT_TOKENS: Final = 32
OUTPUT_TOKENS: Final = 640
"""Long, so that the moment between an answer and its client's next request weighs little."""
TTL_SECONDS: Final = 3600
WINDOWS: Final = 5
"""A stage is read in several; its batch is their median, for clients that hang for a moment would move the mean."""
KEPT_BUSY: Final = 0.9
"""Of the batch that a stage is meant to have; below it the clients were kept from sending, not vLLM's doing."""
STAGE_TRIES: Final = 4
"""A stage whose clients were kept from sending is played again: to send is the measurement's own part."""
REQUEST_STEPS: Final = 250
SHORTEST_SECONDS, LONGEST_SECONDS = 1.5, 2.2
"""A window lasts until `REQUEST_STEPS` have happened, within these limits: six stages and their ends take 85 s."""
TRIES: Final = 4
TOGETHER_SECONDS: Final = 0.2
"""On a busy machine the one may answer a second after the other: then they tell of different stretches of load."""
VOCABULARY: Final = 1000
SIMULATED_STAGE_SECONDS: Final = 240.0
SIMULATED_DRAIN_SECONDS: Final = 120.0
"""Of a phase without clients: what is left of the last requests takes a few seconds."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a server told at one moment.

    Attributes:
        page: Its page.
        plugin: The plugin's document, with what it measured.
        tokens: All tokens that the plugin counted, `other_steps` included.
    """

    page: Snapshot
    plugin: Speculation
    tokens: float


@dataclass(frozen=True, slots=True)
class Part:
    """What happened between two moments.

    Attributes:
        window: By the page.
        steps: By the plugin.
    """

    window: Window
    steps: tuple[StepCounts, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """What happened at one concurrency and one k.

    Attributes:
        concurrency: Clients with one request each.
        k: In force from before its beginning.
        whole: All of it.
        parts: The same, one window after the other.
    """

    concurrency: int
    k: int
    whole: Part
    parts: tuple[Part, ...]

    @property
    def batch(self) -> float:
        """Median over its windows of the decoding requests in a step."""
        return median(part.window.request_steps / part.window.steps for part in self.parts)

    @property
    def step_seconds(self) -> float:
        """By the plugin's clock: the mean step in which all clients' requests decoded, and no prompt was read."""
        seconds = _mean_step(self.whole.steps, self.concurrency, self.k)
        assert seconds is not None, f"no step had all {self.concurrency} requests at k={self.k}"
        return seconds


@dataclass(frozen=True, slots=True)
class Played:
    """A trace that was played.

    Attributes:
        start: What the idle server told before.
        end: What it told when the last request was answered.
        stages: In the order in which they were played.
    """

    start: Told
    end: Told
    stages: tuple[Stage, ...]

    @property
    def window(self) -> Window:
        """All of it, from idle to idle, by the page."""
        return between(self.start.page, self.end.page)


def identities(stage: Stage) -> dict[str, float]:
    """The ratios of a stage's counters that the controller reasons with.

    All but the batch is over the whole stage: a hiccup of the machine is then in the page's times and in the plugin's.
    """
    window, batch = stage.whole.window, stage.batch
    found = {
        "drafts per request-step": window.drafting_share or 0.0,
        "drafts accepted per request-step": window.accepted_tokens / window.request_steps,
        "tokens per request-step": window.decoded_tokens / window.request_steps,
        "decode batch": batch,
        "seconds of a step": window.latency_seconds / window.request_steps,
        "seconds of a token": window.latency_seconds / window.decoded_tokens,
        "decoded tokens per second of steps": batch * window.decoded_tokens / window.latency_seconds,
    }
    if window.drafts:
        found["draft tokens per draft"] = window.mean_draft_length or 0.0
        found["mean acceptance length"] = window.mean_acceptance_length or 0.0
        for position, accepted in enumerate(window.accepted_by_position[: stage.k], start=1):
            found[f"accepted at position {position}"] = accepted / window.drafts
    return found


def told(live: Live) -> Told:
    """What the server tells now; asked again, a few times, where the page and the plugin answered far apart."""
    for _ in range(TRIES):
        began = time.monotonic()
        page = requests.get(f"{live.url}/metrics", timeout=30)
        document = live.ask("GET")
        if time.monotonic() - began < TOGETHER_SECONDS:
            break
    (snapshot,) = read_page(page.text)
    measured = document.json()["measured"]
    tokens = sum(each["tokens"] for each in (*measured["steps"], measured["other_steps"]))
    return Told(snapshot, read_speculation(document.text, live.url), tokens)


def play_on_vllm(live: Live) -> Played:
    """Play the trace on a real server, in some 60 s. An error of a request is raised at the end of its concurrency."""
    stages: list[Stage] = []
    with _clients(live, 1):  # the first requests meet a cold server
        time.sleep(SETTLE_SECONDS)
    time.sleep(SETTLE_SECONDS)
    start = told(live)
    for concurrency in CONCURRENCIES:
        with _clients(live, concurrency):
            for k in KS:
                live.put([[1, MAX_NUM_SEQS, k]], ttl_seconds=TTL_SECONDS)
                time.sleep(SETTLE_SECONDS)
                stages.append(_busy_stage(live, concurrency, k))
    time.sleep(SETTLE_SECONDS)
    return Played(start, told(live), tuple(stages))


def play_on_simulator(server: SimulatedServer, live: Live) -> Played:
    """Play the trace on a started simulated server that stands still; each window takes simulated minutes."""
    stages: list[Stage] = []
    start, pause = told(live), SIMULATED_STAGE_SECONDS / (WINDOWS + 1)

    def wait(_: Live, __: Told) -> None:
        server.advance_to(server.simulated_seconds + pause)

    for concurrency in CONCURRENCIES:
        for k in KS:
            live.put([[1, MAX_NUM_SEQS, k]], ttl_seconds=TTL_SECONDS)
            server.advance_to(len(stages) * SIMULATED_STAGE_SECONDS + pause / 2)
            stages.append(_stage(live, concurrency, k, wait))
    server.advance_to(len(stages) * SIMULATED_STAGE_SECONDS + SIMULATED_DRAIN_SECONDS)
    return Played(start, told(live), tuple(stages))


def scenario_like(real: Played, rates: Sequence[float], folder: Path) -> Scenario:
    """The trace as a scenario, by way of a document: the real server's times of steps, and the acceptance it was set.

    Args:
        real: Where the times come from; they are the only thing that is taken from it.
        rates: By position: the probability that a draft is accepted, given that all before it were.
        folder: Where the document is put.
    """
    survival = [1.0]
    for rate in rates:
        survival.append(survival[-1] * rate)
    times = {(stage.concurrency, stage.k): stage.step_seconds * 1000 for stage in real.stages}
    ks, phases = sorted(KS), range(0, len(times), len(KS))
    fixed = {"spread": 0.0}
    document = {
        "name": "as-on-the-real-engine",
        "description": "Two concurrencies, with the times of steps that a real server took.",
        "duration_seconds": len(times) * SIMULATED_STAGE_SECONDS + SIMULATED_DRAIN_SECONDS,
        "k_max": len(rates),
        "method": "draft_model",
        "max_num_seqs": MAX_NUM_SEQS,
        "cost": {
            "batches": list(CONCURRENCIES),
            "ks": ks,
            "step_ms": [[times[concurrency, k] for k in ks] for concurrency in CONCURRENCIES],
            "prefill_ms_per_token": 1000 * _prompt_token_seconds(real),
            "kv_ms_per_token": 0.0,  # the times were taken at these contexts
        },
        "noise": {"step_sigma": 0.0, "drift_sigma": 0.0},
        "workloads": [
            {
                "name": "text",
                "survival": survival[1:],
                "prompt_tokens": {"mean": PROMPT_TOKENS, **fixed},
                "output_tokens": {"mean": OUTPUT_TOKENS, **fixed},
            }
        ],
        "load": [
            {"start_seconds": index * SIMULATED_STAGE_SECONDS, "mix": {"text": 1.0}, "concurrency": concurrency}
            for index, concurrency in zip((*phases, len(times)), (*CONCURRENCIES, 0), strict=True)
        ],
    }
    path = folder / "scenario.json"
    path.write_text(json.dumps({"version": 1, "scenarios": [document]}), "utf-8")
    (trace,) = read_traces(path)
    return trace.scenario


def _prompt_token_seconds(real: Played) -> float:
    """What a prompt token adds to a step in which others decode, by the steps with and without prompts; at least 0."""
    extra, tokens = 0.0, 0.0
    for stage in real.stages:
        for each in stage.whole.steps:
            plain = _mean_step(stage.whole.steps, each.batch_min, each.k)
            if each.prompt_tokens and plain is not None:
                extra += each.seconds - each.steps * plain
                tokens += each.prompt_tokens
    return max(0.0, extra / tokens) if tokens else 0.0


def _mean_step(steps: Sequence[StepCounts], batch: int, k: int) -> float | None:
    """Mean seconds of the steps at this batch and k that read no prompts; None when there was none."""
    for each in steps:
        if (each.batch_min, each.batch_max, each.k, each.prompt_tokens) == (batch, batch, k, 0):
            return each.seconds / each.steps
    return None


def _busy_stage(live: Live, concurrency: int, k: int) -> Stage:
    """Play it until its clients kept the server busy; when the tries are used up, the last one is judged as it is."""
    for tried in range(1, STAGE_TRIES + 1):
        stage = _stage(live, concurrency, k, _wait_for_steps)
        if stage.batch >= KEPT_BUSY * concurrency:
            break
        say(f"clients were kept from sending: a batch of {stage.batch:.2f} for {concurrency}, try {tried}")
    return stage


def _stage(live: Live, concurrency: int, k: int, wait: Callable[[Live, Told], None]) -> Stage:
    """Read it in windows that follow on one another; `wait` lets time pass, given what was told last."""
    seen = [told(live)]
    for _ in range(WINDOWS):
        wait(live, seen[-1])
        seen.append(told(live))
    parts = tuple(_part(before, after) for before, after in pairwise(seen))
    return Stage(concurrency, k, _part(seen[0], seen[-1]), parts)


def _part(before: Told, after: Told) -> Part:
    measured = measured_between(before.plugin, after.plugin)
    assert measured is not None, "the engine was restarted inside the trace"
    return Part(between(before.page, after.page), measured.steps)


def _wait_for_steps(live: Live, since: Told) -> None:
    began = time.monotonic()
    time.sleep(SHORTEST_SECONDS)
    while time.monotonic() - began < LONGEST_SECONDS:
        (page,) = read_page(requests.get(f"{live.url}/metrics", timeout=30).text)
        if page.latency_samples - since.page.latency_samples >= REQUEST_STEPS:
            return
        time.sleep(0.25)


@contextmanager
def _clients(live: Live, concurrency: int) -> Iterator[None]:
    """So many clients, each with one request at the server at any time; all lengths are fixed."""
    enough = Event()

    def client(number: int) -> None:
        chance = random.Random(1000 * concurrency + number)
        with requests.Session() as session:
            while not enough.is_set():
                prompt = [chance.randrange(1, VOCABULARY) for _ in range(PROMPT_TOKENS)]
                _complete(session, live.url, prompt)

    with ThreadPoolExecutor(concurrency) as pool:
        running = [pool.submit(client, number) for number in range(concurrency)]
        try:
            yield
        finally:
            enough.set()
    for each in running:
        each.result()


def _complete(session: requests.Session, url: str, prompt: Sequence[int]) -> None:
    body: dict[str, Any] = {
        "model": MODEL,
        "prompt": list(prompt),
        "max_tokens": OUTPUT_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    headers = {"Authorization": f"Bearer {API_KEY}"}
    response = session.post(f"{url}/v1/completions", json=body, headers=headers, timeout=60)
    response.raise_for_status()
    usage = response.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (PROMPT_TOKENS, OUTPUT_TOKENS)
