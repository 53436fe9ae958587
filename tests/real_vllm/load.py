"""Load on a real server, with the truth of it as its clients saw it."""

import json
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import requests

MODEL: Final = "target"
CONCURRENCY: Final = 6
"""Fewer than the server's seats, so that no request queues."""
TOKENS: Final = 320
"""Long, so that the moment by which a busy client reads its first chunk too late weighs little."""
PROMPT_CHARACTERS: Final = 400
TIMEOUT_SECONDS: Final = 120
SETTLE_SECONDS: Final = 1.0
"""The server answers the client first and counts the step a moment later."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One streamed completion.

    Attributes:
        first_chunk_seconds: When the first tokens arrived, on a monotonic clock.
        last_chunk_seconds: When the last tokens arrived.
        tokens: Completion tokens, as the server billed them.
        drafts: Steps that verified a draft; 0 without speculation, as the next two.
        drafted: Tokens drafted.
        accepted: Drafts accepted.
        accepted_by_position: Accepted drafts by position, first draft first.
    """

    first_chunk_seconds: float
    last_chunk_seconds: float
    tokens: int
    drafts: int
    drafted: int
    accepted: int
    accepted_by_position: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What all clients together saw."""

    replies: tuple[Reply, ...]

    @property
    def drafts(self) -> int:
        """Steps that verified a draft."""
        return sum(reply.drafts for reply in self.replies)

    @property
    def drafted(self) -> int:
        """Tokens drafted."""
        return sum(reply.drafted for reply in self.replies)

    @property
    def accepted(self) -> int:
        """Drafts accepted."""
        return sum(reply.accepted for reply in self.replies)

    @property
    def accepted_by_position(self) -> tuple[int, ...]:
        """Drafts accepted, first draft first."""
        return tuple(sum(each) for each in zip(*(reply.accepted_by_position for reply in self.replies), strict=True))

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens per verified draft, bonus token included."""
        return 1.0 + self.accepted / self.drafts

    @property
    def tokens(self) -> int:
        """Completion tokens."""
        return sum(reply.tokens for reply in self.replies)

    @property
    def decode_seconds(self) -> float:
        """From each request's first tokens to its last, summed over the requests."""
        return sum(reply.last_chunk_seconds - reply.first_chunk_seconds for reply in self.replies)


def send(url: str, requests_to_send: int) -> Truth:
    """Send so many requests, `CONCURRENCY` at a time, and wait for the last."""
    with ThreadPoolExecutor(CONCURRENCY) as clients:
        replies = tuple(clients.map(lambda prompt: complete(url, prompt), islice(prompts(), requests_to_send)))
    time.sleep(SETTLE_SECONDS)
    return Truth(replies)


@contextmanager
def steady_load(url: str) -> Iterator[None]:
    """Keep `CONCURRENCY` requests in flight while the block runs; an error of a request is raised at its end."""
    enough = threading.Event()

    def client(number: int) -> None:
        for prompt in islice(prompts(), number, None, CONCURRENCY):
            if enough.is_set():
                return
            complete(url, prompt)

    with ThreadPoolExecutor(CONCURRENCY) as clients:
        running = [clients.submit(client, number) for number in range(CONCURRENCY)]
        try:
            yield
        finally:
            enough.set()
    for each in running:
        each.result()


def prompts() -> Iterator[str]:
    """Pieces of the standard library's source, without end and never the same piece twice in a row."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = [text for file in files if len(text := file.read_text("utf-8", errors="replace")) > 20_000]
    for number in count():
        text = texts[number % len(texts)]
        start = 1_000 + 700 * (number // len(texts)) % 15_000
        yield text[start : start + PROMPT_CHARACTERS]


def complete(url: str, prompt: str) -> Reply:
    """One streamed greedy completion of exactly `TOKENS` tokens."""
    body = {
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with requests.post(f"{url}/v1/completions", json=body, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        lines = response.iter_lines(chunk_size=None)
        chunks = [(time.monotonic(), line) for line in lines if line.startswith(b"data: {")]
    return _reply([arrived for arrived, _ in chunks[:-1]], json.loads(chunks[-1][1].removeprefix(b"data: ")))


def save_page(url: str, path: Path) -> Path:
    """Save the server's metrics page as a bug report would carry it."""
    response = requests.get(f"{url}/metrics", headers={"Accept": "text/plain;version=0.0.4"}, timeout=30)
    response.raise_for_status()
    path.write_bytes(response.content)
    return path


def _reply(arrivals: Sequence[float], usage_chunk: dict[str, Any]) -> Reply:
    """The last chunk of a stream has no choices but the usage, and with speculation the request's own metrics."""
    metrics = (usage_chunk.get("metrics") or {}).get("speculative_decoding") or {}
    histogram = metrics.get("acceptance_histogram", [])
    return Reply(
        first_chunk_seconds=arrivals[0],
        last_chunk_seconds=arrivals[-1],
        tokens=usage_chunk["usage"]["completion_tokens"],
        drafts=metrics.get("num_spec_steps", 0),
        drafted=metrics.get("num_draft_tokens", 0),
        accepted=metrics.get("num_accepted_draft_tokens", 0),
        accepted_by_position=tuple(sum(histogram[position:]) for position in range(1, len(histogram))),
    )
