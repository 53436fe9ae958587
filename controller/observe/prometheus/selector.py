"""Which servers, made into queries; `match` is what stands between the braces of a selector."""

from collections.abc import Iterable

from controller.observe.vllm_metrics import ALWAYS, PREFIXES


def selector(names: Iterable[str], match: str) -> str:
    """Every series of some of vLLM's metrics, in both spellings, of the servers that match.

    >>> selector(["generation_tokens_total"], 'namespace="llm"')
    '{__name__=~"vllm:generation_tokens_total|vllm_generation_tokens_total",namespace="llm"}'
    """
    spelt = "|".join(prefix + name for name in names for prefix in PREFIXES)
    return f'{{__name__=~"{spelt}"{"," if match else ""}{match}}}'


def ranged(names: Iterable[str], match: str, seconds: float) -> str:
    """The raw samples of the last `seconds`."""
    return f"{selector(names, match)}[{max(1, round(seconds * 1e3))}ms]"


def inventory(labels: tuple[str, ...]) -> str:
    """How many engines there are by some labels, whatever was asked for."""
    return f"count by ({','.join(labels)}) ({selector([ALWAYS], '')})"


def newest(match: str, seconds: float) -> str:
    """When the youngest sample of the servers that match was taken, as far back as `seconds`."""
    span = f"{round(seconds)}s"
    return f"max(max_over_time(timestamp({selector([ALWAYS], match)})[{span}:1m]))"
