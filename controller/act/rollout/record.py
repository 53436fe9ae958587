"""What the workload itself remembers of our changes, in annotations: restarts of ours forget nothing."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from controller.act.rollout.result import Patch, RolloutOutcome, RolloutStop
from controller.clock import utc_text

PREFIX: Final = "adaptive-k.io/"
LAST_CHANGE: Final = f"{PREFIX}last-change"
CHANGES_TODAY: Final = f"{PREFIX}changes-today"
PREVIOUS_CONFIG: Final = f"{PREFIX}previous-config"
APPLIED_CONFIG: Final = f"{PREFIX}applied-config"
PHASE: Final = f"{PREFIX}phase"
PHASE_SINCE: Final = f"{PREFIX}phase-since"
SETBACKS: Final = f"{PREFIX}setbacks"
EXPECTED: Final = f"{PREFIX}expected"
_NAMES: Final = (
    LAST_CHANGE, CHANGES_TODAY, PREVIOUS_CONFIG, APPLIED_CONFIG, PHASE, PHASE_SINCE, SETBACKS, EXPECTED,
)  # fmt: skip
_SETBACKS_MAX: Final = 1000
_K_MAX: Final = 4096
_NUMBER_MAX: Final = 1e12
"""What nobody measures; products and ratios of such numbers are still some."""


class Phase(StrEnum):
    """How far a change has come."""

    ROLLING = "rolling"
    SETTLING = "settling"
    SETTLED = "settled"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    REVERTED = "reverted"

    @property
    def in_flight(self) -> bool:
        """Whether somebody has to see to it."""
        return self in (Phase.ROLLING, Phase.SETTLING, Phase.ROLLING_BACK)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a change was expected to bring, and how things stood before it.

    Attributes:
        k_before: The k that ran.
        k: The k for that load since.
        gain: Expected throughput over that before, as a ratio.
        batch: The load, in decoding requests.
        tokens_per_second: Of one server at that load; None when no step of it was measured.
        spread: Its 90% bounds are value / spread and value * spread.
        tokens_per_step: What its traffic yielded a step at k_before: tells traffic apart from the work of k.
    """

    k_before: int
    k: int
    gain: float
    batch: float
    tokens_per_second: float | None
    spread: float
    tokens_per_step: float


@dataclass(frozen=True, slots=True)
class Record:
    """The last change.

    Attributes:
        changed_unix_seconds: When.
        changes_that_day: Changes on that day (UTC), this one included.
        previous: The speculative config before it.
        applied: The one that it put there.
        phase: How far it has come.
        phase_unix_seconds: Since when.
        setbacks: Changes in a row that were rolled back or reverted.
        expected: What it was to bring.
    """

    changed_unix_seconds: float
    changes_that_day: int
    previous: str
    applied: str
    phase: Phase
    phase_unix_seconds: float
    setbacks: int
    expected: Expected

    def annotations(self) -> dict[str, str]:
        """As the workload keeps it."""
        expected = {name: getattr(self.expected, name) for name in Expected.__dataclass_fields__}
        return {
            LAST_CHANGE: utc_text(self.changed_unix_seconds),
            CHANGES_TODAY: f"{day(self.changed_unix_seconds)}/{self.changes_that_day}",
            PREVIOUS_CONFIG: self.previous,
            APPLIED_CONFIG: self.applied,
            PHASE: self.phase.value,
            PHASE_SINCE: utc_text(self.phase_unix_seconds),
            SETBACKS: str(self.setbacks),
            EXPECTED: json.dumps(expected),
        }

    def older_than(self, other: "Record | None") -> bool:
        """Whether it is of a change before the other's, to the second: annotations keep no more."""
        return other is not None and int(self.changed_unix_seconds) < int(other.changed_unix_seconds)

    def changes_on(self, unix_seconds: float) -> int:
        """Changes on the day of this instant, so far."""
        return self.changes_that_day if day(unix_seconds) == day(self.changed_unix_seconds) else 0


def day(unix_seconds: float) -> str:
    """The day in UTC.

    >>> day(86_400.0)
    '1970-01-02'
    """
    return utc_text(unix_seconds)[:10]


def read_record(workload: dict[str, Any]) -> Record | None:
    """The record in the workload's annotations; None when there is none.

    Raises:
        RolloutStop: It is incomplete or damaged. Nothing is guessed: a wrong guess might restart servers at once.
    """
    kept = workload["metadata"].get("annotations") or {}
    if not any(name in kept for name in _NAMES):
        return None
    try:
        that_day, _, count = kept[CHANGES_TODAY].partition("/")
        record = Record(
            changed_unix_seconds=_unix_seconds(kept[LAST_CHANGE]),
            changes_that_day=_count(count),
            previous=kept[PREVIOUS_CONFIG],
            applied=kept[APPLIED_CONFIG],
            phase=Phase(kept[PHASE]),
            phase_unix_seconds=_unix_seconds(kept[PHASE_SINCE]),
            setbacks=_count(kept[SETBACKS]),
            expected=_expected(kept[EXPECTED]),
        )
        if that_day != day(record.changed_unix_seconds):
            raise ValueError("changes-today is of another day than last-change")  # noqa: TRY301
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        name = error.args[0] if isinstance(error, KeyError) else PREFIX + "*"
        raise RolloutStop(
            RolloutOutcome.RECORD_UNREADABLE,
            f"The annotations {name} of the workload do not hold together, so it is not known when k was last changed: "
            f"remove every {PREFIX} annotation to start anew.",
        ) from error
    return record


def annotation_operations(workload: dict[str, Any], record: Record) -> Patch:
    """The operations that write the record; `add` replaces what is there."""
    first: Patch = ()
    if not isinstance(workload["metadata"].get("annotations"), dict):
        first = ({"op": "add", "path": "/metadata/annotations", "value": {}},)
    return first + tuple(
        {"op": "add", "path": f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}", "value": value}
        for name, value in record.annotations().items()
    )


def _unix_seconds(text: str) -> float:
    """An instant in UTC, as `utc_text` writes it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _SETBACKS_MAX:
        raise ValueError("a count is expected")
    return int(text)


def _expected(text: str) -> Expected:
    found = Expected(**json.loads(text))
    ks, ratios = (found.k_before, found.k), [found.gain, found.batch, found.spread, found.tokens_per_step]
    if found.tokens_per_second is not None:
        ratios.append(found.tokens_per_second)
    if any(isinstance(each, bool) or not isinstance(each, int) or not 0 <= each <= _K_MAX for each in ks):
        raise ValueError("k is a whole number")
    if any(isinstance(each, bool) or not 1 / _NUMBER_MAX <= each <= _NUMBER_MAX for each in ratios) or found.spread < 1:
        raise ValueError("numbers are expected")
    return found
