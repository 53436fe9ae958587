"""A vLLM server with the engine plugin, as the benchmark drives it: k by the plugin, tokens by its own counters."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from real_vllm.synthetic import set_acceptance

from controller.observe.vllm_metrics import read_page

PATH: Final = "/adaptive-k/v1/speculation"
OWNER: Final = "benchmark"
TTL_SECONDS: Final = 60
TIMEOUT_SECONDS: Final = 30
SETTLE_SECONDS: Final = 0.2
"""After a change of k: some dozens of steps of a small model, and the drafts made under the old k are gone."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: Its address.
        token_file: The plugin's tokens, one a line.
        api_key: The key of `--api-key`, if it has one.
        acceptance_file: Where the synthetic plugin reads its rates; None when acceptance cannot be set.
    """

    url: str
    token_file: Path
    api_key: str | None = None
    acceptance_file: Path | None = None

    def state(self) -> dict[str, Any]:
        """What the plugin tells."""
        return self._ask("GET")

    def fixed_ks(self) -> tuple[int, ...]:
        """Every k that can be put in force here.

        Raises:
            SystemExit: The plugin cannot change k on this server.
        """
        state = self.state()
        if not state["writable"] or state["k_max"] is None:
            raise SystemExit(f"k cannot be changed on {self.url}: {state['read_only_because']}")
        graphs = state["k_with_graph"]
        return tuple(k for k in range(state["k_max"] + 1) if graphs is None or k in graphs)

    def fix(self, k: int) -> None:
        """Put one k in force for every batch."""
        state = self.state()
        schedule = [[1, state["max_num_seqs"], k]]
        expected = {"boot_id": state["boot_id"], "generation": state["generation"]}
        wanted = {"schedule": schedule, "ttl_seconds": TTL_SECONDS, "owner": OWNER, "expected": expected}
        self._ask("PUT", wanted)
        time.sleep(SETTLE_SECONDS)

    def release(self) -> None:
        """Return to the launch schedule, whoever changed it."""
        self._ask("DELETE")

    def accept(self, rates: Sequence[float]) -> None:
        """Accept each draft with these probabilities by position."""
        assert self.acceptance_file is not None
        set_acceptance(self.acceptance_file, rates)

    def tokens_per_second(self, seconds: float) -> float:
        """Generated tokens per second over so many seconds, by the server's own counter."""
        before, began = self._generated_tokens(), time.monotonic()
        time.sleep(seconds)
        after, ended = self._generated_tokens(), time.monotonic()
        return (after - before) / (ended - began)

    def _generated_tokens(self) -> float:
        headers = {"Accept": "text/plain;version=0.0.4"}
        page = requests.get(f"{self.url}/metrics", headers=headers, timeout=TIMEOUT_SECONDS)
        page.raise_for_status()
        return sum(snapshot.generated_tokens for snapshot in read_page(page.text))

    def _ask(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token_file.read_text('utf-8').split()[0]}"}
        response = requests.request(
            verb, self.url + PATH, json=body, headers=headers, allow_redirects=False, timeout=TIMEOUT_SECONDS
        )
        if response.status_code != 200:
            raise SystemExit(f"{verb} {self.url}{PATH} answered {response.status_code}: {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer
