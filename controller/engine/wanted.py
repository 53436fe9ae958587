"""What the body of a PUT asks for, checked as far as it can be without knowing the server."""

import json
import re
from dataclasses import dataclass
from typing import Any

from .schedule import Ranges, Refused, is_integer, read_ranges

TTL_SECONDS = (10, 3600)
"""Shorter, and a hiccup of the network ends a schedule; longer, and a forgotten one outlives its reason."""
BODY_BYTES_MAX = 64 * 1024
OWNER = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
BOOT_ID = re.compile(r"[0-9a-f]{1,64}")
GENERATION_MAX = 2**53
REQUIRED = ("schedule", "ttl_seconds", "owner", "expected")
OPTIONAL = ("allow_k_without_graph",)


@dataclass(frozen=True)
class Wanted:
    """A schedule, and under which condition it is wanted.

    Attributes:
        ranges: `[[first, last, k], ...]`, inclusive batch sizes.
        ttl_seconds: How long it holds unless renewed.
        owner: Who wants it; a name for people, no secret.
        boot_id: The engine that the sender believes to speak to.
        generation: The state that the sender has seen of it.
        allow_k_without_graph: Take a k for which vLLM captured no CUDA graph.
    """

    ranges: Ranges
    ttl_seconds: int
    owner: str
    boot_id: str
    generation: int
    allow_k_without_graph: bool = False


def read_wanted(body: bytes) -> Wanted:
    """What a body asks for.

    Raises:
        Refused: It does not say so; the message tells which part.
    """
    asked = _object(_json(body), "the body", REQUIRED, OPTIONAL)
    expected = _object(asked["expected"], "expected", ("boot_id", "generation"))
    low, high = TTL_SECONDS
    ttl, owner, allow = asked["ttl_seconds"], asked["owner"], asked.get("allow_k_without_graph", False)
    boot_id, generation = expected["boot_id"], expected["generation"]
    if not is_integer(ttl) or not low <= ttl <= high:
        raise Refused(f"ttl_seconds must be an integer from {low} to {high}")
    if not isinstance(owner, str) or not OWNER.fullmatch(owner):
        raise Refused("owner must be 1 to 128 letters, digits or any of . _ : / @ -")
    if not isinstance(allow, bool):
        raise Refused("allow_k_without_graph must be true or false")
    if not isinstance(boot_id, str) or not BOOT_ID.fullmatch(boot_id):
        raise Refused("expected.boot_id must be the boot_id that GET told")
    if not is_integer(generation) or not 0 <= generation <= GENERATION_MAX:
        raise Refused("expected.generation must be the generation that GET told")
    return Wanted(read_ranges(asked["schedule"]), ttl, owner, boot_id, generation, allow)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # not UTF-8, no JSON, a number of 5,000 digits, 10,000 brackets
        raise Refused("the body must be JSON in UTF-8") from None


def _object(value: Any, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object with these keys and no others: a misspelt one must not pass in silence."""
    if not isinstance(value, dict):
        raise Refused(f"{name} must be a JSON object with {', '.join(required)}")
    missing = [key for key in required if key not in value]
    if missing:
        raise Refused(f"{name} lacks {', '.join(missing)}")
    unknown = sorted(key for key in value if key not in required + optional)
    if unknown:
        raise Refused(f"{name} has an unknown key: {ascii(unknown[0])[:80]}")
    return value
