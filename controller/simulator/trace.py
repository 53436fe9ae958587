"""What the simulator plays, made from a scenario's document, with the rules that a schema cannot state."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from controller.simulator.grids import GRIDS
from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.scenario_document import (
    FileDocument,
    LengthsDocument,
    ScenarioDocument,
    WorkloadDocument,
)
from controller.simulator.schedule import check_schedule
from controller.simulator.stated import Stretches, UnreachableSurvivalError, with_survival
from controller.simulator.step_cost import CostGrid, Noise
from controller.simulator.workload import Lengths, TextState, Workload

Path_ = tuple[str | int, ...]
"""A place inside a document."""


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


class WrongError(ValueError):
    """What is wrong at a place inside the document, with the remedy."""

    def __init__(self, where: Path_, message: str) -> None:
        super().__init__(message)
        self.where = where


def _refuse(where: Path_, message: str) -> NoReturn:
    raise WrongError(where, message)


def traces_of(document: FileDocument) -> Iterator[Trace]:
    """The traces of a document that fits the schema, in its order.

    Raises:
        WrongError: A rule beyond the schema is broken.
    """
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
        prompt=_lengths(document.prompt_tokens),
        output=_lengths(document.output_tokens),
        logit_spread=document.spread_between_requests,
        match_tokens=document.match_tokens,
    )
    bursts = document.bursts
    stretches = Stretches(bursts.easy_tokens, bursts.hard_tokens, bursts.logit_difference) if bursts else None
    try:
        return with_survival(shape, document.survival, stretches, document.coverage)
    except UnreachableSurvivalError as error:
        _refuse((*where, "survival"), str(error))


def _lengths(document: LengthsDocument) -> Lengths:
    return Lengths(document.mean, document.spread, document.least, document.most)
