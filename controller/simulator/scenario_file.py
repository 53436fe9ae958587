"""Scenarios as data: a JSON file in a published schema becomes traces that the simulator plays.

The schema (`benchmarks/scenario.schema.json`) is made from the classes below; a test fails while it is stale.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller.simulator.grids import GRIDS
from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.schedule import check_schedule
from controller.simulator.stated import Stretches, UnreachableSurvivalError, with_survival
from controller.simulator.step_cost import CostGrid, Noise
from controller.simulator.workload import Lengths, TextState, Workload

LIMIT_BYTES: Final = 1024 * 1024
"""A larger file is refused."""
_DAY: Final = 86_400.0

Path_ = tuple[str | int, ...]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Seconds = Annotated[float, Field(ge=0, le=_DAY)]
Batch = Annotated[int, Field(ge=1, le=1024)]
K = Annotated[int, Field(ge=0, le=16)]
StepMs = Annotated[float, Field(gt=0, le=60_000)]


class ScenarioFileError(ValueError):
    """A scenario file that cannot be used: where, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A scenario, and how long it is played.

    Attributes:
        scenario: The server and its traffic.
        seconds: Simulated seconds to play.
        switch_seconds: When the traffic changes suddenly and following it is timed; None for traces without.
    """

    scenario: Scenario
    seconds: float
    switch_seconds: float | None = None

    @property
    def open_loop(self) -> bool:
        """Whether requests arrive whatever the server does."""
        return self.scenario.phases[0].concurrency is None

    @property
    def steady(self) -> bool:
        """Whether load and traffic stay as they are from beginning to end."""
        return len(self.scenario.phases) == 1 and not self.scenario.events


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LengthsDocument(_Document):
    """Token counts: log-normal with the given mean, cut to [least, most]."""

    mean: Annotated[float, Field(ge=1, le=32_768, description="Mean in tokens.")]
    spread: Annotated[float, Field(ge=0, le=2, description="Standard deviation of the logarithm.")] = 0.5
    least: Annotated[int, Field(ge=1, le=32_768)] = 1
    most: Annotated[int, Field(ge=1, le=32_768)] = 4096

    def built(self) -> Lengths:
        """As the simulator takes it."""
        return Lengths(self.mean, self.spread, self.least, self.most)


class StretchesDocument(_Document):
    """Acceptance in bursts: easy and hard stretches of text take turns."""

    easy_tokens: Annotated[float, Field(ge=1, le=1000, description="Mean length of an easy stretch.")]
    hard_tokens: Annotated[float, Field(ge=1, le=1000, description="Mean length of a hard stretch.")]
    logit_difference: Annotated[
        float, Field(ge=0, le=6, description="How much higher the logit of acceptance is in an easy stretch.")
    ]


class WorkloadDocument(_Document):
    """One kind of traffic."""

    name: Name
    survival: Annotated[
        tuple[Probability, ...],
        Field(
            min_length=1,
            max_length=16,
            description=(
                "P(the first j drafts are all accepted | the step drafts) for j = 1..k_max, as a server shows it that "
                "drafts k_max; spread, bursts and matches leave this expectation as it is."
            ),
        ),
    ]
    prompt_tokens: LengthsDocument
    output_tokens: LengthsDocument
    spread_between_requests: Annotated[
        float, Field(ge=0, le=2, description="Standard deviation of an offset that each request adds to every logit.")
    ] = 0.0
    bursts: StretchesDocument | None = None
    coverage: Annotated[
        float, Field(gt=0, le=1, description="Share of steps that draft at all: below 1 for n-gram and suffix.")
    ] = 1.0
    match_tokens: Annotated[
        float | None,
        Field(ge=1.01, le=1000, description="Mean length of a match that is looked up; null always drafts k."),
    ] = None


class CostDocument(_Document):
    """What a step takes: a grid by name, or one's own. Exactly one of `grid` and `step_ms` is given."""

    grid: Annotated[str | None, Field(description=f"One of: {', '.join(GRIDS)}.")] = None
    scale: Annotated[float, Field(gt=0, le=1000, description="Every time is multiplied by it.")] = 1.0
    batches: Annotated[tuple[Batch, ...] | None, Field(min_length=1, max_length=64)] = None
    ks: Annotated[tuple[K, ...] | None, Field(min_length=1, max_length=17)] = None
    step_ms: Annotated[
        tuple[tuple[StepMs, ...], ...] | None,
        Field(min_length=1, max_length=64, description="Milliseconds of a step, step_ms[batch][k]."),
    ] = None
    k0_tax: Annotated[
        float, Field(ge=0, le=1, description="What the idle drafter adds to a step at k=0; 0 if the grid has it.")
    ] = 0.0
    prefill_ms_per_token: Annotated[float, Field(ge=0, le=100)] = 0.025
    kv_ms_per_token: Annotated[
        float, Field(ge=0, le=1, description="Per token of context beyond reference_context_tokens.")
    ] = 0.00005
    reference_context_tokens: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    capture_limit_tokens: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Steps of more tokens have no CUDA graph.")
    ] = None
    beyond_capture_factor: Annotated[float, Field(ge=1, le=10)] = 1.6


