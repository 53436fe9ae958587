"""The textbook: one constant acceptance rate, one cost ratio, the best k in closed form.

Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding", ICML 2023
(arXiv:2211.17192). The rest of the model refines these; every refinement reduces to them.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_BISECTION_STEPS: Final = 60
"""Halvings of [0, 1]: beyond the precision of a float."""
_BATCH_LIMIT: Final = 2.0**20
"""A crossover beyond this batch is none: no server decodes a million requests at once."""


def expected_tokens(alpha: ArrayLike, k: ArrayLike) -> Floats:
    """Mean tokens per step: E(k) = (1 - alpha^(k+1)) / (1 - alpha) = 1 + alpha + ... + alpha^k.

    The last token is the target's own: the correction after a rejection, or the bonus after k acceptances.

    Args:
        alpha: Acceptance rate of one draft, given that all before it were accepted; 0 to 1, any shape.
        k: Draft tokens per step, 0 or more; broadcast against `alpha`.

    Returns:
        Tokens per step, from 1 (alpha = 0) to k + 1 (alpha = 1), of the broadcast shape.

    Raises:
        ValueError: A rate outside 0..1, or a negative k.

    >>> float(expected_tokens(0.0, 5)), float(expected_tokens(1.0, 5)), float(expected_tokens(0.5, 2))
    (1.0, 6.0, 1.75)
    """
    rate, drafts = np.broadcast_arrays(np.asarray(alpha, float), np.asarray(k, float))
    _refuse_outside(rate, 0.0, 1.0, "alpha")
    _refuse_outside(drafts, 0.0, math.inf, "k")
    with np.errstate(divide="ignore", invalid="ignore"):
        # expm1/log1p keep the quotient exact where alpha is close to 1
        tokens = -np.expm1((drafts + 1) * np.log(rate)) / (1 - rate)
    tokens = np.where(rate == 1.0, drafts + 1, np.where(rate == 0.0, 1.0, tokens))
    return np.asarray(np.clip(tokens, 1.0, drafts + 1), float)  # rounding may step over by a last digit


def speedup(alpha: ArrayLike, k: ArrayLike, c: ArrayLike) -> Floats:
    """Throughput at k over throughput without drafts: E(k) / (1 + k c).

    Args:
        alpha: Acceptance rate, 0 to 1.
        k: Draft tokens per step, 0 or more.
        c: Time of one draft step / time of one target step, 0 or more.

    Returns:
        The ratio; below 1 speculation loses.

    Raises:
        ValueError: An argument outside its range.

    >>> round(float(speedup(0.7, 5, 0.05)), 2)
    2.35
    """
    cost = np.asarray(c, float)
    _refuse_outside(cost, 0.0, math.inf, "c")
    return np.asarray(expected_tokens(alpha, k) / (1.0 + np.asarray(k, float) * cost), float)


def optimal_k(alpha: float, c: float, k_max: int) -> int:
    """The k in 0..k_max of the largest speedup; ties go to the smaller k, and 0 means: do not speculate.

    Draft i pays while alpha^i > c speedup(alpha, i-1, c). Comparing alpha^i with c alone drafts too much.

    Raises:
        ValueError: An argument outside its range.

    >>> optimal_k(0.7, 0.05, 10), optimal_k(0.2, 0.5, 10), optimal_k(0.8, 0.05, 20)
    (6, 0, 8)
    """
    _refuse_outside(np.asarray(k_max), 0, math.inf, "k_max")
    ratios = speedup(alpha, np.arange(k_max + 1), c)
    # a difference in the last digits is a tie
    return int(np.argmax(ratios >= ratios.max() * (1 - 1e-12)))


def acceptance_from_mean_length(mean_length: float, k: int) -> float:
    """The constant acceptance rate whose E(k) is `mean_length`: the inversion of `expected_tokens`, by bisection.

    `mean_length` counts the bonus token, as vLLM's mean acceptance length does: it lies in 1..k+1.
    Some write-ups subtract one; add it back first.

    Raises:
        ValueError: k below 1, or a length outside 1..k+1.

    >>> round(acceptance_from_mean_length(1.75, 2), 6)
    0.5
    """
    if k < 1:
        raise ValueError(f"k is {k}: without a draft the acceptance rate is not defined")
    _refuse_outside(np.asarray(mean_length), 1.0, k + 1.0, "mean_length (bonus token included)")
    low, high = 0.0, 1.0
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        if float(expected_tokens(middle, k)) < mean_length:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def acceptance_ceiling(alpha: float) -> float:
    """What E(k) approaches as k grows: 1 / (1 - alpha); infinite at alpha = 1. No k yields more tokens per step.

    Raises:
        ValueError: A rate outside 0..1.

    >>> acceptance_ceiling(0.5)
    2.0
    """
    _refuse_outside(np.asarray(alpha), 0.0, 1.0, "alpha")
    return math.inf if alpha == 1.0 else 1.0 / (1.0 - alpha)


def acceptance_rate(accepted: float, drafts: float, accepted_whole: float) -> float | None:
    """Maximum-likelihood estimate of a constant alpha under truncation at k: A / (A + D - F).

    Each of the D drafts ends in a rejection, except the F that were accepted whole: these were cut off at k and
    say nothing of the next position. accepted / drafted is not alpha: it divides by positions never reached, so
    the same drafter looks worse the larger k is.

    Args:
        accepted: A, accepted draft tokens.
        drafts: D, verified drafts.
        accepted_whole: F, drafts of which all k tokens were accepted (accepted at the last position).

    Returns:
        alpha in 0..1; None where nothing was drafted.

    Raises:
        ValueError: A negative count, or more whole acceptances than drafts.

    A drafter with alpha = .5 at k=2: of 100 drafts 50 pass position 1, and 25 of these position 2.

    >>> acceptance_rate(accepted=75, drafts=100, accepted_whole=25)
    0.5
    >>> 75 / (100 * 2)  # accepted / drafted, for comparison
    0.375
    """
    if min(accepted, drafts, accepted_whole) < 0 or accepted_whole > drafts:
        raise ValueError(f"impossible counts: accepted {accepted}, drafts {drafts}, accepted whole {accepted_whole}")
    at_risk = accepted + drafts - accepted_whole
    return accepted / at_risk if at_risk > 0 else None


def saturation(batch: ArrayLike, half_batch: float) -> Floats:
    """lambda(B) = B / (B + half_batch): what verifying one more draft costs, as a share of the whole k=0 step.

    A step over n tokens takes about t0 + t1 n, so at batch B a step at k costs 1 + lambda k of the step at k=0, with
    half_batch = t0 / t1: near 0 for a lone stream, near 1 when every token costs as much as the step's fixed part.

    Args:
        batch: Decoding requests, 0 or more.
        half_batch: The batch at which half of a step is fixed cost; above 0.

    Raises:
        ValueError: An argument outside its range.

    >>> float(saturation(64, 64.0))
    0.5
    """
    requests = np.asarray(batch, float)
    _refuse_outside(requests, 0.0, math.inf, "batch")
    if not half_batch > 0:
        raise ValueError(f"half_batch is {half_batch}: it must be above 0")
    return np.asarray(requests / (requests + half_batch), float)


def crossover_batch(alpha: float, c: float, half_batch: float) -> float:
    """The batch from which k=0 is best: B* = half_batch (alpha - c) / (1 - alpha + c).

    With cost(k) = 1 + (c + lambda(B)) k the first draft pays while alpha > c + lambda(B), and where the first does
    not pay none does; B* solves alpha = c + B* / (B* + half_batch).

    Args:
        alpha: Acceptance rate, 0 to 1.
        c: Draft step / target step, 0 or more; as a share of the k=0 step at any batch.
        half_batch: As in `saturation`; above 0.

    Returns:
        Decoding requests: 0 where speculation never pays (alpha <= c), infinite for a free drafter that is always
        right.

    Raises:
        ValueError: An argument outside its range.

    >>> round(crossover_batch(0.7, 0.1, 64.0), 6)
    96.0
    >>> crossover_batch(0.1, 0.2, 64.0), crossover_batch(1.0, 0.0, 64.0)
    (0.0, inf)
    """
    _refuse_outside(np.asarray(alpha), 0.0, 1.0, "alpha")
    _refuse_outside(np.asarray(c), 0.0, math.inf, "c")
    saturation(0.0, half_batch)  # its refusal of half_batch
    if alpha <= c:
        return 0.0
    gap = 1.0 - alpha + c
    return math.inf if gap <= 0.0 else half_batch * (alpha - c) / gap


def crossover_batch_of(tokens: ArrayLike, relative_cost: Callable[[float], ArrayLike]) -> float:
    """The batch from which k=0 is best, for any acceptance and any cost; by bisection.

    Speculation pays at a batch while some k >= 1 has E(k) > cost(k). `crossover_batch` is the closed form for a
    constant rate and cost 1 + (c + lambda(B)) k; an overhead for drafting at all, or acceptance by position, have none.

    Args:
        tokens: E(k) = 1 + S_1 + ... + S_k for k = 0..k_max, shape (k_max + 1,).
        relative_cost: From a batch to step time at k / step time at 0, same shape. Where it never falls as the batch
            grows there is one crossover; otherwise one of several is found.

    Returns:
        Decoding requests; 0 where speculation pays at no batch, infinite where it still pays at a million requests.

    Raises:
        ValueError: Without a single draft, or tokens outside 1..k+1.

    >>> tokens = expected_tokens(0.7, np.arange(6))
    >>> cost = lambda batch: 1 + (0.1 + saturation(batch, 64.0)) * np.arange(6)
    >>> round(crossover_batch_of(tokens, cost), 6)
    96.0
    """
    worth = np.asarray(tokens, float)
    if worth.ndim != 1 or worth.size < 2:
        raise ValueError(f"tokens is outside what has a crossover: k=0 and at least one draft are needed, got {worth}")
    highest = np.asarray(np.arange(worth.size) + 1.0 + 1e-9, float)
    _refuse_outside(worth, 1.0, highest, "tokens of k=0, 1, ...")

    def pays(batch: float) -> bool:
        return bool(np.any(worth[1:] > np.asarray(relative_cost(batch), float)[1:]))

    low, high = 0.0, _BATCH_LIMIT
    if not pays(low):
        return 0.0
    if pays(high):
        return math.inf
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if pays(middle) else (low, middle)
    return (low + high) / 2


def _refuse_outside(values: Floats, low: float, high: float | Floats, name: str) -> None:
    if not np.all((values >= low) & (values <= high)):  # NaN fails too
        raise ValueError(f"{name} is outside {low:g}..{np.max(high):g}: {values}")
