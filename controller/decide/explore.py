"""Which other k is worth measuring, and what measuring may cost."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from controller.decide.policy_settings import PolicySettings
from controller.model.economics import Score

PAYBACK_INTERVALS: Final = 180.0
"""What a probe finds is expected to hold for so many intervals, half an hour by default: that pays for the probe."""
PROBE_INTERVALS: Final = 1.5
"""About how long a probe takes; its cost is reckoned for as long."""
GLANCE_INTERVALS: Final = 0.5
"""A probe out of k=0 ends after one short window when nothing has changed."""
TRAFFIC_INTERVALS: Final = 180.0
"""Traffic is expected to change about this often, where it cannot be seen."""
ALLOWANCE_INTERVALS: Final = 90.0
"""At first as much may be spent as so long a time of the budget brings."""
SAVED_INTERVALS: Final = 720.0
"""An unspent budget is kept for so long a time at most."""
_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Account:
    """What exploration may still cost, in seconds of the server's whole throughput.

    Attributes:
        seconds: Left to spend; None before the first pass.
        at_seconds: When that was, on a monotonic clock.
    """

    seconds: float | None = None
    at_seconds: float = 0.0

    def after(self, now_seconds: float, lost: float, settings: PolicySettings) -> "Account":
        """The account at a later time: the budget comes in, and the share of throughput that a probe lost goes out."""
        income = settings.exploration_budget * settings.interval_seconds  # of one interval
        most = income * SAVED_INTERVALS
        if self.seconds is None:
            return Account(income * ALLOWANCE_INTERVALS, now_seconds)
        passed = max(0.0, now_seconds - self.at_seconds)
        probed = min(passed, settings.interval_seconds)  # what was lost in an outage was not lost to a probe
        left = self.seconds + passed * settings.exploration_budget - probed * lost
        return Account(min(most, left), now_seconds)


NEW_ACCOUNT: Final = Account()


def expected_improvement(score: Score) -> float:
    """E[max(0, gain - 1)] of a k, its gain being log-normal: what could be won by knowing it.

    >>> from controller.model.economics import Score
    >>> sure = Score(1, 1, 1, 1, 1, 1, gain_ratio=1.1, gain_low=1.1, gain_high=1.1, tokens_observed=True,
    ...              step_measured=True)
    >>> round(expected_improvement(sure), 6)
    0.1
    """
    mean = math.log(score.gain_ratio)
    deviation = (math.log(score.gain_high) - mean) / _Z90
    if deviation <= 0:
        return max(0.0, score.gain_ratio - 1)
    above = _NORMAL.cdf(mean / deviation + deviation)
    return max(0.0, math.exp(mean + deviation**2 / 2) * above - _NORMAL.cdf(mean / deviation))


def overdue(
    known: Sequence[Score],
    blank: Sequence[Score],
    blind_seconds: float,
    chance: float,
    account: Account,
    settings: PolicySettings,
) -> Score | None:
    """The probe out of k=0 that is due; None while it is not.

    At k=0 nothing is drafted, so that a change of traffic goes unseen. If changes come once in T seconds and are worth
    g, and a probe costs c, then probing every sqrt(2 c T / g) seconds costs least; this is jittered by a quarter. g is
    what the best k would be expected to bring if nothing were known of the traffic.

    Args:
        known: Every k that can run, at the present load, as known; the fewest drafts of them are probed.
        blank: The same, with the prior of acceptance in place of what was known.
        blind_seconds: Since something was last drafted.
        chance: From 0 to 1.
        account: What exploration may cost.
        settings: T and c are reckoned in its intervals.
    """
    drafting = next((score for score in known if score.k > 0), None)
    if drafting is None or not blank:
        return None
    cost = max(0.01, 1 - drafting.gain_ratio) * GLANCE_INTERVALS * settings.interval_seconds
    gain = max(expected_improvement(score) for score in blank)
    if gain <= 0 or cost > (account.seconds or 0.0):
        return None
    due = math.sqrt(2 * cost * TRAFFIC_INTERVALS * settings.interval_seconds / gain) * (0.75 + 0.5 * chance)
    return drafting if blind_seconds >= due else None


def worth_measuring(
    scores: Sequence[Score],
    home_k: int,
    positions_observed: int,
    account: Account,
    settings: PolicySettings,
    barred: Collection[int] = (),
) -> Score | None:
    """The k whose measurement is worth most; None when none is worth its price.

    At most one position beyond those that were observed: further out there is nothing but extrapolation. A probe
    must be able to end in a change (its upper bound clears the minimum gain), bring more in `PAYBACK_INTERVALS` than
    it is expected to lose in `PROBE_INTERVALS`, and be within the budget.
    """
    best, best_value = None, 0.0
    if settings.exploration_budget <= 0:
        return None  # not even what is expected to cost nothing
    for score in scores:
        if score.k in barred or score.k == home_k or score.k > max(home_k, positions_observed) + 1:
            continue
        loss = max(0.0, 1 - score.gain_ratio) * PROBE_INTERVALS * settings.interval_seconds
        value = expected_improvement(score) * PAYBACK_INTERVALS * settings.interval_seconds - loss
        affordable = loss <= (account.seconds or 0.0)
        if affordable and score.gain_high >= 1 + settings.minimum_gain and value > best_value:
            best, best_value = score, value
    return best