class PhaseDocument(_Document):
    """Load and traffic from start_seconds on. Exactly one of the two kinds of load is given."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["concurrency"], "properties": {"concurrency": {"type": "integer"}}},
                {"required": ["requests_per_second"], "properties": {"requests_per_second": {"type": "number"}}},
            ]
        }
    )
    start_seconds: Seconds
    mix: Annotated[
        dict[Name, Annotated[float, Field(ge=0, le=1e6)]],
        Field(min_length=1, max_length=64, description="Weight of each workload among new requests."),
    ]
    concurrency: Annotated[
        int | None, Field(ge=0, le=4096, description="Closed loop: so many clients, each with one request at a time.")
    ] = None
    requests_per_second: Annotated[
        float | None, Field(ge=0, le=10_000, description="Open loop: Poisson arrivals, whatever the server does.")
    ] = None


class EventDocument(_Document):
    """Something that happens to the server."""

    at_seconds: Seconds
    kind: Literal["restart"]
    down_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0


class NoiseDocument(_Document):
    """What makes equal steps unequal: noise of every step, and a drift that correlates stretches of them."""

    step_sigma: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    drift_sigma: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    drift_memory: Annotated[
        float, Field(ge=0, le=0.999, description="Correlation of the drift from 64 steps to the next 64.")
    ] = 0.9


Method = Literal["eagle", "eagle3", "mtp", "draft_model", "ngram", "suffix", "medusa"]


class ScenarioDocument(_Document):
    """A server, its traffic, and how long both are watched."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: Annotated[str, Field(min_length=1, max_length=400)]
    duration_seconds: Annotated[float, Field(ge=60, le=_DAY)]
    k_max: Annotated[int, Field(ge=1, le=16, description="num_speculative_tokens at launch.")]
    method: Method = "eagle"
    launch_schedule: Annotated[
        tuple[tuple[Batch, Batch, K], ...] | None,
        Field(max_length=256, description="[lowest batch, highest batch, k]; null for k_max at every batch."),
    ] = None
    max_num_seqs: Batch = 256
    max_num_batched_tokens: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    kv_cache_tokens: Annotated[int, Field(ge=1024, le=100_000_000)] = 400_000
    cost: CostDocument
    noise: NoiseDocument = NoiseDocument()
    workloads: Annotated[tuple[WorkloadDocument, ...], Field(min_length=1, max_length=64)]
    load: Annotated[tuple[PhaseDocument, ...], Field(min_length=1, max_length=1000)]
    repeat_every_seconds: Annotated[
        float | None, Field(gt=0, le=_DAY, description="Load and events start over; null goes on with the last.")
    ] = None
    events: Annotated[tuple[EventDocument, ...], Field(max_length=1000)] = ()
    sudden_switch_at_seconds: Annotated[
        Seconds | None, Field(description="When traffic changes suddenly, and following it is timed.")
    ] = None


class FileDocument(_Document):
    """A file of scenarios for `benchmarks/control.py`."""

    model_config = ConfigDict(title="adaptive-k scenarios")
    version: Literal[1]
    scenarios: Annotated[tuple[ScenarioDocument, ...], Field(min_length=1, max_length=64)]


