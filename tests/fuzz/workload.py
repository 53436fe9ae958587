"""A workload as an API server, or a proxy in its place, tells it: JSON -> what the rollout reads in it."""

import copy
import json
from functools import cache
from typing import Any, Final

from fakes import ManualClock

from controller.act.rollout.api import KubernetesApi
from controller.act.rollout.economics import realised
from controller.act.rollout.guards import wanted_text
from controller.act.rollout.place import find_place
from controller.act.rollout.record import Expected, Phase, Record, read_record
from controller.act.rollout.result import RolloutStop
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.target import Target
from controller.act.rollout.workload import Kind, other_manager, progress, refuse_unfit
from controller.decide.decision import Action, Decision
from controller.model.economics import Score
from controller.reason import Reason
from fuzz.edits import edited, edits
from fuzz.holding import fits

SETTINGS: Final = RolloutSettings(namespace="default", kind=Kind.DEPLOYMENT, name="vllm", identity="pod")

RECORD: Final = Record(1.8e9, 1, "{}", "{}", Phase.SETTLING, 1.8e9, 0, Expected(2, 3, 1.1, 8.0, 100.0, 1.1, 2.0))
LATER: Final = Decision(
    Action.HOLD, Reason.BEST_ALREADY, "k=3 is best.", k_now=3.0, batch=8.0,
    scores=tuple(Score(k, 2.0, 0.01, 100.0, 90.0, 110.0, 1.0, 0.9, 1.1, True, True) for k in range(4)),
)  # fmt: skip
CHANGE: Final = Decision(Action.CHANGE, Reason.FASTER_K, "k=3 is faster.", k=3, schedule=((1, 64, 3),))


class Answering(KubernetesApi):
    """An API server with one answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def get(self, path: str) -> dict[str, Any]:
        """See `KubernetesApi`."""
        return self._answer


def check(data: bytes) -> None:
    """It is read to the end, or a `RolloutStop` says what is wrong."""
    try:
        found = json.loads(edited(data, _workloads()))
    except (ValueError, RecursionError):  # told by `KubernetesApi`, with any other than an object
        return
    if not isinstance(found, dict):
        return
    try:
        workload = Target(Answering(found), ManualClock(), SETTINGS).read()
        record = read_record(workload)
        if record is not None:
            realised(record.expected, LATER)
        other_manager(workload, "adaptive-k")
        fits(progress(workload).sentence)
        wanted_text(find_place(workload, None, None), CHANGE, SETTINGS)
        refuse_unfit(workload, 600.0, 1800.0)
    except RolloutStop as stop:
        fits(stop.sentence)


@cache
def _workloads() -> tuple[dict[str, Any], ...]:
    """A Deployment at rest: its config in an argument, in a script, and in a variable."""
    config = '{"method": "eagle", "num_speculative_tokens": 3}'
    container: dict[str, Any] = {"name": "vllm", "args": ["--model", "m", "--speculative-config", config]}
    found = {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "vllm", "namespace": "default", "uid": "u", "generation": 2, "resourceVersion": "7",
            "annotations": {"a": "b", **RECORD.annotations()},
            "managedFields": [{"manager": "helm", "time": "2026-01-01", "fieldsV1": {"f:containers": {}}}],
        },
        "spec": {"replicas": 1, "progressDeadlineSeconds": 900, "template": {"spec": {"containers": [container]}}},
        "status": {
            "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        },
    }  # fmt: skip
    made = [copy.deepcopy(found)]
    container["command"] = ["sh", "-c", f"vllm serve m --speculative-config '{config}'"]
    del container["args"]
    made.append(copy.deepcopy(found))
    container["env"] = [{"name": "SPEC", "value": config}]
    container["command"] = ["sh", "-c", 'vllm serve m --speculative-config "$SPEC"']
    return (*made, found)


def seeds() -> list[bytes]:
    """Each of them, as it is and edited."""
    return [*(json.dumps(each).encode() for each in _workloads()), *edits()]
