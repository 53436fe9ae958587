"""Carrying a decision out. To recommend is the whole pipeline minus this last step."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from controller.decide.decision import Action, Decision, Schedule
from controller.observe.speculation import Speculation
from controller.reason import Reason


class Outcome(StrEnum):
    """What acting did."""

    NOTHING_TO_DO = "nothing_to_do"
    RECOMMENDED = "recommended"
    APPLIED = "applied"
    RENEWED = "renewed"
    HELD = "held"
    FROZEN = "frozen"
    ROLLING = "rolling"
    ROLLING_BACK = "rolling_back"
    HELD_BACK = "held_back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Acted:
    """What came of a decision.

    Attributes:
        outcome: What was done.
        reason: Why it failed, by name; None unless it did.
        message: The same in words, with the remedy; of a rollout also how it stands.
        speculation: The plugin's state afterwards, where it was asked for something.
        rollout: How the rollout of the workload stands, by its own name; empty where k is not changed by rolling.
    """

    outcome: Outcome
    reason: Reason | None = None
    message: str = ""
    speculation: Speculation | None = None
    rollout: str = ""


NOTHING_DONE: Final = Acted(Outcome.NOTHING_TO_DO)


@dataclass(frozen=True, slots=True)
class Order:
    """A decision to be carried out for one engine.

    Attributes:
        model_name: The served model.
        engine: The engine's label.
        decision: What was decided.
        wanted: The schedule that is to be in force now, a probe's included; empty for the launch schedule.
        speculation: The plugin's state as this pass found it; None without a plugin.
    """

    model_name: str
    engine: str
    decision: Decision
    wanted: Schedule = ()
    speculation: Speculation | None = None


class Actuator(Protocol):
    """Makes a decision so, or only says so."""

    def act(self, order: Order) -> Acted:
        """Carry out one order. Whatever goes wrong outside is told, never raised."""

    def idle(self) -> Acted | None:
        """See to what is under way, in a pass without a fresh decision; None where nothing ever is. Never raises."""


class RecommendOnly:
    """Changes nothing: the decision is reported, and a person carries it out."""

    def act(self, order: Order) -> Acted:
        """See `Actuator`."""
        return NOTHING_DONE if order.decision.action is Action.HOLD else Acted(Outcome.RECOMMENDED)

    def idle(self) -> None:
        """See `Actuator`."""
