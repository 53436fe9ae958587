"""Decisions in words."""

from controller.decide.decision import Bounded, Decision
from controller.decide.policy_settings import PolicySettings
from controller.model.economics import Score
from controller.reason import Reason


def sentence(  # noqa: PLR0911  (one return for each reason)
    decision: Decision, present_k: float | None, best: Score, drafts: float, settings: PolicySettings
) -> str:
    """Why a decision is as it is, with the numbers.

    Args:
        decision: The decision, but for its sentence.
        present_k: The k it is compared with; None when it is not known.
        best: The k with the highest expected throughput.
        drafts: Drafts behind the estimate of acceptance.
        settings: What the bounds had to clear.
    """
    now = "what runs now" if present_k is None else f"k={present_k:.3g}"
    load = f"at a batch of {decision.batch:.3g}"
    gained = percent(Bounded(best.gain_ratio, best.gain_low, best.gain_high))
    match decision.reason:
        case Reason.FASTER_K | Reason.SPECULATION_LOSES if decision.gain is not None:
            what = "no speculation (k=0)" if decision.k == 0 else f"k={decision.k}"
            return f"{what} yields {percent(decision.gain)} over {now} {load}, from {drafts:,.0f} drafts."
        case Reason.TARGET_MET if settings.tpot_target_seconds is not None:
            target = f"{1e3 * settings.tpot_target_seconds:g} ms per output token"
            return f"k={decision.k} meets the target of {target} {load} with fewer drafts than {now}."
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


def percent(gain: Bounded) -> str:
    """A gain and its bounds in words.

    >>> percent(Bounded(1.123, 1.05, 1.2))
    '+12.3% (+5.0% to +20.0%)'
    """
    return f"{gain.value - 1:+.1%} ({gain.low - 1:+.1%} to {gain.high - 1:+.1%})"
