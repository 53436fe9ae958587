"""What is fuzzed: a module for each way in from outside."""

from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

CORPUS: Final = Path(__file__).parent / "corpus"
TARGETS: Final = (
    "exposition", "prometheus_answers", "passes", "checkpoint", "profile", "plugin_body", "plugin_answer",
    "speculative_config", "server_answers", "workload", "scenario_file", "settings_file", "page_query",
)  # fmt: skip


class Target(Protocol):
    """A module of this folder."""

    def check(self, data: bytes) -> None:
        """Raise whatever is no domain error, or AssertionError where what came out is not as it must be."""

    def seeds(self) -> list[bytes]:
        """Inputs to start from."""


def target(name: str) -> Target:
    """A target by its name."""
    found: Target = import_module(f"fuzz.{name}")
    return found


def kept(name: str) -> list[Path]:
    """The inputs that are kept for a target."""
    return sorted((CORPUS / name).iterdir())
