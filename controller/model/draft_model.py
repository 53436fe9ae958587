"""The draft-model analysis: what a small model as drafter should give, and what it costs in truth.

Three times are known of a deployment: one token of the target alone, one token of the drafter alone, and one token of
the two together. The first two say what to expect; the third says what a draft really costs inside the engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from controller.model.speedup import Floats


def seconds_per_token(target_seconds: float, draft_seconds: float, tokens_per_step: ArrayLike, k: ArrayLike) -> Floats:
    """Time per output token with speculation: (target + k draft) / E(k).

    Args:
        target_seconds: One step of the target, which verifies as fast as it decodes; above 0.
        draft_seconds: One draft token, 0 or more.
        tokens_per_step: E(k), the mean acceptance length, bonus token included; 1 to k + 1.
        k: Draft tokens per step, same shape.

    Raises:
        ValueError: An argument outside its range.

    >>> round(float(seconds_per_token(23.65, 2.27, 3.28, 4)), 3)  # any unit of time
    9.979
    """
    tokens, drafts = np.broadcast_arrays(np.asarray(tokens_per_step, float), np.asarray(k, float))
    _refuse_times(target_seconds, draft_seconds)
    _refuse_tokens(tokens, drafts)
    return np.asarray((target_seconds + drafts * draft_seconds) / tokens, float)


def implied_draft_seconds(target_seconds: float, observed_seconds: float, tokens_per_step: float, k: int) -> float:
    """What one draft token costs inside the engine: (E(k) observed - target) / k.

    All that speculation adds to a step is in it: the drafter, verifying the draft, sampling, what the host does.

    Args:
        target_seconds: One step of the target without drafts; above 0.
        observed_seconds: Time per output token at k; above 0.
        tokens_per_step: E(k), bonus token included.
        k: Draft tokens per step, 1 or more.

    Raises:
        ValueError: An argument outside its range; or a time per token that not even a free drafter reaches.

    >>> round(implied_draft_seconds(23.65, 10.46, 3.28, 4), 4)  # any unit of time
    2.6647
    """
    _refuse_times(target_seconds, 0.0)
    if k < 1:
        raise ValueError(f"k is {k}: without a draft there is no draft time")
    _refuse_tokens(np.asarray(tokens_per_step, float), np.asarray(k, float))
    step = tokens_per_step * observed_seconds
    if not step >= target_seconds * (1 - 1e-9):  # NaN fails too; a free drafter may round to less
        raise ValueError(
            f"{tokens_per_step:g} tokens a step at {observed_seconds:g} each make a step of {step:g}, less than the "
            f"target's {target_seconds:g} alone: no drafter is that cheap. Either the acceptance length lacks the "
            "bonus token, or the times are of different loads or units"
        )
    return max(0.0, step - target_seconds) / k


@dataclass(frozen=True, slots=True)
class DraftModelAnalysis:
    """Expected (the drafter as fast as alone) beside current (as the observation implies), for k = 0..k_max.

    Attributes:
        expected_seconds: Time per output token by k.
        current_seconds: Likewise.
        implied_draft_seconds: One draft token inside the engine.
        slowdown: That over the drafter's time alone.
        expected_speedup: At the observed k, over the target alone.
        actual_speedup: Likewise, as observed.
        expected_best_k: The k of the least expected time; ties to the smaller k.
        current_best_k: Likewise of the current.
    """

    expected_seconds: tuple[float, ...]
    current_seconds: tuple[float, ...]
    implied_draft_seconds: float
    slowdown: float
    expected_speedup: float
    actual_speedup: float
    expected_best_k: int
    current_best_k: int


def analyse(
    *,
    target_seconds: float,
    draft_seconds: float,
    tokens_per_step: Sequence[float],
    observed_seconds: float,
    observed_k: int,
) -> DraftModelAnalysis:
    """The whole analysis of one target, its drafter and one observation; any one unit of time.

    Args:
        target_seconds: One token of the target alone.
        draft_seconds: One token of the drafter alone; above 0.
        tokens_per_step: E(k) for k = 0, 1, ..., k_max; the first is 1.
        observed_seconds: One token of both together at `observed_k`.
        observed_k: 1 to k_max.

    Raises:
        ValueError: An argument outside its range.

    >>> found = analyse(target_seconds=20, draft_seconds=2, tokens_per_step=(1, 1.8, 2.4), observed_seconds=11,
    ...     observed_k=2)
    >>> round(found.implied_draft_seconds, 6), found.expected_best_k, round(found.actual_speedup, 3)
    (3.2, 2, 1.818)
    """
    k_max = len(tokens_per_step) - 1
    if not 1 <= observed_k <= k_max:
        raise ValueError(f"observed_k is {observed_k}: acceptance lengths are given for k = 0..{k_max}")
    if not draft_seconds > 0:
        raise ValueError(f"draft_seconds is {draft_seconds}: it must be above 0")
    ks = np.arange(k_max + 1)
    implied = implied_draft_seconds(target_seconds, observed_seconds, tokens_per_step[observed_k], observed_k)
    expected = seconds_per_token(target_seconds, draft_seconds, tokens_per_step, ks)
    current = seconds_per_token(target_seconds, implied, tokens_per_step, ks)
    return DraftModelAnalysis(
        expected_seconds=tuple(expected.tolist()),
        current_seconds=tuple(current.tolist()),
        implied_draft_seconds=implied,
        slowdown=implied / draft_seconds,
        expected_speedup=float(target_seconds / expected[observed_k]),
        actual_speedup=target_seconds / observed_seconds,
        expected_best_k=int(np.argmin(expected)),
        current_best_k=int(np.argmin(current)),
    )


def _refuse_times(target_seconds: float, draft_seconds: float) -> None:
    if not (target_seconds > 0 and draft_seconds >= 0):
        raise ValueError(f"impossible times: target {target_seconds}, draft {draft_seconds}")


def _refuse_tokens(tokens: Floats, drafts: Floats) -> None:
    if not np.all((drafts >= 0) & (tokens >= 1) & (tokens <= drafts + 1)):  # NaN fails too
        raise ValueError(f"tokens per step are outside 1..k+1 (bonus token included): {tokens} at k={drafts}")
