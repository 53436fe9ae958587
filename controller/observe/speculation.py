"""What the engine plugin tells: the schedule in force, and what `/metrics` hides."""

from dataclasses import dataclass
from operator import sub
from typing import Annotated, Final

from annotated_types import Interval, MaxLen

from controller.observe.errors import ObserveError
from controller.reason import Reason

ENTRIES_MAX: Final = 8192
RANGES_MAX: Final = 1024
SEQUENCES_MAX: Final = 65_536
"""More workloads or step classes, ranges, and requests in a step than any engine has: such a document is refused."""

COUNT_MAX: Final = 1e13
BATCH_MAX: Final = 1e6
STEP_SECONDS: Final = (1e-7, 1e4)
"""What no server exceeds from one reading to the next: counts, requests at it, seconds of a step."""

TEXT_MAX: Final = 256
"""Longer names are refused, too."""

# the limits are checked by `controller.observe.plugin`, which reads these values from JSON
Count = Annotated[float, Interval(ge=0, le=2**63)]
K = Annotated[int, Interval(ge=0, le=4096)]
Batch = Annotated[int, Interval(ge=1, le=SEQUENCES_MAX)]
Text = Annotated[str, MaxLen(TEXT_MAX)]
Ranges = Annotated[tuple[tuple[Batch, Batch, K], ...], MaxLen(RANGES_MAX)]
Counts = Annotated[tuple[Count, ...], MaxLen(4096)]


@dataclass(frozen=True, slots=True)
class WorkloadCounts:
    """Verified drafts of one workload since the engine started, or in a window.

    Attributes:
        name: As its requests name it, else their adapter, else the model.
        drafts: Request-steps that verified at least one draft.
        drafted: By position: drafts verified in which it was drafted.
        judged: By position: drafted, and all before it accepted, so that it was at risk.
        accepted: By position: accepted.
    """

    name: Text
    drafts: Count
    drafted: Counts
    judged: Counts
    accepted: Counts


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Steps of about one batch size and at one k, those beside prompts apart from those without.

    Attributes:
        batch_min: Smallest batch of the class.
        batch_max: Largest.
        k: In force when their drafts were made.
        steps: Engine steps.
        request_steps: Decoding requests, summed over them.
        seconds: Their durations, summed.
        tokens: Tokens emitted in them.
        prompt_tokens: Prompt tokens worked through in them; 0 for the class without.
    """

    batch_min: Batch
    batch_max: Batch
    k: K
    steps: Count
    request_steps: Count
    seconds: Count
    tokens: Count
    prompt_tokens: Count = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """All that the plugin counts."""

    workloads: Annotated[tuple[WorkloadCounts, ...], MaxLen(ENTRIES_MAX)] = ()
    steps: Annotated[tuple[StepCounts, ...], MaxLen(ENTRIES_MAX)] = ()


@dataclass(frozen=True, slots=True)
class Speculation:
    """The plugin's document; see `controller/engine/control.py` for the one who writes it.

    Attributes:
        protocol: Version of the document.
        boot_id: Random per engine start.
        generation: Counts changes of the schedule.
        owner: Who holds the schedule in force; None as launched.
        method: Drafting method.
        k_max: `num_speculative_tokens`; None without speculation.
        max_num_seqs: Largest batch.
        launch_schedule: k by batch as launched.
        schedule: k by batch in force.
        expires_in_seconds: Until the engine returns to the launch schedule; None as launched.
        k_with_graph: The ks that vLLM captured full CUDA graphs for; None where that does not matter.
        writable: Whether k can be changed.
        read_only_because: Why not.
        measured: Counts; None when the request carried no valid token, or the plugin cannot measure.
    """

    protocol: int
    boot_id: Annotated[str, MaxLen(64)]
    generation: Annotated[int, Interval(ge=0, le=2**53)]
    owner: Text | None
    method: Text | None
    k_max: K | None
    max_num_seqs: Batch
    launch_schedule: Ranges
    schedule: Ranges
    expires_in_seconds: Count | None
    writable: bool
    read_only_because: Annotated[str, MaxLen(2000)] | None
    k_with_graph: Annotated[tuple[K, ...], MaxLen(ENTRIES_MAX)] | None = None
    measured: Measured | None = None


def refuse_foreign(told: Speculation, k_max: int) -> None:
    """Refuses the answer of a plugin that knows more draft positions than the server's page; raises `ObserveError`."""
    most = max((told.k_max or 0, *(k for _, _, k in (*told.launch_schedule, *told.schedule))))
    if most > k_max:
        raise ObserveError(
            Reason.PLUGIN_ANSWER_BAD,
            f"The engine plugin tells of k={most}, and the metrics page has {k_max} draft positions: they are not of "
            "one server. Give one server's own address, not that of several.",
        )