def schema_text() -> str:
    """The JSON schema of a scenario file (draft 2020-12)."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **FileDocument.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def read_traces(path: Path) -> tuple[Trace, ...]:
    """The traces of a scenario file.

    Raises:
        ScenarioFileError: It cannot be read, or breaks the schema or a rule beyond it.
    """
    try:
        with path.open("rb") as file:
            body = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise ScenarioFileError(f"{path}: cannot be read ({error.strerror}). Name a scenario file.") from error
    if len(body) > LIMIT_BYTES:
        raise ScenarioFileError(f"{path}: is larger than {LIMIT_BYTES} bytes. Split it into several files.")
    try:
        document = FileDocument.model_validate_json(body)
        return tuple(_traces(document))
    except ValidationError as error:
        raise ScenarioFileError(_complaint(path, error)) from error
    except _WrongError as error:
        raise ScenarioFileError(f"{path}: {_place(error.where)}: {error}") from error


class _WrongError(ValueError):
    """What is wrong at a place inside the document, with the remedy."""

    def __init__(self, where: Path_, message: str) -> None:
        super().__init__(message)
        self.where = where


def _refuse(where: Path_, message: str) -> NoReturn:
    raise _WrongError(where, message)


def _complaint(path: Path, error: ValidationError) -> str:
    found = [each for each in error.errors() if each["type"] != "too_short" or not each["input"]]  # the rest follow
    lines = [f"{path}: {_place(each['loc'])}: {_words(each)}" for each in found[:8]]
    more = len(found) - len(lines)
    return "\n".join(lines + ([f"and {more} more"] if more else []))


def _words(detail: Any) -> str:
    if detail["type"] == "missing":
        return "is missing: add it"
    if detail["type"] == "extra_forbidden":
        return "is not known: remove it, or correct its spelling"
    if detail["type"] == "json_invalid":
        return f"this is not JSON: {detail['msg']}"
    given = repr(detail["input"])
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}; it is {given if len(given) <= 60 else given[:57] + '...'}"


def _place(where: Sequence[str | int]) -> str:
    """The place as people write it.

    >>> _place(("scenarios", 0, "load", 2, "concurrency"))
    'scenarios[0].load[2].concurrency'
    """
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in where)
    return text.removeprefix(".") or "the document"


def _traces(document: FileDocument) -> Iterator[Trace]:
    seen: set[str] = set()
    for index, each in enumerate(document.scenarios):
        where: Path_ = ("scenarios", index)
        if each.name in seen:
            _refuse((*where, "name"), f"{each.name!r} is there already: names differ")
        seen.add(each.name)
        yield _trace(each, where)


def _trace(document: ScenarioDocument, where: Path_) -> Trace:
    _check_load(document, where)
    for index, event in enumerate(document.events):
        _check_time(event.at_seconds, document, (*where, "events", index, "at_seconds"))
    switch = document.sudden_switch_at_seconds
    if switch is not None:
        _check_time(switch, document, (*where, "sudden_switch_at_seconds"))
    if document.launch_schedule is not None:
        try:
            check_schedule(document.launch_schedule)
        except ValueError as error:
            _refuse((*where, "launch_schedule"), str(error))
    scenario = Scenario(
        name=document.name,
        description=document.description,
        grid=_grid(document, (*where, "cost")),
        workloads=tuple(
            _workload(each, document.k_max, (*where, "workloads", index))
            for index, each in enumerate(document.workloads)
        ),
        phases=tuple(
            Phase(each.start_seconds, tuple(each.mix.items()), each.concurrency, each.requests_per_second)
            for each in document.load
        ),
        k_max=document.k_max,
        schedule=document.launch_schedule,
        events=tuple(Event(each.at_seconds, each.kind, each.down_seconds) for each in document.events),
        loop_seconds=document.repeat_every_seconds,
        max_num_seqs=document.max_num_seqs,
        max_num_batched_tokens=document.max_num_batched_tokens,
        kv_cache_tokens=document.kv_cache_tokens,
        method=document.method,
        noise=Noise(document.noise.step_sigma, document.noise.drift_sigma, document.noise.drift_memory),
    )
    return Trace(scenario, document.duration_seconds, switch)


def _check_time(seconds: float, document: ScenarioDocument, where: Path_) -> None:
    end = min(document.duration_seconds, document.repeat_every_seconds or document.duration_seconds)
    if seconds >= end:
        _refuse(where, f"{seconds:g} s is not before the end at {end:g} s: move it, or let the trace last longer")


def _check_load(document: ScenarioDocument, where: Path_) -> None:
    names = [each.name for each in document.workloads]
    for index, name in enumerate(names):
        if name in names[:index]:
            _refuse((*where, "workloads", index, "name"), f"{name!r} is there already: names differ")
    before = -1.0
    for index, phase in enumerate(document.load):
        here: Path_ = (*where, "load", index)
        _check_time(phase.start_seconds, document, (*here, "start_seconds"))
        if phase.start_seconds <= before or (index == 0 and phase.start_seconds != 0):
            _refuse((*here, "start_seconds"), "phases start at 0 and rise: put them in order")
        before = phase.start_seconds
        if (phase.concurrency is None) == (phase.requests_per_second is None):
            _refuse(here, "give either concurrency or requests_per_second")
        if (phase.concurrency is None) != (document.load[0].concurrency is None):
            _refuse(here, "load is either closed loop or open loop from beginning to end: split the scenario in two")
        unknown = sorted(phase.mix.keys() - set(names))
        if unknown:
            _refuse((*here, "mix", unknown[0]), f"no workload has this name; there are: {', '.join(names)}")
        if sum(phase.mix.values()) <= 0:
            _refuse((*here, "mix"), "all weights are 0: give one workload a weight")


def _grid(document: ScenarioDocument, where: Path_) -> CostGrid:
    cost = document.cost
    own = (cost.batches, cost.ks, cost.step_ms)
    if (cost.grid is None) == (cost.step_ms is None):
        _refuse(where, "give either the name of a grid, or batches, ks and step_ms")
    if cost.grid is not None:
        extra = cost.model_fields_set - {"grid", "scale"}
        if extra:
            _refuse((*where, min(extra)), "a grid by name brings this with it: remove it")
        if cost.grid not in GRIDS:
            _refuse((*where, "grid"), f"there is no grid of this name; there are: {', '.join(GRIDS)}")
        return _scaled(GRIDS[cost.grid], cost.scale)
    batches, ks, step_ms = own
    if batches is None or ks is None or step_ms is None:
        _refuse(where, "step_ms needs batches and ks beside it")
    try:
        grid = CostGrid(
            name=document.name,
            source="stated in a scenario file",
            batches=batches,
            ks=ks,
            step_ms=step_ms,
            k0_row_has_drafter=cost.k0_tax == 0,
            k0_tax=cost.k0_tax,
            capture_limit_tokens=cost.capture_limit_tokens,
            beyond_capture_factor=cost.beyond_capture_factor,
            prefill_seconds_per_token=cost.prefill_ms_per_token / 1000,
            kv_seconds_per_token=cost.kv_ms_per_token / 1000,
            reference_context_tokens=cost.reference_context_tokens,
        )
    except ValueError as error:
        _refuse((*where, "step_ms"), str(error))
    return _scaled(grid, cost.scale)


def _scaled(grid: CostGrid, scale: float) -> CostGrid:
    return replace(
        grid,
        step_ms=tuple(tuple(cell * scale for cell in row) for row in grid.step_ms),
        prefill_seconds_per_token=grid.prefill_seconds_per_token * scale,
        kv_seconds_per_token=grid.kv_seconds_per_token * scale,
    )


def _workload(document: WorkloadDocument, k_max: int, where: Path_) -> Workload:
    if len(document.survival) != k_max:
        _refuse((*where, "survival"), f"has {len(document.survival)} positions, k_max is {k_max}: give one for each")
    for name in ("prompt_tokens", "output_tokens"):
        lengths: LengthsDocument = getattr(document, name)
        if not lengths.least <= lengths.mean <= lengths.most:
            _refuse((*where, name), "the mean lies between least and most: correct one of them")
    shape = Workload(
        document.name,
        states=(TextState((0.5,)),),
        prompt=document.prompt_tokens.built(),
        output=document.output_tokens.built(),
        logit_spread=document.spread_between_requests,
        match_tokens=document.match_tokens,
    )
    bursts = document.bursts
    stretches = Stretches(bursts.easy_tokens, bursts.hard_tokens, bursts.logit_difference) if bursts else None
    try:
        return with_survival(shape, document.survival, stretches, document.coverage)
    except UnreachableSurvivalError as error:
        _refuse((*where, "survival"), str(error))
