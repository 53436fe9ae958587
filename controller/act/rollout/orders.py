"""The loop's orders, carried out by rolling the workload: the rollout's own outcomes in the loop's words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from controller.act.actuator import Acted, Order, Outcome
from controller.act.rollout.actuator import RolloutActuator
from controller.act.rollout.result import RolloutOutcome, RolloutResult
from controller.decide.decision import Action
from controller.reason import Reason

_FAILURES: Final = {
    RolloutOutcome.NO_ARGUMENT: Reason.ROLLOUT_IMPOSSIBLE,
    RolloutOutcome.AMBIGUOUS: Reason.ROLLOUT_IMPOSSIBLE,
    RolloutOutcome.BAD_CONFIG: Reason.ROLLOUT_IMPOSSIBLE,
    RolloutOutcome.NOT_POSSIBLE: Reason.ROLLOUT_IMPOSSIBLE,
    RolloutOutcome.RECORD_UNREADABLE: Reason.ROLLOUT_IMPOSSIBLE,
    RolloutOutcome.UNAUTHENTICATED: Reason.ROLLOUT_REFUSED,
    RolloutOutcome.FORBIDDEN: Reason.ROLLOUT_REFUSED,
    RolloutOutcome.NOT_FOUND: Reason.ROLLOUT_REFUSED,
    RolloutOutcome.REJECTED: Reason.ROLLOUT_REFUSED,
    RolloutOutcome.REVERTED: Reason.ROLLOUT_REVERTED,
    RolloutOutcome.ROLLBACK_FAILED: Reason.ROLLOUT_FAILED,
    RolloutOutcome.RATE_LIMITED: Reason.KUBERNETES_UNREACHABLE,
    RolloutOutcome.API_ERROR: Reason.KUBERNETES_UNREACHABLE,
    RolloutOutcome.API_UNREACHABLE: Reason.KUBERNETES_UNREACHABLE,
}
"""What calls for a person."""
_OUTCOMES: Final = {
    RolloutOutcome.NOTHING_TO_DO: Outcome.NOTHING_TO_DO,
    RolloutOutcome.DRY_RUN: Outcome.RECOMMENDED,
    RolloutOutcome.STARTED: Outcome.ROLLING,
    RolloutOutcome.ROLLING: Outcome.ROLLING,
    RolloutOutcome.SETTLING: Outcome.ROLLING,
    RolloutOutcome.SETTLED: Outcome.APPLIED,
    RolloutOutcome.ROLLING_BACK: Outcome.ROLLING_BACK,
    RolloutOutcome.ROLLED_BACK: Outcome.ROLLING_BACK,
    RolloutOutcome.TOO_SOON: Outcome.HELD_BACK,
    RolloutOutcome.TOO_MANY_TODAY: Outcome.HELD_BACK,
    RolloutOutcome.NOT_WORTH_A_RESTART: Outcome.HELD_BACK,
    RolloutOutcome.NOT_LEADER: Outcome.HELD_BACK,
    RolloutOutcome.WORKLOAD_BUSY: Outcome.HELD_BACK,
    RolloutOutcome.CHANGED_MEANWHILE: Outcome.HELD_BACK,
} | dict.fromkeys(_FAILURES, Outcome.FAILED)


class RolloutOrders:
    """The `Actuator` that rolls the workload."""

    def __init__(
        self, rollout: RolloutActuator, frozen: Callable[[], bool], tell: Callable[[RolloutResult], None]
    ) -> None:
        """Asks for nothing yet.

        Args:
            rollout: What edits the workload.
            frozen: Whether the operator wants no changes now; one that is under way is seen through all the same.
            tell: Takes what came of every pass.
        """
        self._rollout = rollout
        self._frozen = frozen
        self._tell = tell

    def act(self, order: Order) -> Acted:
        """Roll the workload where the decision wants another k; see `Actuator`."""
        decision = order.decision
        frozen = decision.action is not Action.HOLD and self._frozen()
        if frozen:
            decision = replace(decision, action=Action.HOLD)
        acted = self._told(self._rollout.act(order.model_name, order.engine, decision))
        return replace(acted, outcome=Outcome.FROZEN) if frozen and acted.outcome is Outcome.NOTHING_TO_DO else acted

    def idle(self) -> Acted:
        """See to the rollout that is under way; see `Actuator`."""
        return self._told(self._rollout.tend())

    def _told(self, result: RolloutResult) -> Acted:
        self._tell(result)
        return Acted(
            _OUTCOMES[result.outcome],
            _FAILURES.get(result.outcome),
            result.sentence,
            rollout=result.outcome.value,
        )