def measured_between(before: Speculation | None, after: Speculation | None) -> Measured | None:
    """What was counted between two documents of the same start of an engine; None when that cannot be told.

    A count that fell means that the documents do not belong together, and one that cannot be, that they are no
    plugin's: nothing is taken from them.
    """
    if before is None or after is None or before.boot_id != after.boot_id:
        return None
    if before.measured is None or after.measured is None:
        return None
    workloads = _workloads(before.measured, after.measured)
    steps = _steps(before.measured, after.measured)
    if workloads is None or steps is None or not (all(map(_verified, workloads)) and all(map(_run, steps))):
        return None
    return Measured(workloads, steps)


def _verified(each: WorkloadCounts) -> bool:
    """Whether the counts can be drafts: accepted of judged, judged of drafted, drafted of all."""
    positions = zip(each.accepted, each.judged, each.drafted, strict=False)
    return (
        len(each.accepted) == len(each.judged) == len(each.drafted)
        and 1 <= each.drafts <= COUNT_MAX
        and all(accepted <= judged <= drafted <= each.drafts for accepted, judged, drafted in positions)
    )


def _run(each: StepCounts) -> bool:
    """Whether the counts can be engine steps of their batch class; a stopped engine may leave a step without a time."""
    mean, batch = each.seconds / each.steps, each.request_steps / each.steps
    return (
        1 <= each.steps <= COUNT_MAX
        and each.batch_min <= batch <= each.batch_max
        and (each.seconds == 0 or STEP_SECONDS[0] <= mean <= STEP_SECONDS[1])
        and max(each.tokens, each.prompt_tokens) / each.steps <= COUNT_MAX / BATCH_MAX
    )


def _workloads(before: Measured, after: Measured) -> tuple[WorkloadCounts, ...] | None:
    known = {each.name: each for each in before.workloads}
    if known.keys() - {each.name for each in after.workloads}:
        return None  # one lost its slot, and all that it ever counted moved into another
    found = []
    for each in after.workloads:
        old = known.get(each.name)
        drafts = each.drafts - (old.drafts if old else 0.0)
        drafted = _risen(old.drafted if old else (), each.drafted)
        judged = _risen(old.judged if old else (), each.judged)
        accepted = _risen(old.accepted if old else (), each.accepted)
        if drafts < 0 or drafted is None or judged is None or accepted is None:
            return None
        if drafts > 0:
            found.append(WorkloadCounts(each.name, drafts, drafted, judged, accepted))
    return tuple(found)


def _steps(before: Measured, after: Measured) -> tuple[StepCounts, ...] | None:
    known = {(each.batch_min, each.k, each.prompt_tokens > 0): each for each in before.steps}
    found = []
    for each in after.steps:
        old = known.get((each.batch_min, each.k, each.prompt_tokens > 0))
        earlier = (old.steps, old.request_steps, old.seconds, old.tokens, old.prompt_tokens) if old else ()
        counts = _risen(earlier, (each.steps, each.request_steps, each.seconds, each.tokens, each.prompt_tokens))
        if counts is None:
            return None
        if counts[0] > 0:
            found.append(StepCounts(each.batch_min, each.batch_max, each.k, *counts))
    return tuple(found)


def _risen(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[float, ...] | None:
    """after - before by element (nothing counts as 0); None when one fell or they are of different lengths."""
    start = before or (0.0,) * len(after)
    if len(start) != len(after):
        return None
    risen = tuple(map(sub, after, start))
    return None if min(risen, default=0.0) < 0 else risen
