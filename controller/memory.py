"""What is kept of one engine from pass to pass; all of it frozen, small and made of numbers."""

from dataclasses import dataclass

from controller.cycle import EngineCycle
from controller.decide.policy import PolicyState
from controller.decide.steer import Course
from controller.model.evidence import AcceptanceEvidence
from controller.model.step_table import StepTable
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation


@dataclass(frozen=True, slots=True)
class Learnt:
    """What survives a restart of this process, in the checkpoint.

    Attributes:
        k_max: The launch value that all of it rests on.
        evidence: Drafts of the whole mix.
        workloads: Drafts by workload.
        table: Step times.
        course: Live control: the lasting schedule, probes, reviews.
    """

    k_max: int | None = None
    evidence: AcceptanceEvidence | None = None
    workloads: tuple[tuple[str, AcceptanceEvidence], ...] = ()
    table: StepTable = StepTable()
    course: Course = Course()


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """All that is kept of one engine.

    Attributes:
        learnt: What survives a restart.
        snapshot: The latest page.
        speculation: The plugin's state after the latest pass.
        policy: What the recommendation remembers.
        stood_down_until_seconds: Until when live control keeps out, on a monotonic clock.
        drafted_at_seconds: When something was last drafted, on a monotonic clock.
        strayed: Windows in a row in which the engine ran another k than its schedule says.
        last: The latest good cycle.
    """

    learnt: Learnt = Learnt()
    snapshot: Snapshot | None = None
    speculation: Speculation | None = None
    policy: PolicyState = PolicyState()
    stood_down_until_seconds: float | None = None
    drafted_at_seconds: float | None = None
    strayed: int = 0
    last: EngineCycle | None = None
