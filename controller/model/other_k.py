"""What acceptance at one k says of another k: published numbers, and what renewal does to a measured rate."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.model.acceptance import drift, estimate, sigmoid
from controller.model.drafter import Drafter
from controller.model.evidence import AcceptanceEvidence

Floats = NDArray[np.float64]

_LOGIT_LIMIT: Final = 16.0
_TINY: Final = 1e-9
_BISECTION_STEPS: Final = 40
_PUBLISHED_DRAFTS: Final = 1e6
"""A published rate is taken as it is: its own noise is not published."""


def from_mean_length(mean_length: float, k: int, positions: int, drafter: Drafter) -> tuple[float, ...]:
    """Survival by position from a mean acceptance length alone (bonus token included), as published tables give it.

    The logits follow the drafter's drift exactly; the first one is solved for so that E(k) is the mean length.

    Raises:
        ValueError: A length outside 1..k+1.

    >>> from controller.model.drafter import HEAD
    >>> survival = from_mean_length(2.0, 2, 4, HEAD)
    >>> round(survival[0] + survival[1], 6)
    1.0
    """
    if not 1.0 <= mean_length <= k + 1.0:
        raise ValueError(f"a mean acceptance length of {mean_length} is impossible at k={k}: 1..{k + 1} is possible")
    along = drift(positions, drafter)
    low, high = -_LOGIT_LIMIT, _LOGIT_LIMIT
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        length = 1 + float(np.cumprod(sigmoid(middle + along))[:k].sum())
        low, high = (middle, high) if length < mean_length else (low, middle)
    return tuple(np.cumprod(sigmoid(high + along)).tolist())


def from_rates(survival: Sequence[float], positions: int, drafter: Drafter) -> tuple[float, ...]:
    """Survival by position from published rates (unconditional, first draft first), extrapolated by the drift.

    >>> from controller.model.drafter import HEAD
    >>> [round(each, 3) for each in from_rates((0.7, 0.4), 3, HEAD)]
    [0.7, 0.4, 0.197]
    """
    drafts = _PUBLISHED_DRAFTS
    hits = tuple(drafts * each for each in survival)
    unseen = (0.0,) * (positions - len(hits))
    evidence = AcceptanceEvidence(at_risk=(drafts, *hits[:-1], *unseen), accepted=(*hits, *unseen))
    return estimate(evidence, drafter).survival


def renewal(survival: ArrayLike, seen_k: int, ks: ArrayLike, persistence: float) -> Floats:
    """P(first draft accepted) at other ks over that at `seen_k`, where the survival was seen; 1 at `seen_k` itself.

    The survival has the shape (..., position), the answer (..., k).

    A draft begins after a rejection, or after one that was accepted whole; the smaller k, the more often the latter,
    and easy text goes on. With r after a rejection, e after a whole acceptance (logit e = logit r + persistence) and
    H the survival from the first position to the k-th, P = (1 - P H) r + P H e, so that P = r / (1 - H (e - r)).
    r is solved for at `seen_k`.

    >>> [round(float(each), 3) for each in renewal((0.5, 0.4, 0.3), 3, [1, 2, 3], persistence=0.9)]
    [1.112, 1.053, 1.0]
    """
    seen = np.asarray(survival, float)
    first = np.minimum(np.maximum(seen[..., :1], _TINY), 1 - _TINY)
    whole = np.minimum(seen[..., seen_k - 1 : seen_k], 1 - _TINY)
    # (1 - whole) r + whole e = first, with e = r c / (1 - r + r c): a quadratic in r, solved without cancellation
    odds = math.expm1(persistence)
    square, linear = (1 - whole) * odds, 1 + (whole - first) * odds
    rejected = 2 * first / (linear + np.sqrt(linear * linear + 4 * square * first))
    easy = _easier(rejected, persistence)
    after = np.minimum(np.maximum(np.asarray(ks, float), 1.0), seen.shape[-1]) - 1
    below = after.astype(int)
    part = after - below  # between two whole k the survival is taken as linear
    onward = ((1 - part) * seen[..., below] + part * seen[..., np.minimum(below + 1, seen.shape[-1] - 1)]) / first
    return np.asarray(np.minimum(1.0, rejected / (1 - onward * (easy - rejected))) / first, float)


def _easier(rate: Floats, persistence: float) -> Floats:
    """The rate whose logit is higher by the persistence."""
    odds = rate * math.exp(persistence)
    return odds / (1 - rate + odds)
