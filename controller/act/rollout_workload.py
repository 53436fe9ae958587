"""What a Deployment or StatefulSet says of itself: whether it may be rolled now, and how far a rollout is."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from controller.act.rollout_result import RolloutOutcome, RolloutStop
from controller.plain import plain

PROGRESS_DEADLINE_SECONDS: Final = 600
"""The API server's default."""


class Kind(StrEnum):
    """Workloads that can be rolled."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"


class State(StrEnum):
    """How a rollout stands."""

    GOING = "going"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """A rollout's state, and the same in words."""

    state: State
    sentence: str


def replicas_of(workload: dict[str, Any]) -> int:
    """Pods wanted; the API server's default is 1."""
    found = workload["spec"].get("replicas")
    return 1 if found is None else int(found)


def progress(workload: dict[str, Any], since_seconds: float = math.inf) -> Progress:
    """As `kubectl rollout status` judges it.

    The spec must have been observed; then every replica must be of the new template, none of the old may be left, and
    all must be available. A Deployment fails when its Progressing condition says so; a StatefulSet never says so.

    Args:
        workload: Its object.
        since_seconds: Time since its last change. A condition that speaks of a deadline which has not passed since is
            that of the rollout before: after a rollback the Deployment's controller leaves it standing for a while.
    """
    status = workload.get("status") or {}
    wanted = replicas_of(workload)
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return Progress(State.GOING, "the change has not been observed yet")
    updated = status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    counts = f"{updated} of {wanted} replicas updated, {available} available"
    old_left = status.get("replicas", 0) > updated
    if updated >= wanted and available >= wanted and not old_left:
        return Progress(State.DONE, counts)
    condition = _condition(status, "Progressing")
    failed = condition.get("status") == "False" and condition.get("reason") == "ProgressDeadlineExceeded"
    if failed and since_seconds >= _deadline_seconds(workload):
        said = plain(condition.get("message", ""), 200).rstrip(".")
        return Progress(State.FAILED, f"the progress deadline was exceeded: {said}")
    return Progress(State.GOING, counts)


def refuse_unfit(workload: dict[str, Any], startup_seconds: float) -> None:
    """Stop unless a change of the template now would roll out, and be seen to.

    Raises:
        RolloutStop: With what stands against it.
    """
    metadata, spec = workload["metadata"], workload["spec"]
    if metadata.get("deletionTimestamp"):
        raise RolloutStop(RolloutOutcome.WORKLOAD_BUSY, "The workload is being deleted.")
    if spec.get("paused"):
        raise _impossible("its rollouts are paused: resume them with `kubectl rollout resume`")
    if replicas_of(workload) == 0:
        raise RolloutStop(RolloutOutcome.WORKLOAD_BUSY, "The workload is scaled to zero: nothing would change.")
    if _is_stateful(workload):
        strategy = spec.get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            raise _impossible("its updateStrategy is OnDelete: only RollingUpdate restarts the pods")
        if (strategy.get("rollingUpdate") or {}).get("partition"):
            raise _impossible("its updateStrategy has a partition: a part of the pods would keep the old k")
    elif startup_seconds > (deadline := _deadline_seconds(workload)):
        raise _impossible(
            f"progressDeadlineSeconds is {deadline}, less than the {startup_seconds:g} s that a start takes: every "
            "rollout would count as failed. Raise it"
        )
    now = progress(workload)
    if now.state is not State.DONE:
        raise RolloutStop(
            RolloutOutcome.WORKLOAD_BUSY,
            f"The workload is not at rest ({now.sentence}): it is left alone until every replica is available.",
        )


def other_manager(workload: dict[str, Any], ours: str) -> str | None:
    """Who last wrote the pod template's containers, by the field manager's name; None when that is not told."""
    found = [
        each
        for each in workload["metadata"].get("managedFields") or []
        if each.get("manager") != ours and "f:containers" in str(each.get("fieldsV1"))
    ]
    latest = max(found, key=lambda each: str(each.get("time", "")), default=None)
    return None if latest is None else plain(str(latest.get("manager")), 60)


def _is_stateful(workload: dict[str, Any]) -> bool:
    return "updateStrategy" in workload["spec"] or workload.get("kind") == Kind.STATEFUL_SET.value


def _deadline_seconds(workload: dict[str, Any]) -> int:
    found: int = workload["spec"].get("progressDeadlineSeconds", PROGRESS_DEADLINE_SECONDS)
    return found


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((each for each in status.get("conditions") or [] if each.get("type") == kind), {})
    return found


def _impossible(why: str) -> RolloutStop:
    return RolloutStop(RolloutOutcome.NOT_POSSIBLE, f"The workload cannot be rolled: {why}.")
