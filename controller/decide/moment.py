"""One pass as live control sees it, beside the answer that was computed for it."""

from dataclasses import dataclass
from typing import Final

from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Realised
from controller.model.economics import Score

QUIET_REQUESTS: Final = 0.5
"""More requests than this in the queue, on average, are latency pressure: nothing is explored then."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What steering needs to know of a pass beside its decision.

    Attributes:
        now_seconds: On a monotonic clock.
        realised: What the window yielded; None when it ran more than one k.
        positions_observed: Draft positions that were seen.
        waiting: Requests in the queue.
        tpot_seconds: Time per output token; None when it is not known.
        chance: A number from 0 to 1, drawn anew for each pass.
        blind_seconds: Since something was last drafted.
        blank: Every k as it would be priced if nothing were known of acceptance; empty unless k is 0.
    """

    now_seconds: float
    realised: Realised | None
    positions_observed: int
    waiting: float
    tpot_seconds: float | None
    chance: float
    blind_seconds: float = 0.0
    blank: tuple[Score, ...] = ()


def under_pressure(moment: Moment, settings: PolicySettings) -> bool:
    """Whether requests wait, or the latency target is missed: no time for experiments."""
    slow = (
        settings.pressure_seconds is not None
        and moment.tpot_seconds is not None
        and moment.tpot_seconds > settings.pressure_seconds
    )
    return slow or moment.waiting > QUIET_REQUESTS


def on_target(moment: Moment, settings: PolicySettings) -> bool:
    """Whether the latency target is met: more throughput is not wanted then, so nothing is worth measuring for it."""
    target = settings.tpot_target_seconds
    return target is not None and moment.tpot_seconds is not None and moment.tpot_seconds <= target
