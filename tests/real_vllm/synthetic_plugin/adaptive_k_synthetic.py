"""For tests only: a vLLM server on CPU whose acceptance a file sets while it runs. Never shipped.

vLLM accepts drafts at stated rates with `rejection_sample_method: synthetic`, but its CPU build refuses that. This
plugin does there what vLLM's Triton kernel does elsewhere, with the same random numbers, which come from vLLM's
`--seed`, and takes the rates from a file that may be replaced at any time:

    {"rates": [0.3, 0.1]}

`rates[j]` is the probability that draft j is accepted, given that all before it were; the last one holds for every
later position. Use: `PYTHONPATH` with this folder, `VLLM_PLUGINS=adaptive_k_synthetic,...`, and `FILE_VARIABLE` with
the file's path. Without the file, or when it cannot be read as above, the rates that held last go on.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

FILE_VARIABLE = "AK_TEST_ACCEPTANCE_FILE"
LOG = logging.getLogger("vllm.adaptive_k_synthetic")


class LiveRates:
    """Acceptance rates by position that follow a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._rates: tuple[float, ...] | None = None

    def now(self, launched: Sequence[float]) -> Sequence[float]:
        """The file's rates, one for each position of the launch; those of the launch before there is a file."""
        try:
            stat = self._path.stat()
            if (seen := (stat.st_ino, stat.st_mtime_ns)) != self._seen:  # a replaced file has another inode
                self._seen = seen
                self._rates = rates_of(self._path.read_text("utf-8"), len(launched))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            LOG.warning("%s is not used: %s", self._path, error)
        return self._rates or launched


def rates_of(text: str, positions: int) -> tuple[float, ...]:
    """The rates that a file states, drawn out to so many positions.

    Raises:
        ValueError: It is not `{"rates": [...]}` with one to `positions` numbers from 0 to 1.
    """
    document = json.loads(text)
    rates = document.get("rates") if isinstance(document, dict) else None
    if not isinstance(rates, list) or not 1 <= len(rates) <= positions:
        raise ValueError(f'it must be {{"rates": [...]}} with one to {positions} numbers')
    if not all(type(rate) in {int, float} and 0 <= rate <= 1 for rate in rates):
        raise ValueError("each rate must be a number from 0 to 1")
    return tuple(float(rate) for rate in rates + rates[-1:] * (positions - len(rates)))


def register() -> None:
    """Replace the CPU build's greedy kernel by one that knows synthetic acceptance; a second call changes nothing."""
    from vllm.utils import cpu_triton_utils  # noqa: PLC0415  # vLLM imports it only where there is no Triton

    kernel = cpu_triton_utils._rejection_greedy_sample_kernel_impl
    if not hasattr(kernel, "__wrapped__"):
        rates = LiveRates(Path(os.environ[FILE_VARIABLE]))
        cpu_triton_utils._rejection_greedy_sample_kernel_impl = with_synthetic_acceptance(kernel, rates)


def with_synthetic_acceptance(kernel: Callable[..., None], live: LiveRates) -> Callable[..., None]:
    """The kernel with its synthetic mode; the other mode is left as it is."""

    @wraps(kernel)
    def greedy(
        output_token_ids: Any,
        cu_num_draft_tokens: Any,
        draft_token_ids: Any,
        target_argmax: Any,
        bonus_token_ids: Any,
        is_greedy: Any,
        max_spec_len: int,
        uniform_probs: Any = None,
        synthetic_conditional_rates: Any = None,
        SYNTHETIC_MODE: bool = False,  # noqa: N803  # vLLM passes it by this name
    ) -> None:
        arguments = (output_token_ids, cu_num_draft_tokens, draft_token_ids, target_argmax, bonus_token_ids, is_greedy)
        if not SYNTHETIC_MODE:
            kernel(*arguments, max_spec_len)
            return
        rates = live.now(synthetic_conditional_rates.tolist())
        drafted, wanted, draws = draft_token_ids.tolist(), target_argmax.tolist(), uniform_probs.tolist()
        ends = cu_num_draft_tokens.tolist()
        for request, (start, end) in enumerate(pairwise([0, *ends])):
            if is_greedy is not None and not bool(is_greedy[request]):
                continue
            accepted = accepted_drafts(drafted[start:end], draws[start:end], rates)
            row = drafted[start : start + accepted]
            row.append(int(bonus_token_ids[request]) if start + accepted == end else wanted[start + accepted])
            for position, token in enumerate(row):
                output_token_ids[request, position] = token

    return greedy


def accepted_drafts(drafted: Sequence[int], draws: Sequence[float], rates: Sequence[float]) -> int:
    """How many leading drafts are accepted. A negative token is padding and never accepted.

    >>> accepted_drafts([5, 6, 7], [0.1, 0.9, 0.1], [0.5, 0.5, 0.5])
    1
    """
    for position, (token, draw) in enumerate(zip(drafted, draws, strict=True)):
        if token < 0 or draw >= rates[position]:
            return position
    return len(drafted)
