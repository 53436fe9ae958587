"""Which servers, as the operator says it: label matchers, made into queries."""

import re
from typing import Final

from controller.observe.vllm_metrics import ALWAYS, PREFIXES

_STRING: Final = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`"
_MATCHER: Final = rf"\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*(?:{_STRING})\s*"
_MATCHERS: Final = re.compile(rf"(?:{_MATCHER}(?:,{_MATCHER})*,?\s*)?")
LABEL: Final = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
"""A label's name."""


def checked(match: str) -> str:
    """Label matchers without braces around them.

    >>> checked('{namespace="llm", pod=~"chat-.*"}')
    'namespace="llm", pod=~"chat-.*"'

    Raises:
        ValueError: It is not a list of matchers, or names a metric.
    """
    found = match.strip()
    if found.startswith("{") and found.endswith("}"):
        found = found[1:-1].strip()
    if not _MATCHERS.fullmatch(found) or "__name__" in found:
        raise ValueError(
            'matchers as between the braces of a selector are expected, such as namespace="llm",job=~"vllm.*"'
        )
    return found.rstrip(", ")


def selector(name: str, match: str) -> str:
    """Every series of one of vLLM's metrics, in both spellings, of the servers that match.

    >>> selector("generation_tokens_total", 'namespace="llm"')
    '{__name__=~"vllm:generation_tokens_total|vllm_generation_tokens_total",namespace="llm"}'
    """
    names = "|".join(prefix + name for prefix in PREFIXES)
    return f'{{__name__=~"{names}"{"," if match else ""}{match}}}'


def ranged(name: str, match: str, seconds: float) -> str:
    """The raw samples of the last `seconds`."""
    return f"{selector(name, match)}[{max(1, round(seconds * 1e3))}ms]"


def inventory(labels: tuple[str, ...]) -> str:
    """How many engines there are by some labels, whatever was asked for."""
    return f"count by ({','.join(labels)}) ({selector(ALWAYS, '')})"


def newest(match: str, seconds: float) -> str:
    """When the youngest sample of the servers that match was taken, as far back as `seconds`."""
    span = f"{round(seconds)}s"
    return f"max(max_over_time(timestamp({selector(ALWAYS, match)})[{span}:1m]))"
