"""What is at stake, in tokens per second: what another k would bring, and what speculation costs where it loses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from controller.cycle import EngineCycle
from controller.decide.decision import Action, Bounded

NOTHING: Final = Bounded(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Stake:
    """One engine, or one group of engines, in tokens that are decoded per second of wall time.

    Attributes:
        tokens_per_second: What is decoded now, by the counters.
        to_gain: What the recommended k would add, or where none is recommended the k that looks best.
        lost: What k=0 would add, where speculation loses; zero where it does not, or nothing is known of it.
    """

    tokens_per_second: float
    to_gain: Bounded
    lost: Bounded


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all rows. Bounds are added as if all rows erred together.

    Attributes:
        rows: Those of which something is known.
        engines: In them.
        tokens_per_second: What is decoded now.
        losing: Rows with a negative margin.
        lost: What k=0 would add in these.
        changes: Rows for which another k is recommended.
        to_gain: What that would add.
        uncertain: What the best-looking k of the others would add, in the middle of its bounds.
    """

    rows: int
    engines: int
    tokens_per_second: float
    losing: int
    lost: Bounded
    changes: int
    to_gain: Bounded
    uncertain: float


def stake(engine: EngineCycle) -> Stake | None:
    """What is at stake; None without a window that tells its seconds.

    rate (gain - 1) with the rate of decoded tokens by the counters: at the present load, busy as the engines are.
    """
    window, decision = engine.window, engine.decision
    if window is None or not window.seconds:
        return None
    rate = window.decoded_tokens / window.seconds
    to_gain = NOTHING
    if decision.action is not Action.HOLD and decision.gain is not None:
        to_gain = _scaled(rate, decision.gain.value, decision.gain.low, decision.gain.high)
    elif decision.k_best is not None and decision.scores:
        best = decision.scores[decision.k_best]
        if best.gain_ratio > 1:
            to_gain = _scaled(rate, best.gain_ratio, best.gain_low, best.gain_high)
    lost, margin = NOTHING, decision.margin
    if margin is not None and margin.value < 0:
        lost = _scaled(rate, *(1 / max(1e-3, 1 + each) for each in (margin.value, margin.high, margin.low)))
    return Stake(rate, to_gain, lost)


def ranked(engines: Iterable[EngineCycle]) -> tuple[EngineCycle, ...]:
    """The most to gain first; those of which nothing is known last."""
    return tuple(sorted(engines, key=_rank))


def totals(engines: Iterable[EngineCycle]) -> Totals:
    """Of all of them; each is asked once."""
    found = [(each, at) for each in engines if each.failure is None and (at := stake(each)) is not None]
    changing = [at for each, at in found if each.decision.action is not Action.HOLD]
    losing = [at for _, at in found if at.lost.value > 0]
    return Totals(
        rows=len(found),
        engines=sum(each.replicas.counted if each.replicas else 1 for each, _ in found),
        tokens_per_second=sum(at.tokens_per_second for _, at in found),
        losing=len(losing),
        lost=_sum(at.lost for at in losing),
        changes=len(changing),
        to_gain=_sum(at.to_gain for at in changing),
        uncertain=sum(at.to_gain.value for each, at in found if each.decision.action is Action.HOLD),
    )


def _rank(engine: EngineCycle) -> tuple[bool, float, object]:
    at = stake(engine) if engine.failure is None else None
    return at is None, -at.to_gain.value if at else 0.0, engine.key


def _scaled(rate: float, value: float, low: float, high: float) -> Bounded:
    return Bounded(rate * (value - 1), rate * (low - 1), rate * (high - 1))


def _sum(parts: Iterable[Bounded]) -> Bounded:
    found = list(parts)
    return Bounded(sum(p.value for p in found), sum(p.low for p in found), sum(p.high for p in found))
