"""What a request calls itself, as far as it is believed."""

import re
from typing import Any

from .ledger import OTHER, WORKLOADS_MAX

VARIABLE = "AK_VLLM_WORKLOADS"
"""Workloads that keep their slot though they are quiet, separated by commas; read by the engine when it starts."""
EXTRA_ARGUMENT = "workload"
LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


def workload_of(request: Any, model: str) -> str:
    """The label that a request of vLLM carries in `vllm_xargs`, else the name of its adapter, else `model`.

    A label comes from a client: one that is no label counts as `other` instead of being repaired, so that nobody's
    text enters a report.
    """
    extra = getattr(request.sampling_params, "extra_args", None)
    if extra and EXTRA_ARGUMENT in extra:
        label = extra[EXTRA_ARGUMENT]
        return label if isinstance(label, str) and LABEL.fullmatch(label) else OTHER
    return model if request.lora_request is None else as_label(request.lora_request.lora_name)


def as_label(name: str) -> str:
    """The name of a model or an adapter as a label; its operator chose it, so it is repaired.

    >>> as_label("meta-llama/Llama-3.1-8B")
    'meta-llama_Llama-3.1-8B'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:64] or OTHER


def configured(listed: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels that the environment lists, and what it lists in vain: no labels, or one too many.

    >>> configured("chat, code,,a b")
    (('chat', 'code'), ('a b',))
    """
    names = tuple(dict.fromkeys(name.strip() for name in (listed or "").split(",") if name.strip()))
    labels = tuple(name for name in names if LABEL.fullmatch(name) and name != OTHER)[:WORKLOADS_MAX]
    return labels, tuple(name for name in names if name not in labels)
