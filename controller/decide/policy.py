"""From prices to a decision: act only when the lower bound of the gain clears the minimum."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.decide.decision import Action, Baseline, Bounded, Decision, Schedule
from controller.decide.objective import fastest, fewest_that_meet
from controller.decide.policy_settings import PolicySettings
from controller.decide.schedule import Range, buckets, k_at, merged, near, overlaid
from controller.decide.sentence import sentence
from controller.model.drafter import LogNormal
from controller.model.economics import Market, Prices, Score
from controller.reason import Reason

K0_TAX: Final = LogNormal(1.08, 0.05)
"""k=0 on a server launched with speculation is slower than one launched without: the drafter still keeps its cache
in step. 4% to 22% on published pages."""
ELSEWHERE_GAIN: Final = 0.03
"""Least gain of another k at a batch size that is not the present one: nothing was measured there, and it can wait."""
_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""
_SAME_K: Final = 0.5
"""A mean k within this of a whole one is that one."""


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
        home: The schedule that answers are compared with; empty for the k in force at every batch.
        tpot_seconds: Time per output token in the window; None when it is not known.
        waiting: Requests in the queue.
    """

    batch: float
    k_now: float | None
    drafted: bool = True
    now_seconds: float | None = None
    home: Schedule = ()
    tpot_seconds: float | None = None
    waiting: float = 0.0


def decide(
    market: Market,
    now: Situation,
    state: PolicyState,
    settings: PolicySettings,
    barred: Collection[int] = (),
    impossible: Collection[int] = (),
) -> Decision:
    """The decision for the present load, and the schedule for every other.

    `barred` ks are not chosen at this load, `impossible` ones at none.
    """
    ranges = buckets(settings.max_batch, now.batch)
    batches = [now.batch, *(middle for _, _, middle in ranges)]
    reference_k = _reference_k(market, now, now.batch)
    references = [_reference_k(market, now, batch) for batch in batches]
    prices = market.prices(batches, references)
    scores = prices.scores(0)
    out_here = {*barred, *impossible}
    choices = _choices(prices, now, settings, [out_here if _like(b, now.batch) else impossible for b in batches])
    best = _best(scores, state, settings, out_here)
    enough = market.acceptance.evidence_drafts >= settings.minimum_drafts
    target = _target(scores, best, choices[0], settings) if enough else None
    reason = _reason(best, target, reference_k, now, state, settings, enough=enough)
    acting = reason in (Reason.FASTER_K, Reason.SPECULATION_LOSES, Reason.TARGET_MET) and target is not None
    k = target.k if acting and target is not None else _held_k(now, reference_k)
    decision = Decision(
        action=Action.HOLD if not acting else Action.DISABLE if k == 0 else Action.CHANGE,
        reason=reason,
        sentence="",
        k_now=now.k_now,
        k=k,
        k_best=best.k,
        batch=now.batch,
        schedule=_schedule(ranges, choices[1:], now, round(reference_k), k, settings) if enough else now.home,
        gain=_gain(target) if acting and target is not None else Bounded(1.0, 1.0, 1.0),
        margin=(margin := margin_of(_gain(scores[0]))),
        margin_without_speculation=_against_no_speculation(margin),
        baseline=Baseline.MEASURED if scores[0].step_measured else Baseline.MODELLED,
        scores=scores,
    )
    present = round(reference_k, 3) if now.home else now.k_now
    return replace(decision, sentence=sentence(decision, present, best, market.acceptance.evidence_drafts, settings))


def _reference_k(market: Market, now: Situation, batch: float) -> float:
    """The k whose price stands for now. An unknown k drafts as was observed, or nothing at all."""
    if now.home:
        return min(float(k_at(now.home, max(1, round(batch))) or 0), float(market.k_max))
    if now.k_now is not None:
        return min(now.k_now, float(market.k_max))
    return float(market.asked_k) if now.drafted else 0.0


def _like(batch: float, present: float) -> bool:
    """Whether what is known against a k at the present load speaks for this batch, too."""
    return 0.5 <= batch / present <= 2.0


def _choices(
    prices: Prices,
    now: Situation,
    settings: PolicySettings,
    barred: Sequence[Collection[int]],
) -> list[int | None]:
    """By batch the k that the objective wants; None where what runs now should stay."""
    if settings.tpot_target_seconds is None or now.tpot_seconds is None:
        elsewhere = max(settings.minimum_gain, ELSEWHERE_GAIN)
        return fastest(prices, [settings.minimum_gain, *(elsewhere for _ in barred[1:])], barred)
    modelled = np.exp(prices.reference_log_seconds) / prices.reference_tokens
    seconds = modelled * (now.tpot_seconds / modelled[0])  # what the model leaves out (prompts) is taken as a factor
    return fewest_that_meet(prices, seconds.tolist(), settings.tpot_target_seconds, settings.minimum_gain, barred)


