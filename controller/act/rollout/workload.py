"""What a workload says of itself: where its pods are described, whether it may be rolled now, how far a rollout is."""

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.plain import plain

_NUMBER_OR_SHARE: Final = re.compile(r"(\d{1,9})(%?)", re.ASCII)
PROGRESS_DEADLINE_SECONDS: Final = 600
"""The API server's default."""


class Kind(StrEnum):
    """Workloads that can be rolled."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    LEADER_WORKER_SET = "LeaderWorkerSet"

    @property
    def group(self) -> str:
        """Its API group; the version is v1."""
        return "leaderworkerset.x-k8s.io" if self is Kind.LEADER_WORKER_SET else "apps"

    @property
    def plural(self) -> str:
        """Its resource."""
        return f"{self.value.lower()}s"


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


def templates_of(workload: dict[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Every pod template, with its JSON pointer. A LeaderWorkerSet may have one for leaders and has one for workers."""
    spec = workload["spec"]
    if workload.get("kind") != Kind.LEADER_WORKER_SET.value:
        return (("/spec/template", spec["template"]),)
    found = spec["leaderWorkerTemplate"]
    names = [name for name in ("leaderTemplate", "workerTemplate") if found.get(name)]
    return tuple((f"/spec/leaderWorkerTemplate/{name}", found[name]) for name in names)


def replicas_of(workload: dict[str, Any]) -> int:
    """Pods wanted; the API server's default is 1."""
    found = workload["spec"].get("replicas")
    return 1 if found is None else int(found)


def progress(workload: dict[str, Any], since_seconds: float = math.inf) -> Progress:
    """As `kubectl rollout status` judges it.

    The spec must have been observed; then every replica must be of the new template, none of the old may be left, and
    all must be available. A Deployment fails when its Progressing condition says so; the others never say so. The
    replicas of a LeaderWorkerSet are groups, and available when they are ready.

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
    ready = "readyReplicas" if workload.get("kind") == Kind.LEADER_WORKER_SET.value else "availableReplicas"
    available = status.get(ready, 0)
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


def starts_in_a_row(workload: dict[str, Any]) -> int:
    """How many times pods start one after the other in a rollout, as many at a time as the strategy allows.

    ceil(replicas / (maxSurge + maxUnavailable)); shares of the replicas are rounded up for the first, and down for the
    second.
    """
    replicas = replicas_of(workload)
    strategy = _strategy(workload)
    if strategy.get("type") == "Recreate":
        return 1
    surge, unavailable = ("25%", "25%") if workload["kind"] == Kind.DEPLOYMENT.value else (0, 1)
    rolling = _rolling(strategy)
    at_a_time = math.ceil(_count(rolling.get("maxSurge", surge), replicas))
    at_a_time += math.floor(_count(rolling.get("maxUnavailable", unavailable), replicas))
    return math.ceil(replicas / max(1, at_a_time))


def refuse_unfit(workload: dict[str, Any], startup_seconds: float, timeout_seconds: float) -> None:
    """Stop unless a change of the template now would roll out, and be seen to.

    Args:
        workload: Its object.
        startup_seconds: From a pod's start until it serves.
        timeout_seconds: A rollout that takes longer counts as failed.

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
    _refuse_partial(workload)
    if workload["kind"] == Kind.DEPLOYMENT.value and startup_seconds > (deadline := _deadline_seconds(workload)):
        raise _impossible(
            f"progressDeadlineSeconds is {deadline}, less than the {startup_seconds:g} s that a start takes: every "
            "rollout would count as failed. Raise it"
        )
    if (whole := starts_in_a_row(workload) * startup_seconds) > timeout_seconds:
        raise _impossible(
            f"its pods take {whole:g} s to start one after the other, more than the {timeout_seconds:g} s after which "
            "a rollout counts as failed. Raise --rollout-timeout-seconds"
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


def _refuse_partial(workload: dict[str, Any]) -> None:
    """A part of the pods must not keep the old k, and the end of a rollout must show."""
    strategy = _strategy(workload)
    if strategy.get("type") == "OnDelete":
        raise _impossible("its updateStrategy is OnDelete: only RollingUpdate restarts the pods")
    if _rolling(strategy).get("partition"):
        raise _impossible("its strategy has a partition: a part of the pods would keep the old k")
    status = workload.get("status") or {}
    if workload["kind"] == Kind.LEADER_WORKER_SET.value and "observedGeneration" not in status:
        raise _impossible("its status has no observedGeneration, so that no rollout can be followed: update LWS")


def _strategy(workload: dict[str, Any]) -> dict[str, Any]:
    """Each kind has a name of its own for it."""
    spec = workload["spec"]
    return spec.get("strategy") or spec.get("updateStrategy") or spec.get("rolloutStrategy") or {}


def _rolling(strategy: dict[str, Any]) -> dict[str, Any]:
    return strategy.get("rollingUpdate") or strategy.get("rollingUpdateConfiguration") or {}


def _count(number_or_share: int | str, replicas: int) -> float:
    found = _NUMBER_OR_SHARE.fullmatch(str(number_or_share))
    if found is None:
        return 0.0
    return int(found[1]) * (replicas / 100 if found[2] else 1.0)


def _deadline_seconds(workload: dict[str, Any]) -> int:
    found: int = workload["spec"].get("progressDeadlineSeconds", PROGRESS_DEADLINE_SECONDS)
    return found


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((each for each in status.get("conditions") or [] if each.get("type") == kind), {})
    return found


def _impossible(why: str) -> RolloutStop:
    return RolloutStop(RolloutOutcome.NOT_POSSIBLE, f"The workload cannot be rolled: {why}.")
