"""From prices to a decision: act only when the lower bound of the gain clears the minimum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.decide.decision import Action, Baseline, Bounded, Decision, Schedule
from controller.decide.schedule import Range, buckets, merged
from controller.model.drafter import LogNormal
from controller.model.economics import Market, Prices, Score
from controller.reason import Reason

K0_TAX: Final = LogNormal(1.08, 0.05)
"""k=0 on a server launched with speculation is slower than one launched without: the drafter still keeps its cache
in step. 4% to 22% on published pages."""
_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""
_SAME_K: Final = 0.5
"""A mean k within this of a whole one is that one."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """When to act.

    Attributes:
        minimum_gain: Least gain worth a change, as a ratio minus 1.
        minimum_drafts: Least evidence, in drafts.
        cooldown_seconds: Least time between two changes.
        max_batch: Largest batch of the schedule: the server's max_num_seqs.
    """

    minimum_gain: float = 0.03
    minimum_drafts: float = 300.0
    cooldown_seconds: float = 60.0
    max_batch: int = 256


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the policy remembers between passes.

    Attributes:
        standing_k: The last k it recommended.
        changed_at_seconds: When that last changed, on a monotonic clock; None if never.
    """

    standing_k: int | None = None
    changed_at_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What runs now.

    Attributes:
        batch: Mean decoding requests per step.
        k_now: Mean k in force; None when it cannot be told.
        drafted: Whether anything was drafted in the window.
        now_seconds: The time on a monotonic clock; None for saved pages.
    """

    batch: float
    k_now: float | None
    drafted: bool = True
    now_seconds: float | None = None


def decide(market: Market, now: Situation, state: PolicyState, settings: PolicySettings) -> Decision:
    """The decision for the present load, and the schedule for every other."""
    reference_k = _reference_k(market, now)
    ranges = buckets(settings.max_batch, now.batch)
    prices = market.prices([now.batch, *(middle for _, _, middle in ranges)], reference_k)
    scores = prices.scores(0)
    choices = choose(prices, settings.minimum_gain)
    best = _best(scores, state, settings)
    chosen = best if _clears(best, settings) else None if choices[0] is None else scores[choices[0]]
    held = _held_k(now, reference_k)
    enough = market.acceptance.evidence_drafts >= settings.minimum_drafts
    target = chosen if chosen is not None and enough else None
    reason = _reason(best, target, reference_k, now, state, settings, enough=enough)
    acting = reason in (Reason.FASTER_K, Reason.SPECULATION_LOSES) and target is not None
    k = target.k if acting and target is not None else held
    decision = Decision(
        action=Action.HOLD if not acting else Action.DISABLE if k == 0 else Action.CHANGE,
        reason=reason,
        sentence="",
        k_now=now.k_now,
        k=k,
        k_best=best.k,
        batch=now.batch,
        schedule=_schedule(ranges, choices[1:], now.batch, round(reference_k), k) if enough else (),
        gain=_gain(target) if acting and target is not None else Bounded(1.0, 1.0, 1.0),
        margin=(margin := _margin(scores[0])),
        margin_without_speculation=_against_no_speculation(margin),
        baseline=Baseline.MEASURED if scores[0].step_measured else Baseline.MODELLED,
        scores=scores,
    )
    return replace(decision, sentence=_sentence(decision, best, market.acceptance.evidence_drafts, settings))


def _reference_k(market: Market, now: Situation) -> float:
    """The k whose price stands for now. An unknown k drafts as was observed, or nothing at all."""
    if now.k_now is not None:
        return min(now.k_now, float(market.k_max))
    return float(market.asked_k) if now.drafted else 0.0


def remembered(decision: Decision, state: PolicyState, now_seconds: float | None) -> PolicyState:
    """The state after a decision."""
    if decision.action is Action.HOLD or decision.k == state.standing_k:
        return state
    return PolicyState(standing_k=decision.k, changed_at_seconds=now_seconds)


def _best(scores: tuple[Score, ...], state: PolicyState, settings: PolicySettings) -> Score:
    """Highest expected throughput, ties to the smaller k; the standing answer wins unless clearly beaten."""
    top = max(score.tokens_per_second for score in scores)
    best = next(score for score in scores if score.tokens_per_second >= top * (1 - 1e-9))
    if state.standing_k is None or state.standing_k >= len(scores):
        return best
    standing = scores[state.standing_k]
    clearly = best.tokens_per_second >= standing.tokens_per_second * (1 + settings.minimum_gain)
    return best if clearly else standing


def choose(prices: Prices, minimum_gain: float) -> list[int | None]:
    """For each batch the k of the highest expected throughput among those whose lower bound clears the minimum gain.

    Ties go to the smaller k; None where no k clears it.
    """
    clear = prices.gain_low >= 1 + minimum_gain
    value = np.where(clear, prices.log_gain, -np.inf)  # at one batch the gain ranks as the throughput does
    found: list[int] = np.argmax(value >= value.max(axis=1, keepdims=True) - 1e-9, axis=1).tolist()
    return [k if clears else None for k, clears in zip(found, np.max(clear, axis=1).tolist(), strict=True)]


def _clears(score: Score, settings: PolicySettings) -> bool:
    return score.gain_low >= 1 + settings.minimum_gain


def _held_k(now: Situation, reference_k: float) -> int | None:
    return None if now.k_now is None else round(reference_k)


def _reason(
    best: Score,
    target: Score | None,
    reference_k: float,
    now: Situation,
    state: PolicyState,
    settings: PolicySettings,
    *,
    enough: bool,
) -> Reason:
    if not enough:
        return Reason.NOT_ENOUGH_EVIDENCE
    if target is None:
        if abs(best.k - reference_k) < _SAME_K:
            return Reason.BEST_ALREADY
        return Reason.GAIN_BELOW_MINIMUM if best.gain_ratio < 1 + settings.minimum_gain else Reason.GAIN_UNCERTAIN
    if now.k_now is not None and abs(target.k - reference_k) < _SAME_K:
        return Reason.BEST_ALREADY
    if target.k != state.standing_k and _cooling(now, state, settings):
        return Reason.COOLDOWN
    return Reason.SPECULATION_LOSES if target.k == 0 else Reason.FASTER_K


def _cooling(now: Situation, state: PolicyState, settings: PolicySettings) -> bool:
    if state.changed_at_seconds is None or now.now_seconds is None:
        return False
    return now.now_seconds - state.changed_at_seconds < settings.cooldown_seconds


def _schedule(
    ranges: Sequence[Range], choices: Sequence[int | None], present: float, reference_k: int, k: int | None
) -> Schedule:
    """The present range runs the decided k, the others their own choice, or what runs now where none clears."""

    def at(middle: float, choice: int | None) -> int:
        if middle == max(1.0, present):
            return reference_k if k is None else k
        return reference_k if choice is None else choice

    return merged((low, high, at(middle, choice)) for (low, high, middle), choice in zip(ranges, choices, strict=True))


def _gain(score: Score) -> Bounded:
    return Bounded(score.gain_ratio, score.gain_low, score.gain_high)


def _margin(off: Score) -> Bounded:
    """From the gain of k=0 over now to the margin of now over k=0."""
    return Bounded(1 / off.gain_ratio - 1, 1 / off.gain_high - 1, 1 / off.gain_low - 1)


def _against_no_speculation(margin: Bounded) -> Bounded:
    center = math.log((1 + margin.value) / K0_TAX.median)
    below = math.hypot(math.log((1 + margin.value) / (1 + margin.low)), _Z90 * K0_TAX.spread)
    above = math.hypot(math.log((1 + margin.high) / (1 + margin.value)), _Z90 * K0_TAX.spread)
    return Bounded(math.exp(center) - 1, math.exp(center - below) - 1, math.exp(center + above) - 1)


def _sentence(decision: Decision, best: Score, drafts: float, settings: PolicySettings) -> str:
    now = "the drafting of now" if decision.k_now is None else f"k={decision.k_now:.3g}"
    load = f"at a batch of {decision.batch:.3g}"
    gained = _percent(Bounded(best.gain_ratio, best.gain_low, best.gain_high))
    match decision.reason:
        case Reason.FASTER_K | Reason.SPECULATION_LOSES if decision.gain is not None:
            what = "no speculation (k=0)" if decision.k == 0 else f"k={decision.k}"
            return f"{what} yields {_percent(decision.gain)} over {now} {load}, from {drafts:,.0f} drafts."
        case Reason.BEST_ALREADY:
            return f"{now} is the best of 0..{len(decision.scores) - 1} {load}, from {drafts:,.0f} drafts."
        case Reason.GAIN_BELOW_MINIMUM:
            return (
                f"k={best.k} looks best {load}, but {gained} over {now} is below the minimum gain of "
                f"{settings.minimum_gain:.1%}."
            )
        case Reason.GAIN_UNCERTAIN:
            return (
                f"k={best.k} looks best {load}: {gained} over {now}. The lower bound does not clear the minimum gain "
                f"of {settings.minimum_gain:.1%}; step times at another k would settle it."
            )
        case Reason.COOLDOWN:
            return f"k={best.k} looks best {load}, but the last change was under {settings.cooldown_seconds:g} s ago."
        case _:
            return (
                f"{drafts:,.0f} drafts were verified, {settings.minimum_drafts:,.0f} are needed: watch for longer, "
                "or send traffic."
            )


def _percent(gain: Bounded) -> str:
    """A gain and its bounds in words.

    >>> _percent(Bounded(1.123, 1.05, 1.2))
    '+12.3% (+5.0% to +20.0%)'
    """
    return f"{gain.value - 1:+.1%} ({gain.low - 1:+.1%} to {gain.high - 1:+.1%})"
