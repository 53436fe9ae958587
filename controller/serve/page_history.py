"""What the status page remembers of the passes so far: the last decisions, and when something was last known."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from controller.act.actuator import Outcome
from controller.cycle import Cycle, EngineCycle, Failure
from controller.decide.decision import Action
from controller.observe.snapshot import Key
from controller.reason import Reason

ENTRIES_MAX: Final = 30
"""Entries of one engine; the oldest are forgotten."""
ENGINES_MAX: Final = 64
"""Engines that are remembered; a server has fewer, and a page cannot show more."""
SENTENCE_MAX: Final = 500
"""Characters that are kept of a sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Passes in a row that ended alike.

    Attributes:
        since_unix_seconds: The end of the first of them.
        until_unix_seconds: The end of the last.
        passes: How many.
        action: What was decided; None where the pass failed.
        reason: Why, or why it failed.
        k: The k of the last of them; of another k than before is another entry, unless k is held.
        outcome: What acting on the last of them did.
        hitch: Why it could not be carried out; None where it was, or nothing was to be done.
        rollout: How the rollout of the workload stood; empty where nothing is rolled, or nothing was to be.
        sentence: The last of them in words.
    """

    since_unix_seconds: float
    until_unix_seconds: float
    passes: int
    action: Action | None
    reason: Reason
    k: int | None
    outcome: Outcome
    hitch: Reason | None
    rollout: str
    sentence: str

    @property
    def kind(self) -> tuple[object, ...]:
        """Passes of one kind in a row are one entry."""
        return self.action, self.reason, None if self.action is Action.HOLD else self.k, self.hitch, self.rollout


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of one engine: its entries, the latest first, and when its window was last good."""

    entries: tuple[Entry, ...] = ()
    good_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """All that the page is made from.

    Attributes:
        cycle: The latest pass; None before the first.
        good_unix_seconds: When the server was last read; None if never.
        failed: Passes in which the server could not be read.
        pasts: By engine.
    """

    cycle: Cycle | None = None
    good_unix_seconds: float | None = None
    failed: int = 0
    pasts: Mapping[Key, Past] = field(default_factory=dict)

    def past(self, engine: EngineCycle) -> Past:
        """What is remembered of an engine."""
        return self.pasts.get(engine.key, Past())


def after(story: Story, cycle: Cycle) -> Story:
    """The story with one more pass; engines that are gone are forgotten."""
    good = cycle.failure is None
    return Story(
        cycle=cycle,
        good_unix_seconds=cycle.at_unix_seconds if good else story.good_unix_seconds,
        failed=story.failed + (not good),
        pasts={engine.key: _one_more(story.past(engine), engine, cycle) for engine in cycle.engines[:ENGINES_MAX]},
    )


def _one_more(past: Past, engine: EngineCycle, cycle: Cycle) -> Past:
    failure = cycle.failure or engine.failure
    at = cycle.at_unix_seconds
    fresh = _failed(failure, at) if failure else _decided(engine, at)
    last = past.entries[0] if past.entries else None
    if last is not None and last.kind == fresh.kind:
        fresh = replace(fresh, since_unix_seconds=last.since_unix_seconds, passes=last.passes + 1)
        entries = (fresh, *past.entries[1:])
    else:
        entries = (fresh, *past.entries)[:ENTRIES_MAX]
    return Past(entries, past.good_unix_seconds if failure else at)


def _failed(failure: Failure, at: float) -> Entry:
    text = failure.message[:SENTENCE_MAX]
    return Entry(at, at, 1, None, failure.reason, None, Outcome.NOTHING_TO_DO, None, "", text)


def _decided(engine: EngineCycle, at: float) -> Entry:
    decision, acted = engine.decision, engine.acted
    text = decision.sentence[:SENTENCE_MAX]
    rollout = "" if acted.outcome is Outcome.NOTHING_TO_DO else acted.rollout
    return Entry(at, at, 1, decision.action, decision.reason, decision.k, acted.outcome, acted.reason, rollout, text)