def _target(scores: Sequence[Score], best: Score, choice: int | None, settings: PolicySettings) -> Score | None:
    if settings.tpot_target_seconds is None and _clears(best, settings):
        return best
    return None if choice is None else scores[choice]


def remembered(decision: Decision, state: PolicyState, now_seconds: float | None) -> PolicyState:
    """The state after a decision."""
    if decision.action is Action.HOLD or decision.k == state.standing_k:
        return state
    return PolicyState(standing_k=decision.k, changed_at_seconds=now_seconds)


def _best(scores: tuple[Score, ...], state: PolicyState, settings: PolicySettings, barred: Collection[int]) -> Score:
    """Highest expected throughput, ties to the smaller k; the standing answer wins unless clearly beaten."""
    allowed = [score for score in scores if score.k not in barred] or list(scores)
    top = max(score.tokens_per_second for score in allowed)
    best = next(score for score in allowed if score.tokens_per_second >= top * (1 - 1e-9))
    if state.standing_k is None or state.standing_k >= len(scores):
        return best
    standing = scores[state.standing_k]
    clearly = best.tokens_per_second >= standing.tokens_per_second * (1 + settings.minimum_gain)
    return best if clearly else standing


def _clears(score: Score, settings: PolicySettings) -> bool:
    return score.gain_low >= 1 + settings.minimum_gain


def _held_k(now: Situation, reference_k: float) -> int | None:
    return None if now.k_now is None and not now.home else round(reference_k)


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
    if (now.home or now.k_now is not None) and abs(target.k - reference_k) < _SAME_K:
        return Reason.BEST_ALREADY
    if target.k != state.standing_k and _cooling(now, state, settings):
        return Reason.COOLDOWN
    return _acting_reason(target, settings)


def _acting_reason(target: Score, settings: PolicySettings) -> Reason:
    if settings.tpot_target_seconds is not None and target.gain_ratio < 1:
        return Reason.TARGET_MET
    return Reason.SPECULATION_LOSES if target.k == 0 else Reason.FASTER_K


def _cooling(now: Situation, state: PolicyState, settings: PolicySettings) -> bool:
    if state.changed_at_seconds is None or now.now_seconds is None:
        return False
    return now.now_seconds - state.changed_at_seconds < settings.cooldown_seconds


def _schedule(
    ranges: Sequence[Range],
    choices: Sequence[int | None],
    now: Situation,
    reference_k: int,
    k: int | None,
    settings: PolicySettings,
) -> Schedule:
    """The present range runs the decided k, the others their own choice, or what runs now where none clears."""
    present = max(1.0, now.batch)
    chosen = [
        (low, high, choice if middle != present else None if now.home else k)
        for (low, high, middle), choice in zip(ranges, choices, strict=True)
    ]
    if now.home:
        low, high = near(present, settings.max_batch)
        others = [(first, last, each) for first, last, each in chosen if each is not None]
        below = [(first, min(last, low - 1), each) for first, last, each in others if first < low]
        above = [(max(first, high + 1), last, each) for first, last, each in others if last > high]
        here = [] if k is None or k == reference_k else [(low, high, k)]
        return overlaid(now.home, [*below, *above, *here], settings.max_batch)
    return merged((low, high, reference_k if each is None else each) for low, high, each in chosen)


def _gain(score: Score) -> Bounded:
    return Bounded(score.gain_ratio, score.gain_low, score.gain_high)


def margin_of(off: Bounded) -> Bounded:
    """The margin of now over k=0, from the gain of k=0 over now."""
    return Bounded(1 / off.value - 1, 1 / off.high - 1, 1 / off.low - 1)


def _against_no_speculation(margin: Bounded) -> Bounded:
    center = math.log((1 + margin.value) / K0_TAX.median)
    below = math.hypot(math.log((1 + margin.value) / (1 + margin.low)), _Z90 * K0_TAX.spread)
    above = math.hypot(math.log((1 + margin.high) / (1 + margin.value)), _Z90 * K0_TAX.spread)
    return Bounded(math.exp(center) - 1, math.exp(center - below) - 1, math.exp(center + above) - 1)
