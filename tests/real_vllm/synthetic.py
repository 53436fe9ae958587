"""A real server with the engine plugin and with acceptance that a test sets while it runs."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from real_vllm.live import Live, live_server
from real_vllm.served import K_MAX, speculative_config

PLUGIN: Final = Path(__file__).with_name("synthetic_plugin")
FILE_VARIABLE: Final = "AK_TEST_ACCEPTANCE_FILE"


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A running server with a draft model whose drafts are accepted as a file says.

    Attributes:
        live: The server.
        acceptance_file: What it reads its rates from, before every verification.
    """

    live: Live
    acceptance_file: Path

    def accept(self, *rates: float) -> None:
        """Accept each draft with these probabilities from now on; see `synthetic_plugin`."""
        set_acceptance(self.acceptance_file, rates)


def set_acceptance(file: Path, rates: Sequence[float]) -> None:
    """Replace the file whole: the server never reads half of it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"rates": list(rates)}), "utf-8")
    fresh.replace(file)


@contextmanager
def synthetic_server(python: Path, pair: Path, folder: Path) -> Iterator[Synthetic]:
    """Start it; every draft is accepted with probability 0.5 at first."""
    acceptance_file = folder / "acceptance.json"
    set_acceptance(acceptance_file, (0.5,))
    config = {
        **(speculative_config("draft_model", pair) or {}),
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_length": 1 + K_MAX / 2,
    }
    with live_server(
        python,
        pair / "target",
        config,
        folder,
        api_key=None,
        more_plugins=["adaptive_k_synthetic"],
        more_paths=[PLUGIN],
        more_environment={FILE_VARIABLE: str(acceptance_file)},
    ) as live:
        yield Synthetic(live, acceptance_file)
