"""The engine plugin in a real server: its wheel in a folder, its resource, and load on a server with an API key."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import requests

from controller.observe.vllm_metrics import read_page
from real_vllm.load import CONCURRENCY, MODEL, SETTLE_SECONDS, prompts
from real_vllm.server import running_server

PLUGIN: Final = Path(__file__).parents[2] / "engine-plugin"
API_KEY: Final = "key-of-the-models-clients"
TOKEN: Final = "a-token-of-the-operators"
PATH: Final = "/adaptive-k/v1/speculation"
TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Counted:
    """What the server counted between two moments."""

    drafts: int
    draft_tokens: int
    generated_tokens: int


@dataclass(slots=True)
class Sent:
    """The requests of a load: how many were answered, and what went wrong with the others."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Live:
    """A running server with the plugin.

    Attributes:
        url: Its address.
        token_file: Where it reads its tokens from.
        token: The one in there.
    """

    url: str
    token_file: Path
    token: str

    def get(self) -> dict[str, Any]:
        """What GET tells, asked without a token and without the API key."""
        response = requests.get(self.url + PATH, timeout=TIMEOUT_SECONDS)
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    def measured(self) -> dict[str, Any]:
        """What GET tells with a token beside the rest: the counts of the plugin."""
        response = self.ask("GET")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()["measured"]
        return document

    def ask(self, verb: str, body: Any = None, *, token: str | None = None) -> requests.Response:
        """A request with a bearer token; no header at all when it is empty, the right token when it is None."""
        presented = self.token if token is None else token
        headers = {"Authorization": f"Bearer {presented}"} if presented else {}
        data = body if isinstance(body, bytes) else None
        json = None if isinstance(body, bytes) else body
        return requests.request(
            verb, self.url + PATH, json=json, data=data, headers=headers, allow_redirects=False, timeout=TIMEOUT_SECONDS
        )

    def wanted(self, schedule: list[list[int]], **others: Any) -> dict[str, Any]:
        """The body of a PUT on what the server tells now."""
        seen = self.get()
        expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
        return {"schedule": schedule, "ttl_seconds": 60, "owner": "test", "expected": expected, **others}

    def put(self, schedule: list[list[int]], **others: Any) -> dict[str, Any]:
        """Put a schedule in force."""
        response = self.ask("PUT", self.wanted(schedule, **others))
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    def reset(self) -> dict[str, Any]:
        """Return to the launch schedule."""
        response = self.ask("DELETE")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    def complete(self, prompt: str, tokens: int) -> str:
        """A greedy completion of exactly so many tokens."""
        text: str = self.reply(prompt, tokens)["choices"][0]["text"]
        return text

    def reply(self, prompt: str, tokens: int, **others: Any) -> dict[str, Any]:
        """What the server answers to a request for a greedy completion of exactly so many tokens."""
        body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **others}
        response = requests.post(
            f"{self.url}/v1/completions",
            json=body,
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=TIMEOUT_SECONDS,
        )
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        assert answer["usage"]["completion_tokens"] == tokens
        return answer

    def counted_during(self, seconds: float) -> Counted:
        """What the server counts in so many seconds, after what was under way is over."""
        time.sleep(SETTLE_SECONDS)
        before = self.counters()
        time.sleep(seconds)
        after = self.counters()
        return Counted(
            after.drafts - before.drafts,
            after.draft_tokens - before.draft_tokens,
            after.generated_tokens - before.generated_tokens,
        )

    def counters(self) -> Counted:
        """What the server counted since its start."""
        page = requests.get(f"{self.url}/metrics", timeout=TIMEOUT_SECONDS)
        (snapshot,) = read_page(page.text)
        return Counted(int(snapshot.drafts or 0), int(snapshot.draft_tokens or 0), int(snapshot.generated_tokens))


@contextmanager
def live_server(
    python: Path,
    target: Path,
    config: Mapping[str, Any],
    folder: Path,
    *,
    api_servers: int = 1,
    api_key: str | None = API_KEY,
    more_plugins: Sequence[str] = (),
    more_paths: Sequence[Path] = (),
    more_environment: Mapping[str, str] | None = None,
    more_arguments: Sequence[str] = (),
) -> Iterator[Live]:
    """A server with the plugin from a read-only folder and a token for it.

    Args:
        python: The interpreter with vLLM.
        target: The model.
        config: Its `--speculative-config`.
        folder: Where plugin and token are put.
        api_servers: Processes that answer HTTP.
        api_key: What clients of the model need; None for a server that is open to them.
        more_plugins: Plugins beside ours, by name.
        more_paths: Where they, and what else vLLM imports, lie.
        more_environment: What they read.
        more_arguments: Of `vllm serve`; of one that is given twice the last counts.
    """
    token_file = folder / "tokens"
    token_file.write_text(f"{TOKEN}\n", "utf-8")
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, (install_plugin(folder), *more_paths))),
        "VLLM_PLUGINS": ",".join(("adaptive_k", *more_plugins)),
        "AK_VLLM_TOKEN_FILE": str(token_file),
        **(more_environment or {}),
    }
    with running_server(
        python,
        target,
        config,
        api_servers=api_servers,
        extra_arguments=[*([f"--api-key={api_key}"] if api_key else []), *more_arguments],
        extra_environment=environment,
    ) as url:
        yield Live(url, token_file, TOKEN)


def install_plugin(folder: Path) -> Path:
    """Build the wheel and install it as a pod would have it: a folder that nobody writes to, for PYTHONPATH."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    wheels, site = folder / "wheel", folder / "site"
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(PLUGIN)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = wheels.glob("adaptive_k_vllm-*.whl")
    install = [*pip, "install", "--no-deps", "--no-compile", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    for path in (*site.rglob("*"), site):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return site


@contextmanager
def load(live: Live, *, tokens: int = 96) -> Iterator[Sent]:
    """Keep requests in flight while the block runs; each is counted as answered or failed."""
    enough, sent, lock = threading.Event(), Sent(), threading.Lock()

    def client(number: int) -> None:
        for prompt in islice(prompts(), number, None, CONCURRENCY):
            if enough.is_set():
                return
            try:
                live.complete(prompt, tokens)
            except (requests.RequestException, AssertionError) as error:
                with lock:
                    sent.failed.append(repr(error))
                return
            with lock:
                sent.answered += 1

    with ThreadPoolExecutor(CONCURRENCY) as clients:
        running = [clients.submit(client, number) for number in range(CONCURRENCY)]
        try:
            yield sent
        finally:
            enough.set()
    for each in running:
        each.result()
