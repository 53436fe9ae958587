"""For tests and benchmarks only: a vLLM server whose acceptance a file sets while it runs. Never shipped.

vLLM accepts drafts at stated rates with `rejection_sample_method: synthetic`. This plugin takes the rates from a file
that may be replaced at any time. On a GPU they go into the tensor that vLLM's kernels read, of the V1 or the V2 runner.
The CPU build refuses that method: there the plugin does what the kernel does elsewhere, with the same random numbers,
which come from vLLM's `--seed`. The file says

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
    """Make this process's rejection sampling follow the file; a second call changes nothing."""
    from vllm.platforms import current_platform  # noqa: PLC0415  # vLLM imports this module before it is ready

    rates = LiveRates(Path(os.environ[FILE_VARIABLE]))
    if not current_platform.is_cpu():
        _follow_on_gpu(rates)
        return
    from vllm.utils import cpu_triton_utils  # noqa: PLC0415  # vLLM imports it only where there is no Triton

    kernel = cpu_triton_utils._rejection_greedy_sample_kernel_impl
    if not hasattr(kernel, "__wrapped__"):
        cpu_triton_utils._rejection_greedy_sample_kernel_impl = with_synthetic_acceptance(kernel, rates)


def _follow_on_gpu(rates: LiveRates) -> None:
    """The samplers of both runners hold their rates in an attribute of one name."""
    from vllm.v1.sample import rejection_sampler as v1  # noqa: PLC0415
    from vllm.v1.worker.gpu.spec_decode import rejection_sampler as v2  # noqa: PLC0415

    for sampler, name in ((v1.RejectionSampler, "forward"), (v2.RejectionSampler, "__call__")):
        method = getattr(sampler, name)
        if not hasattr(method, "__wrapped__"):
            setattr(sampler, name, following(method, rates))


def following(method: Callable[..., Any], live: LiveRates) -> Callable[..., Any]:
    """A sampler's method that first brings its object's rates up to date; the device is asked only for a change."""
    launched: list[float] = []
    in_force: Sequence[float] | None = None

    @wraps(method)
    def sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal launched, in_force
        held = self.synthetic_conditional_rates
        if held is not None:
            launched = launched or held.tolist()
            wanted = live.now(launched)
            if wanted is not in_force:
                held.copy_(held.new_tensor(wanted))
                in_force = wanted
        return method(self, *args, **kwargs)

    return sample


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
