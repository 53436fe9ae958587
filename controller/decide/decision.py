"""What was decided, in values."""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.economics import Score
from controller.reason import Reason

Schedule = tuple[tuple[int, int, int], ...]
"""vLLM's `num_speculative_tokens_per_batch_size`: inclusive (lowest batch, highest batch, k), the first from 1."""


class Action(StrEnum):
    """What to do with k."""

    HOLD = "hold"
    CHANGE = "change"
    DISABLE = "disable"
    PROBE = "probe"
    ROLL_BACK = "roll_back"


class Baseline(StrEnum):
    """Where the k=0 side of the margin comes from."""

    MEASURED = "measured"
    MODELLED = "modelled"


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value with its 90% bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One pass's answer for one engine. Whatever is not known is None, never 0.

    Attributes:
        action: What to do.
        reason: Why, by name.
        sentence: Why, in words, with the numbers.
        k_now: The k in force, averaged over the window's steps; None when it cannot be told.
        k: The k to run at the present load; `k_now` rounded when the answer is to hold.
        k_best: The k with the highest expected throughput, whether or not the evidence suffices to go there.
        batch: The load it was decided for, in decoding requests.
        schedule: The best k by batch, in vLLM's own format; empty when nothing could be judged.
        gain: Throughput at `k` over throughput now.
        margin: Throughput now over throughput at k=0 on this same server, minus 1.
        margin_without_speculation: The same against a server launched without speculation; always modelled.
        baseline: Whether k=0 was measured at this load.
        scores: Every k at this batch.
    """

    action: Action
    reason: Reason
    sentence: str
    k_now: float | None = None
    k: int | None = None
    k_best: int | None = None
    batch: float | None = None
    schedule: Schedule = ()
    gain: Bounded | None = None
    margin: Bounded | None = None
    margin_without_speculation: Bounded | None = None
    baseline: Baseline = Baseline.MODELLED
    scores: tuple[Score, ...] = ()
