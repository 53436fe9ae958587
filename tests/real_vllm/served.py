"""A running server with one window of load behind it, as the tests are given it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from real_vllm.load import Truth, save_page, send

K_MAX: Final = 4
REQUESTS: Final = 18
"""5,760 tokens in some ten seconds: well over a thousand verified drafts with either method."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One window of load.

    Attributes:
        before: The server's metrics page before the load.
        after: The page after it.
        truth: What the clients saw in between.
    """

    before: Path
    after: Path
    truth: Truth


@dataclass(frozen=True, slots=True)
class Served:
    """A running server with one window of load behind it.

    Attributes:
        url: Its address.
        method: Its drafting method; None without speculation.
        observed: The window.
    """

    url: str
    method: str | None
    observed: Observed


def observe(url: str, folder: Path, requests: int = REQUESTS) -> Observed:
    """Put a window of load on a server that is idle, with a page saved on either side."""
    before = save_page(url, folder / "before.txt")
    truth = send(url, requests)
    return Observed(before, save_page(url, folder / "after.txt"), truth)


def speculative_config(method: str | None, pair: Path) -> dict[str, Any] | None:
    """What `--speculative-config` says for a method; None without speculation."""
    match method:
        case "ngram":
            return {
                "method": method,
                "num_speculative_tokens": K_MAX,
                "prompt_lookup_max": 4,
                "prompt_lookup_min": 2,
            }
        case "draft_model":
            return {"method": method, "num_speculative_tokens": K_MAX, "model": str(pair / "drafter")}
        case "suffix":
            return {"method": method, "num_speculative_tokens": K_MAX}
        case _:
            return None
