"""History through the real loop, on a clock that stands at each instant of the past in turn."""

import math
from collections.abc import Sequence
from typing import Final

from controller.backtest.decider import Decider
from controller.backtest.outcome import Backtest, Outcome
from controller.backtest.past import Instants, Past
from controller.clock import utc_text
from controller.cycle import Failure
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Key
from controller.reason import Reason

LATE_STEPS: Final = 2
"""History that begins so many steps later than asked is said to be shorter."""
SPARSE: Final = 0.2
"""Share of passes without new samples from which on the step is said to be shorter than the time between scrapes."""


def replay(past: Past, instants: Instants, decider: Decider) -> Backtest:
    """Pass after pass to the end of history, or to the failure that ends it."""
    first = last = None
    reached, passes = instants.since_unix_seconds, 0
    failure: Failure | None = None
    for instant in instants:
        try:
            snapshots = past.at(instant)
        except ObserveError as error:
            failure = Failure(error.reason, error.message)
            break
        if snapshots:
            first, last = instant if first is None else first, instant
        decider.decide(instant, snapshots)
        passes, reached = passes + len(snapshots), instant
    outcomes = tuple(sorted(decider.outcomes(), key=_by_gain))
    return Backtest(
        instants.since_unix_seconds,
        instants.until_unix_seconds,
        instants.step_seconds,
        reached if failure is not None else instants.until_unix_seconds,
        first,
        last,
        outcomes,
        failure,
        warnings(instants, first, outcomes),
        passes,
        past.queries,
        past.size_bytes,
    )


def warnings(instants: Instants, first: float | None, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What makes the answer less than it seems."""
    found = []
    if first is not None and first - instants.since_unix_seconds > LATE_STEPS * instants.step_seconds:
        found.append(
            f"History begins at {utc_text(first)}, not at {utc_text(instants.since_unix_seconds)}: the store keeps no "
            "more, or there was no such server before."
        )
    reasons = [dict(each.reasons) for each in outcomes]
    passes = sum(sum(each.values()) for each in reasons)
    unchanged = sum(each.get(Reason.NO_NEW_SAMPLES, 0) for each in reasons)
    if passes and unchanged > SPARSE * passes:
        found.append(
            f"In {unchanged / passes:.0%} of the passes nothing had been scraped since the one before: --step is "
            "shorter than the time between scrapes. Raise it to that."
        )
    found += [text for each in outcomes for _, text in each.notes]
    return tuple(dict.fromkeys(found))


def _by_gain(outcome: Outcome) -> tuple[float, Key]:
    if not outcome.hours:
        return math.inf, outcome.key
    return outcome.total.tokens - outcome.total.would.tokens.value, outcome.key
