"""An actuator before the API server double, and decisions to give it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contract.kubernetes_double import TOKEN, Double, role
from contract.kubernetes_objects import NAME, NAMESPACE, deployment
from fakes import ManualClock

from controller.act.rollout.actuator import RolloutActuator
from controller.act.rollout.api import ApiServer
from controller.act.rollout.result import RolloutResult
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.workload import Kind
from controller.decide.decision import Action, Bounded, Decision
from controller.model.economics import Score
from controller.reason import Reason

SCHEDULE = ((1, 16, 5), (17, 256, 2))
AFTER = (
    '{"method": "eagle", "model": "org/drafter",  "num_speculative_tokens": 5, '
    '"num_speculative_tokens_per_batch_size": [[1, 16, 5], [17, 256, 2]]}'
)
"""`kubernetes_objects.CONFIG` with the schedule in it."""


def score(k: int, tokens_per_second: float = 1000.0, *, tokens_per_step: float = 2.0, spread: float = 1.01) -> Score:
    """A price that was measured, with bounds of a factor `spread`."""
    return Score(
        k=k,
        tokens_per_step=tokens_per_step,
        step_seconds=0.02,
        tokens_per_second=tokens_per_second,
        tokens_per_second_low=tokens_per_second / spread,
        tokens_per_second_high=tokens_per_second * spread,
        gain_ratio=1.0,
        gain_low=1.0,
        gain_high=1.0,
        tokens_observed=True,
        step_measured=True,
    )


CHANGE = Decision(
    action=Action.CHANGE,
    reason=Reason.FASTER_K,
    sentence="k=2 yields +20.0% (+10.0% to +30.0%) over k=5 at a batch of 64, from 9,000 drafts.",
    k_now=5.0,
    k=2,
    k_best=2,
    batch=64.0,
    schedule=SCHEDULE,
    gain=Bounded(1.2, 1.1, 1.3),
    scores=(score(0, 900), score(1, 950), score(2, 1200), score(3), score(4), score(5)),
)
"""What an actuator acts on."""
HOLD = Decision(Action.HOLD, Reason.BEST_ALREADY, "k=5 is the best.", k_now=5.0, k=5, scores=CHANGE.scores)


def later(tokens_per_second: float, *, batch: float = 64.0, tokens_per_step: float = 2.0) -> Decision:
    """A decision after the change to k=2: what that yields, and what the traffic would yield a step at k=5."""
    scores = (score(2, tokens_per_second), score(5, 1000, tokens_per_step=tokens_per_step))
    return replace(HOLD, k_now=2.0, k=2, batch=batch, scores=scores)


@dataclass
class Bench:
    """One replica of ours, one workload, one API server."""

    double: Double
    clock: ManualClock
    path: str
    settings: RolloutSettings
    token_file: Path
    actuator: RolloutActuator

    def act(self, decision: Decision = CHANGE) -> RolloutResult:
        """One pass."""
        return self.actuator.act("m", "0", decision)

    def replica(self, identity: str) -> RolloutActuator:
        """Another replica of ours, or the same one after a restart."""
        return RolloutActuator(
            replace(self.settings, identity=identity), server(self.double, self.token_file), self.clock
        )

    @property
    def workload(self) -> dict[str, Any]:
        """As the API server has it."""
        return self.double.objects[self.path]

    @property
    def phase(self) -> str | None:
        """How far the change has come, by the annotation."""
        found: dict[str, str] = self.workload["metadata"].get("annotations", {})
        return found.get("adaptive-k.io/phase")

    def status(self, **fields: Any) -> None:
        """The Deployment's controller writes the status."""

        def edit(thing: dict[str, Any]) -> None:
            thing["status"] |= {"observedGeneration": thing["metadata"]["generation"]} | fields
            if "availableReplicas" in fields:
                thing["status"]["readyReplicas"] = fields["availableReplicas"]

        self.double.change(self.path, edit)

    def fail(self, after_seconds: float = 600.0) -> None:
        """The progress deadline passes, in so many seconds."""
        self.clock.advance(after_seconds)
        condition = {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
            "message": 'ReplicaSet "vllm-2" has timed out progressing.',
        }
        self.status(updatedReplicas=1, availableReplicas=2, conditions=[condition])

    def finish(self) -> None:
        """Every pod is of the new template, and available."""
        condition = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        replicas = self.workload["spec"]["replicas"]
        self.status(updatedReplicas=replicas, availableReplicas=replicas, replicas=replicas, conditions=[condition])


def server(double: Double, token_file: Path, timeout_seconds: float = 10.0) -> ApiServer:
    """The double, as an actuator is told of it."""
    return ApiServer(double.url, token_file, timeout_seconds=timeout_seconds)


@contextmanager
def bench(
    folder: Path, thing: dict[str, Any] | None = None, *, timeout_seconds: float = 10.0, **settings: Any
) -> Iterator[Bench]:
    """Everything in place, and a workload at rest."""
    found = deployment() if thing is None else thing
    token_file = folder / "token"
    token_file.write_text(TOKEN + "\n")
    wanted: dict[str, Any] = {"watch_seconds": 0.0, "identity": "pod-a"} | settings
    rolled = RolloutSettings(NAMESPACE, Kind(found["kind"]), NAME, **wanted)
    clock = ManualClock()
    with Double(rules=role(found["kind"])) as double:
        path = double.put(found)
        actuator = RolloutActuator(rolled, server(double, token_file, timeout_seconds), clock)
        yield Bench(double, clock, path, rolled, token_file, actuator)
