"""When a change is allowed, and what it would be: pure, from the decision, the workload and its record."""

from typing import Final

from controller.act.rollout.economics import score_at, worth
from controller.act.rollout.place import Place
from controller.act.rollout.record import Expected, Phase, Record
from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.act.rollout.settings import HOUR_SECONDS, RolloutSettings
from controller.act.rollout.speculative_config import ConfigError, method_of, with_k, with_schedule
from controller.decide.decision import Decision
from controller.model.drafter import FIXED_K

SETBACK_FACTOR: Final = 4
"""After each setback in a row the minimum interval is this many times as long."""
SETBACKS_COUNTED: Final = 5


def wanted_text(place: Place, decision: Decision, settings: RolloutSettings) -> str:
    """The speculative config that carries the decision out.

    A schedule where server and method can run one; else the one k for the present load. Speculation is never removed.

    Raises:
        RolloutStop: The config cannot be edited, or nothing that can be written expresses the decision.
    """
    try:
        method = method_of(place.text) or settings.method
        if method is None:
            raise RolloutStop(
                RolloutOutcome.NOT_POSSIBLE,
                "The speculative config does not name its method, so it is not known whether it can run a schedule: "
                'write "method" into it, or give --method.',
            )
        why_not = _no_schedule(place, method, decision, settings)
        if why_not is None:
            return with_schedule(place.text, decision.schedule)
        if not decision.k:
            raise RolloutStop(
                RolloutOutcome.NOT_POSSIBLE,
                f"k=0 is best now, but {why_not}, and speculation is never removed: remove the argument by hand if "
                "this lasts.",
            )
        return with_k(place.text, decision.k)
    except ConfigError as error:
        raise RolloutStop(
            RolloutOutcome.BAD_CONFIG,
            f"The speculative config of container {place.address} cannot be edited: {error}",
        ) from error


def refuse_too_soon(record: Record | None, settings: RolloutSettings, now_unix_seconds: float) -> None:
    """Stop unless the interval since the last change is over, and the day has a change left.

    The interval is `minimum_interval_seconds` times 4 for every setback in a row. A time of day that lies before the
    last change counts as no time at all.

    Raises:
        RolloutStop: With the time that is left.
    """
    if record is None:
        return
    since = record.phase_unix_seconds if record.phase is Phase.REVERTED else record.changed_unix_seconds
    interval = settings.minimum_interval_seconds * SETBACK_FACTOR ** min(record.setbacks, SETBACKS_COUNTED)
    left = interval - max(0.0, now_unix_seconds - since)
    if left > 0:
        after = f" after {_times(record.setbacks)} in a row" if record.setbacks else ""
        raise RolloutStop(
            RolloutOutcome.TOO_SOON,
            f"The interval between two changes is {_hours(interval)}{after}; {_hours(left)} of it are left.",
        )
    if record.changes_on(now_unix_seconds) >= settings.changes_a_day:
        raise RolloutStop(
            RolloutOutcome.TOO_MANY_TODAY,
            f"The workload was changed {record.changes_on(now_unix_seconds)} times today (UTC), and "
            f"{settings.changes_a_day} are allowed.",
        )


def refuse_worthless(decision: Decision, expected: Expected, replicas: int, settings: RolloutSettings) -> None:
    """Stop unless the gain within the horizon exceeds the cost of the restarts; see `worth`.

    Raises:
        RolloutStop: With both numbers.
    """
    now = score_at(decision, expected.k_before)
    assert now is not None  # the expectation was made of it
    assert decision.gain is not None
    found = worth(
        decision.gain.low, now.tokens_per_second, replicas, settings.startup_seconds, settings.horizon_seconds
    )
    if not found.pays:
        raise RolloutStop(
            RolloutOutcome.NOT_WORTH_A_RESTART,
            f"At {decision.gain.low - 1:+.1%} (lower bound) a change gains {found.gained_tokens:,.0f} tokens in "
            f"{_hours(settings.horizon_seconds)}, and its restarts cost up to {found.lost_tokens:,.0f}: not worth it.",
        )


def _no_schedule(place: Place, method: str, decision: Decision, settings: RolloutSettings) -> str | None:
    """Why a schedule cannot be run; None when it can."""
    if not decision.schedule:
        return "no schedule was decided"
    if not settings.use_schedule:
        return "this vLLM is said to know no schedule"
    if method in FIXED_K:
        return f"the method {method} cannot run a schedule"
    return "vLLM ignores a schedule under data parallelism" if place.data_parallel else None


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR_SECONDS:.3g} h" if seconds >= HOUR_SECONDS else f"{max(1.0, seconds / 60):.0f} min"


def _times(setbacks: int) -> str:
    return "one setback" if setbacks == 1 else f"{setbacks} setbacks"
