"""Carrying a decision out. To recommend is the whole pipeline minus this last step."""

from enum import StrEnum
from typing import Protocol

from controller.decide.decision import Action, Decision


class Outcome(StrEnum):
    """What acting did."""

    NOTHING_TO_DO = "nothing_to_do"
    RECOMMENDED = "recommended"


class Actuator(Protocol):
    """Makes a decision so, or only says so."""

    def act(self, model_name: str, engine: str, decision: Decision) -> Outcome:
        """Carry out one decision for one engine."""


class RecommendOnly:
    """Changes nothing: the decision is reported, and a person carries it out."""

    def act(self, model_name: str, engine: str, decision: Decision) -> Outcome:
        """See `Actuator`."""
        del model_name, engine
        return Outcome.NOTHING_TO_DO if decision.action is Action.HOLD else Outcome.RECOMMENDED
