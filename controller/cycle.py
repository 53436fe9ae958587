"""One pass of the loop as one immutable value. Everything downstream (metrics, page, log, report) only reads these."""

from dataclasses import dataclass, field

from controller.act.actuator import NOTHING_DONE, Acted
from controller.decide.decision import Decision, Schedule
from controller.decide.mix import WorkloadAnswer
from controller.decide.review import Review
from controller.model.acceptance import Acceptance
from controller.model.step_time import StepTime
from controller.observe.snapshot import Key, Labels, Replicas
from controller.observe.speculation import Speculation
from controller.observe.window import Window
from controller.reason import Reason


@dataclass(frozen=True, slots=True)
class Failure:
    """What cut a pass short: the reason by name, and one sentence with the remedy."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Control:
    """Live control of one engine in one pass.

    Attributes:
        speculation: The plugin's state as the pass found it; None when it could not be had.
        wanted: The schedule that is held, or about to be; empty for the launch schedule.
        applied: Whether the engine ran the k that its schedule says, by its own counters; None when they cannot tell.
        frozen: Whether the operator froze changes.
        review: Realised against predicted throughput of the last change; None when there was none.
    """

    speculation: Speculation | None = None
    wanted: Schedule = ()
    applied: bool | None = None
    frozen: bool = False
    review: Review | None = None


@dataclass(frozen=True, slots=True)
class EngineCycle:
    """One engine in one pass.

    Attributes:
        model_name: The served model.
        engine: The engine's label.
        k_max: The launch value of `num_speculative_tokens`; None without speculation.
        decision: What was decided, or in words why nothing could be; after a failure the last good one.
        window: The window it rests on; None if there is none yet.
        acceptance: By position; None until something was drafted.
        step_time: The step-time posterior; None until something was decoded.
        acted: What acting on the decision did.
        failure: Why this engine's window was not used, if so.
        control: Live control; None when only recommending.
        workloads: By share, the largest first; empty where the plugin does not tell them apart.
        labels: Which server, or group of servers, in a fleet; empty for the one that is read directly.
        replicas: The engines that are added up; None for the one that is read directly.
    """

    model_name: str
    engine: str
    k_max: int | None
    decision: Decision
    window: Window | None = None
    acceptance: Acceptance | None = None
    step_time: StepTime | None = None
    acted: Acted = NOTHING_DONE
    failure: Failure | None = None
    control: Control | None = None
    workloads: tuple[WorkloadAnswer, ...] = ()
    labels: Labels = ()
    replicas: Replicas | None = None

    @property
    def key(self) -> Key:
        """What tells this engine from the others."""
        return (self.model_name, self.engine, self.labels)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One pass over one server, or over all groups of a fleet.

    Attributes:
        number: Passes since start, this one included.
        at_unix_seconds: When it ended.
        engines: Every engine on the page; after a failure those of the last good pass.
        failure: Why no page could be used, if so.
        observe_seconds: How long reading the page took.
        seconds: How long the whole pass took.
    """

    number: int
    at_unix_seconds: float
    engines: tuple[EngineCycle, ...] = ()
    failure: Failure | None = None
    observe_seconds: float = 0.0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = field(init=False)
    notes: tuple[Failure, ...] = field(init=False)

    def __post_init__(self) -> None:
        """`failures` lists everything that went wrong, the page's failure first; `notes` what may be missing."""
        found = (self.failure, *(engine.failure for engine in self.engines))
        object.__setattr__(self, "failures", tuple(each for each in found if each is not None))
        noted = (note for engine in self.engines if engine.replicas for note in engine.replicas.notes)
        object.__setattr__(self, "notes", tuple(Failure(*each) for each in dict.fromkeys(noted)))
