"""Which k is wanted at each batch: the fastest, or the fewest drafts that meet a latency target."""

from collections.abc import Collection, Sequence

import numpy as np

from controller.model.economics import Prices


def fastest(
    prices: Prices, minimum_gain: float | Sequence[float], barred: Sequence[Collection[int]] = ()
) -> list[int | None]:
    """For each batch the k of the highest expected throughput among those whose lower bound clears the minimum gain.

    Ties go to the smaller k; None where no k clears it. `minimum_gain` is one for all batches or one for each;
    `barred` names ks that are out of the question, by batch.
    """
    clear = prices.gain_low >= 1 + np.reshape(minimum_gain, (-1, 1))
    for row, ks in enumerate(barred):
        if ks:
            clear[row, [k for k in ks if k < clear.shape[1]]] = False
    value = np.where(clear, prices.log_gain, -np.inf)  # at one batch the gain ranks as the throughput does
    found: list[int] = np.argmax(value >= value.max(axis=1, keepdims=True) - 1e-9, axis=1).tolist()
    return [k if clears else None for k, clears in zip(found, np.max(clear, axis=1).tolist(), strict=True)]


def fewest_that_meet(
    prices: Prices,
    now_seconds: Sequence[float],
    target_seconds: float,
    minimum_gain: float,
    barred: Sequence[Collection[int]] = (),
) -> list[int | None]:
    """For each batch the fewest drafts whose time per output token meets a target, else the fastest k.

    With now_seconds the time per output token at the reference k, TPOT(k) = now / gain(k). Fewer drafts than now are
    taken only when the upper bound of their TPOT meets the target with the minimum gain to spare, so that the answer
    does not swing; more only while the target is missed now.

    Args:
        prices: Every k at each batch.
        now_seconds: Time per output token at the reference k, by batch.
        target_seconds: What is to be met.
        minimum_gain: The room to leave, as a ratio minus 1.
        barred: ks that are out of the question, by batch.

    Returns:
        By batch the k, which may be the present one; None where the target is missed and nothing clears the gain.
    """
    fallback = fastest(prices, minimum_gain, barred)
    answers: list[int | None] = []
    for row, now in enumerate(now_seconds):
        high = now / prices.gain_low[row]
        expected = now * np.exp(-prices.log_gain[row])
        missed = now > target_seconds
        no_more = prices.tokens <= prices.reference_tokens[row] + 1e-9  # tokens rise with k
        meets = expected <= target_seconds if missed else no_more & (high <= target_seconds / (1 + minimum_gain))
        out = barred[row] if row < len(barred) else ()
        fits = [k for k in np.flatnonzero(meets).tolist() if k not in out]
        if fits:
            answers.append(fits[0])
        else:
            answers.append(fallback[row] if missed else None)
    return answers
