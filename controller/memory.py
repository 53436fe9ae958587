"""What is kept of one engine from pass to pass; all of it frozen, small and made of numbers."""

from dataclasses import dataclass, replace

from controller.act.actuator import Outcome
from controller.cycle import EngineCycle
from controller.decide.course import Course
from controller.decide.policy import PolicyState
from controller.model.evidence import AcceptanceEvidence
from controller.model.step_table import StepTable
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation
from controller.reason import Reason
from controller.sight import Sight


@dataclass(frozen=True, slots=True)
class LearntWorkload:
    """What is kept of one workload.

    Attributes:
        name: Of the workload.
        evidence: Its drafts.
        drafts: Those of them among the drafts that the evidence of the whole mix remembers: its part in the mix.
    """

    name: str
    evidence: AcceptanceEvidence
    drafts: float


@dataclass(frozen=True, slots=True)
class Learnt:
    """What survives a restart of this process, in the checkpoint.

    Attributes:
        k_max: The launch value that all of it rests on.
        evidence: Drafts of the whole mix.
        workloads: In the order in which they were last seen.
        table: Step times.
        course: Live control: the lasting schedule, probes, reviews.
    """

    k_max: int | None = None
    evidence: AcceptanceEvidence | None = None
    workloads: tuple[LearntWorkload, ...] = ()
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

    @property
    def begins(self) -> bool:
        """Whether the server has started, or started anew, and there is no window of it since."""
        last = self.last
        if last is None or last.k_max is None:
            return False
        return last.window is None or (last.failure is not None and last.failure.reason is Reason.SERVER_RESTARTED)

    def after(self, sight: Sight, now_seconds: float) -> "EngineMemory":
        """The memory after a look at one more window, before anything is learnt from it."""
        changed = self.last is not None and self.last.acted.outcome is Outcome.APPLIED
        # a window that began with a change holds steps from before it, and speaks neither for the engine nor against it
        strayed = self.strayed if changed else self.strayed + 1 if sight.applied is False else 0
        drafted_at = now_seconds if sight.window.drafts > 0 else self.drafted_at_seconds
        return replace(self, strayed=strayed, drafted_at_seconds=drafted_at)
