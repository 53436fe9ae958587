"""Whether a change is worth a restart, and whether it brought what it was to bring."""

import math
from dataclasses import dataclass
from typing import Final

from controller.act.rollout.record import Expected
from controller.decide.decision import Bounded, Decision
from controller.decide.review import LIKE_LOAD
from controller.model.economics import Score

RESTARTS_AT_WORST: Final = 2
"""A change that fails or loses is rolled back: every replica then restarts once more."""


@dataclass(frozen=True, slots=True)
class Worth:
    """A change in tokens.

    Attributes:
        gained_tokens: What it yields within the horizon, at the lower bound of the gain.
        lost_tokens: What its restarts cost, if it has to be rolled back as well.
    """

    gained_tokens: float
    lost_tokens: float

    @property
    def pays(self) -> bool:
        """Whether the gain exceeds the cost."""
        return self.gained_tokens > self.lost_tokens


def worth(
    gain_low: float, tokens_per_second: float, replicas: int, startup_seconds: float, horizon_seconds: float
) -> Worth:
    """What a change gains and what its restarts cost.

        gained = (gain_low - 1) * tokens_per_second * replicas * horizon_seconds
        lost   = 2 * startup_seconds * tokens_per_second * replicas

    Each replica is taken to yield nothing while it starts, also where a surge pod stands in for it: that one needs
    accelerators, too, and starts with an empty prefix cache. The factor 2 is the restart of a rollback.

    Args:
        gain_low: Lower 90% bound of throughput after over before, as a ratio.
        tokens_per_second: Of one replica now.
        replicas: Pods that restart.
        startup_seconds: From a pod's start until it serves.
        horizon_seconds: How long the change is expected to stay, and the load with it.

    >>> worth(1.10, 1000.0, 4, 300.0, 21600.0)
    Worth(gained_tokens=8640000.0, lost_tokens=2400000.0)
    """
    rate = tokens_per_second * replicas
    gained = max(0.0, gain_low - 1) * rate * horizon_seconds
    return Worth(round(gained, 3), RESTARTS_AT_WORST * startup_seconds * rate)


def score_at(decision: Decision, k: int) -> Score | None:
    """The price of one k at the decision's load; None when it was not priced."""
    return next((score for score in decision.scores if score.k == k), None)


def expectation(decision: Decision) -> Expected | None:
    """What a change is to bring, to be kept until it can be checked; None when the decision does not say."""
    if decision.k is None or decision.gain is None or decision.batch is None or not decision.scores:
        return None
    k_before = decision.scores[-1].k if decision.k_now is None else round(decision.k_now)
    now = score_at(decision, k_before)
    if now is None:
        return None
    return Expected(
        k_before=k_before,
        k=decision.k,
        gain=decision.gain.value,
        batch=decision.batch,
        tokens_per_second=now.tokens_per_second if now.step_measured else None,
        spread=now.tokens_per_second_high / now.tokens_per_second,
        tokens_per_step=now.tokens_per_step,
    )


def realised(expected: Expected, later: Decision) -> Bounded | None:
    """The gain that was measured, as a ratio with 90% bounds; None while it cannot be told.

    At a load within a factor of 1.3 of that before the change, in tokens/s of one server:

        ln gain = ln(after / before) - ln(E_after(k_before) / E_before(k_before))

    E is the tokens that a step of the traffic of the time yields at the old k, so that text which became easier or
    harder is not taken for the work of the change. The bounds join those of both throughputs.
    """
    if expected.tokens_per_second is None or later.batch is None:
        return None
    if not 1 / LIKE_LOAD <= later.batch / expected.batch <= LIKE_LOAD:
        return None
    now = score_at(later, expected.k if later.k_now is None else round(later.k_now))
    traffic = score_at(later, expected.k_before)
    if now is None or traffic is None or not now.step_measured or now.k == expected.k_before:
        return None
    center = math.log(now.tokens_per_second / expected.tokens_per_second)
    center -= math.log(traffic.tokens_per_step / expected.tokens_per_step)
    reach = math.hypot(math.log(now.tokens_per_second_high / now.tokens_per_second), math.log(expected.spread))
    return Bounded(math.exp(center), math.exp(center - reach), math.exp(center + reach))
