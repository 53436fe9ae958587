"""A schedule that is right, and that some releases of vLLM do not survive."""

from collections.abc import Iterable
from typing import Final

from controller.decide.decision import Schedule
from controller.model.drafter import Method

DRAFTERS: Final = frozenset({Method.DRAFT_MODEL, Method.EAGLE, Method.EAGLE3, Method.MTP})
"""Drafters whose own steps the V2 runner captures."""
ENDS: Final = (
    "vLLM 0.26 to 0.31 (seen with 0.26; the others by their source) ends while it starts with this schedule, where a "
    "model drafts on the V2 runner with full CUDA graphs, by a ZeroDivisionError: run 0.32 or later, or set "
    "VLLM_USE_V2_MODEL_RUNNER=0."
)


def warned(schedules: Iterable[tuple[Schedule, int | None]], method: str | None) -> str:
    """What to know before vLLM is started with these schedules, each with its k_max; empty where there is nothing.

    Seen with vLLM 0.26 on an H100. Its graphs for drafting are sized k - k_max + 1, which is 0 for k one below k_max;
    so they are, by their source, up to 0.31.

    >>> warned([(((1, 256, 3),), 4)], "eagle3") == ENDS
    True
    >>> warned([(((1, 256, 2),), 4)], "eagle3"), warned([(((1, 256, 3),), 4)], "ngram")
    ('', '')
    """
    if method is not None and method not in DRAFTERS:
        return ""
    return ENDS if any(k + 1 == k_max for schedule, k_max in schedules for _, _, k in schedule) else ""
