"""What the rollout actuator did, or why it did not: one closed list of names."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Patch = tuple[dict[str, Any], ...]
"""RFC 6902 operations, in order."""


class RolloutOutcome(StrEnum):
    """The name of every outcome. The value is stable: alerts, Events and runbooks are written against it."""

    # nothing wrong
    NOTHING_TO_DO = "nothing_to_do"
    DRY_RUN = "dry_run"
    STARTED = "started"
    ROLLING = "rolling"
    SETTLING = "settling"
    SETTLED = "settled"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    # a guard holds it back
    TOO_SOON = "too_soon"
    TOO_MANY_TODAY = "too_many_today"
    NOT_WORTH_A_RESTART = "not_worth_a_restart"
    NOT_LEADER = "not_leader"
    # the workload does not allow it
    NO_ARGUMENT = "no_argument"
    AMBIGUOUS = "ambiguous"
    BAD_CONFIG = "bad_config"
    NOT_POSSIBLE = "not_possible"
    WORKLOAD_BUSY = "workload_busy"
    REVERTED = "reverted"
    RECORD_UNREADABLE = "record_unreadable"
    # the API server does not
    CHANGED_MEANWHILE = "changed_meanwhile"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    API_ERROR = "api_error"
    API_UNREACHABLE = "api_unreachable"


@dataclass(frozen=True, slots=True)
class Edit:
    """What changed in the workload.

    Attributes:
        pointer: JSON pointer of the string that was edited.
        before: The speculative config as it was.
        after: As it is now, or would be.
    """

    pointer: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """One call's answer.

    Attributes:
        outcome: What was done, by name.
        sentence: The same in words, with the remedy where there is one.
        edit: What changed; None when nothing did.
        patch: The JSON patch that was sent, or that a dry run would send; empty without one.
        warnings: What went wrong beside it without changing the outcome, such as an Event that could not be written.
    """

    outcome: RolloutOutcome
    sentence: str
    edit: Edit | None = None
    patch: Patch = ()
    warnings: tuple[str, ...] = ()


class RolloutStop(Exception):  # noqa: N818  # most are no errors: a guard holds, another replica leads
    """Nothing more is done in this call: the outcome and its sentence. Raised in `act/rollout*`, caught in one place.

    `retry_seconds`: when the API server wants no request for so long; None otherwise.
    """

    def __init__(self, outcome: RolloutOutcome, sentence: str, retry_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.outcome = outcome
        self.sentence = sentence
        self.retry_seconds = retry_seconds
