"""What a scrape reads: counts and times over all passes, and the latest cycle. A new value for every pass."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.act.actuator import Outcome
from controller.cycle import Cycle, EngineCycle
from controller.decide.decision import Action
from controller.observe.snapshot import Key
from controller.reason import Reason

OUTCOMES: Final = (
    (Action.CHANGE, Reason.FASTER_K),
    (Action.CHANGE, Reason.TARGET_MET),
    (Action.CHANGE, Reason.OTHER_BATCHES),
    (Action.DISABLE, Reason.SPECULATION_LOSES),
    (Action.DISABLE, Reason.TARGET_MET),
    (Action.PROBE, Reason.EXPLORING),
    (Action.PROBE, Reason.PROBING_OUT_OF_K0),
    (Action.ROLL_BACK, Reason.REALISED_WORSE),
    (Action.HOLD, Reason.BEST_ALREADY),
    (Action.HOLD, Reason.GAIN_BELOW_MINIMUM),
    (Action.HOLD, Reason.GAIN_UNCERTAIN),
    (Action.HOLD, Reason.COOLDOWN),
    (Action.HOLD, Reason.PROBE_ENDED),
    (Action.HOLD, Reason.FROZEN),
    (Action.HOLD, Reason.STOOD_DOWN),
    (Action.HOLD, Reason.WARMING_UP),
    (Action.HOLD, Reason.NOT_ENOUGH_EVIDENCE),
    (Action.HOLD, Reason.IDLE),
    (Action.HOLD, Reason.NOTHING_DRAFTED),
    (Action.HOLD, Reason.NO_SPECULATION),
)
"""Every way in which a decision can end."""
STALE_SECONDS: Final = 120.0
"""An engine that could not be judged for longer has no gauges: an alert on them would tell of the past as of now."""
LASTING: Final = frozenset({Action.CHANGE, Action.DISABLE, Action.ROLL_BACK})
"""The actions that mean another k for good; a probe is none."""
ENGINES_KEPT: Final = 16
"""Engines that are counted, or more where more are served; of models that are gone, the longest gone are forgotten."""


@dataclass(frozen=True, slots=True)
class EngineCounts:
    """What was counted of one engine since the start of this process.

    Attributes:
        decisions: By action and reason.
        actuations: By what acting did.
        actuation_failures: By reason.
        changes: How often a lasting change was decided, or another k recommended.
        changed_unix_seconds: When the last of them was; None if never.
        changed_to: The k it was to.
        judged_unix_seconds: When its window could last be used; None if never.
    """

    decisions: Counter[tuple[Action, Reason]] = field(default_factory=Counter)
    actuations: Counter[Outcome] = field(default_factory=Counter)
    actuation_failures: Counter[Reason] = field(default_factory=Counter)
    changes: int = 0
    changed_unix_seconds: float | None = None
    changed_to: int | None = None
    judged_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Swapped whole, never changed.

    Attributes:
        cycle: The latest; None before the first.
        last_success_unix_seconds: When a page, and the window of any engine on it, could last be used.
        failures: Of observing, by reason.
        engines: Every engine that was seen, the most recently seen last; of a fleet those that are there.
    """

    cycle: Cycle | None = None
    last_success_unix_seconds: float | None = None
    failures: Counter[Reason] = field(default_factory=Counter)
    engines: Mapping[Key, EngineCounts] = field(default_factory=dict)

    @property
    def present(self) -> tuple[EngineCycle, ...]:
        """The engines of the latest pass of which something is known that is not too old."""
        engines = self.cycle.engines if self.cycle is not None else ()
        return tuple(each for each in engines if not self._is_old(each))

    def _is_old(self, engine: EngineCycle) -> bool:
        known = self.engines.get(engine.key)
        judged = known.judged_unix_seconds if known is not None else None
        return self.cycle is not None and judged is not None and self.cycle.at_unix_seconds - judged > STALE_SECONDS


def after(state: State, cycle: Cycle) -> State:
    """The state with one more cycle. After a failure its engines are those of an earlier pass, counted then."""
    there = {each.key for each in cycle.engines}
    counts = {key: known for key, known in state.engines.items() if not key[2] or key in there}  # a fleet's come and go
    for each in () if cycle.failure else cycle.engines:
        counts[each.key] = _counted(counts.pop(each.key, EngineCounts()), each, cycle.at_unix_seconds)
    failed = cycle.failure is not None or (bool(cycle.engines) and all(each.failure for each in cycle.engines))
    return State(
        cycle=cycle,
        last_success_unix_seconds=state.last_success_unix_seconds if failed else cycle.at_unix_seconds,
        failures=state.failures + Counter(failure.reason for failure in cycle.failures),
        engines=dict(list(counts.items())[-max(ENGINES_KEPT, len(cycle.engines)) :]),
    )


def _counted(known: EngineCounts, engine: EngineCycle, at_unix_seconds: float) -> EngineCounts:
    """The counts with one more pass; after a failed window the decision is the last good one, counted then."""
    decision, acted = engine.decision, engine.acted
    decided = engine.failure is None
    changed = decided and _is_change(known, engine)
    strayed = engine.control is not None and engine.control.applied is False
    failed = [reason for reason in (acted.reason, Reason.NOT_APPLIED if strayed else None) if reason is not None]
    return EngineCounts(
        decisions=known.decisions + Counter([(decision.action, decision.reason)] if decided else []),
        actuations=known.actuations + Counter([acted.outcome]),
        actuation_failures=known.actuation_failures + Counter(failed),
        changes=known.changes + changed,
        changed_unix_seconds=at_unix_seconds if changed else known.changed_unix_seconds,
        changed_to=decision.k if changed else known.changed_to,
        judged_unix_seconds=at_unix_seconds if decided else known.judged_unix_seconds,
    )


def _is_change(known: EngineCounts, engine: EngineCycle) -> bool:
    """Under live control a change is decided once; a mere recommendation is repeated until somebody follows it."""
    decision = engine.decision
    return decision.action in LASTING and (engine.control is not None or decision.k != known.changed_to)
