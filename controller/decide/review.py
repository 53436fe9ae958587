"""Realised against predicted: what a change brought, measured at like load before and after it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import Final

from controller.decide.decision import Bounded

LIKE_LOAD: Final = 1.3
"""Batches within this factor are compared; beyond it the load explains more than k does."""
RECENT_WINDOWS: Final = 12
"""Windows on either side of a change that are compared at most."""
ENOUGH_WINDOWS: Final = 3
"""Windows on either side of a change before it can be called worse: one may be a stall, or be a server's first."""
NOISE_LEAST: Final = 0.02
"""Standard deviation of ln throughput from window to window that is assumed at least."""
REMEMBERED_WINDOWS: Final = 40
_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""


@dataclass(frozen=True, slots=True)
class Realised:
    """What one window yielded.

    Attributes:
        at_seconds: Its end, on a monotonic clock.
        batch: Mean decoding requests.
        k: In force throughout.
        log_rate: ln of the tokens per second of one request, in decoding steps.
        expected_tokens: Tokens per step that its traffic was expected to yield, by k from 0: it tells the traffic
            apart from the work of k.
    """

    at_seconds: float
    batch: float
    k: int
    log_rate: float
    expected_tokens: tuple[float, ...]


class Verdict(StrEnum):
    """What became of a change."""

    PENDING = "pending"
    KEPT = "kept"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Change:
    """A change under review.

    Attributes:
        at_seconds: When it was made, on a monotonic clock.
        batch: For which load.
        k_before: The k until then.
        k_after: The k since.
        predicted: The gain that was expected, as a ratio.
    """

    at_seconds: float
    batch: float
    k_before: int
    k_after: int
    predicted: Bounded


@dataclass(frozen=True, slots=True)
class Review:
    """A change and what it brought so far.

    Attributes:
        change: The change.
        realised: The gain that was measured, as a ratio with 90% bounds; None while windows of like load are missing.
        verdict: What follows.
    """

    change: Change
    realised: Bounded | None
    verdict: Verdict


def review(change: Change, windows: Sequence[Realised]) -> Review:
    """Compare the windows after a change with those before it, at like load.

    A window's rate is divided by the tokens per step that its own traffic would have yielded at the k before, so
    that traffic which became easier or harder is not taken for the work of the change:

        ln gain = mean_after(ln rate - ln E(k_before)) - mean_before(ln rate - ln E(k_before))

    with bounds from the scatter between windows. Worse means that the upper bound lies below 1 (no change), or below
    what was foreseen where fewer drafts were taken for a latency target.
    """
    like = [each for each in windows if 1 / LIKE_LOAD <= each.batch / change.batch <= LIKE_LOAD]
    before = [each for each in like if each.k == change.k_before and each.at_seconds <= change.at_seconds]
    after = [each for each in like if each.k == change.k_after and each.at_seconds > change.at_seconds]
    old = [_normal(each, change.k_before) for each in before[-RECENT_WINDOWS:]]
    new = [_normal(each, change.k_before) for each in after[:RECENT_WINDOWS]]
    if not old or not new:
        return Review(change, None, Verdict.PENDING)
    noise = _noise(old, new)
    center = fmean(new) - fmean(old)
    reach = _Z90 * noise * math.sqrt(1 / len(old) + 1 / len(new))
    realised = Bounded(math.exp(center), math.exp(center - reach), math.exp(center + reach))
    least = 1.0 if change.predicted.value >= 1 else change.predicted.low
    if min(len(old), len(new)) >= ENOUGH_WINDOWS and realised.high < least:
        verdict = Verdict.WORSE
    else:
        verdict = Verdict.KEPT if len(new) >= RECENT_WINDOWS else Verdict.PENDING
    return Review(change, realised, verdict)


def remembered_windows(windows: tuple[Realised, ...], fresh: Realised) -> tuple[Realised, ...]:
    """The windows with one more, the oldest forgotten."""
    return (*windows, fresh)[-REMEMBERED_WINDOWS:]


def _normal(window: Realised, k: int) -> float:
    """ln rate as it would be if every step yielded one token at this k."""
    return window.log_rate - math.log(window.expected_tokens[k])


def _noise(old: Sequence[float], new: Sequence[float]) -> float:
    """Pooled standard deviation, never below what is assumed at least."""
    squares = sum((value - fmean(part)) ** 2 for part in (old, new) for value in part)
    freedom = len(old) + len(new) - 2
    return max(NOISE_LEAST, math.sqrt(squares / freedom)) if freedom > 0 else 2 * NOISE_LEAST
