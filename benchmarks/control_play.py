"""Playing one trace with one contestant, and writing down what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from control_adaptive import SimulatedClock, adaptive, token_file
from control_contestants import AcceptanceEma, Oracle, Policy, SteeredEngine

from controller.cycle import Cycle
from controller.simulator.counters import Counters, StepTally
from controller.simulator.engine import StepEngine
from controller.simulator.scenario import Scenario
from controller.simulator.schedule import Schedule, constant_schedule, dense_schedule
from controller.simulator.server import SimulatedServer
from controller.simulator.trace import Trace
from controller.simulator.truth import Truth

PASS_SECONDS: Final = 10.0
CONTROLLER, EMA, ORACLE, TABLE, WITHOUT = "controller", "ema", "oracle", "table", "without speculation"
PROBE: Final = "probe"


def fixed(k: int) -> str:
    """The name of the contestant that keeps k."""
    return f"k={k}"


@dataclass(frozen=True)
class Task:
    """One contestant on one trace with one seed; `table` is the schedule of the contestant of that name."""

    trace: Trace
    seed: int
    contestant: str
    table: Schedule = ()


@dataclass(frozen=True)
class Sample:
    """Totals since the start of the trace; `request_tpot_seconds` is the sum of TPOT over finished requests."""

    at_seconds: float
    tokens: float
    busy_seconds: float
    requests: float
    request_tpot_seconds: float


@dataclass(frozen=True)
class Look:
    """The k that a pass left in force at the load of that moment, and the oracle's for the traffic that arrives."""

    at_seconds: float
    k: int
    best_k: int


@dataclass(frozen=True)
class Played:
    """What came of a task."""

    task: Task
    samples: tuple[Sample, ...]
    cells: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    """(batch, k) -> tokens and seconds."""
    looks: tuple[Look, ...] = ()
    changes: int = 0
    probes: int = 0


class Totals:
    """Counts of an engine over its restarts: each start has fresh counters, and the old ones stay as they were."""

    def __init__(self, engine: StepEngine) -> None:
        self._engine = engine
        self._seen: list[Counters] = []

    def sample(self) -> Sample:
        """Totals now."""
        engine = self._engine
        if not self._seen or engine.counters is not self._seen[-1]:
            self._seen.append(engine.counters)
        return Sample(
            engine.simulated_seconds,
            sum(each.generation_tokens for each in self._seen),
            sum(each.busy_seconds for each in self._seen),
            sum(each.per_output_token.count for each in self._seen),
            sum(each.per_output_token.sum for each in self._seen),
        )

    def cells(self) -> dict[tuple[int, int], tuple[float, float]]:
        """(batch, k) -> tokens and seconds."""
        found: dict[tuple[int, int], StepTally] = {}
        for counters in self._seen:
            for cell, tally in counters.by_batch_and_k.items():
                total = found.setdefault(cell, StepTally())
                total.tokens += tally.tokens
                total.seconds += tally.seconds
        return {cell: (float(tally.tokens), tally.seconds) for cell, tally in found.items()}


def play(task: Task) -> Played:
    """Play a trace from beginning to end."""
    scenario = task.trace.scenario
    if task.contestant == CONTROLLER:
        return _play_controller(task)
    policies: dict[str, Callable[[], Policy]] = {EMA: lambda: AcceptanceEma(scenario.k_max), ORACLE: Oracle}
    if task.contestant in policies:
        engine: StepEngine = SteeredEngine(scenario, policies[task.contestant](), seed=task.seed)
    elif task.contestant == WITHOUT:
        engine = StepEngine(_without_speculation(scenario), seed=task.seed)
    elif task.contestant == TABLE:
        engine = StepEngine(scenario, schedule=task.table, seed=task.seed)
    else:
        k = int(task.contestant.removeprefix("k="))
        engine = StepEngine(scenario, schedule=constant_schedule(k, scenario.max_num_seqs), seed=task.seed)
    totals = Totals(engine)
    samples = [totals.sample()]
    for tick in _ticks(task.trace):
        engine.advance_to(tick)
        samples.append(totals.sample())
    return Played(task, tuple(samples), totals.cells())


def _without_speculation(scenario: Scenario) -> Scenario:
    return replace(scenario, k_max=0, schedule=None)


def _ticks(trace: Trace) -> tuple[float, ...]:
    return tuple(PASS_SECONDS * (i + 1) for i in range(int(trace.seconds / PASS_SECONDS)))


def _play_controller(task: Task) -> Played:
    trace = task.trace
    server = SimulatedServer(trace.scenario, seed=task.seed, speed=0, token_file=token_file())
    engine = server.engines[0]
    stepper = adaptive(server, SimulatedClock(server), task.seed)
    totals = Totals(engine)
    samples, looks = [totals.sample()], []
    changes = probes = 0
    due, probing = PASS_SECONDS, False
    for tick in _ticks(trace):
        while due <= tick:
            server.advance_to(due)
            before = _dense(engine)
            cycle = stepper.step()
            changed, probed = _dense(engine) != before, _probes(cycle)
            lasting = changed and not probed and not (probing and _probe_ended(cycle))
            changes += lasting
            probes += probed and not probing
            probing = probed
            if trace.switch_seconds is not None and due > trace.switch_seconds:
                looks.append(_look(engine))
            due += stepper.pause_seconds(PASS_SECONDS)
        server.advance_to(tick)
        samples.append(totals.sample())
    return Played(task, tuple(samples), totals.cells(), tuple(looks), changes, probes)


def _dense(engine: StepEngine) -> list[int]:
    return dense_schedule(engine.schedule, engine.k_max, engine.scenario.max_num_seqs)


def _probe_ended(cycle: Cycle) -> bool:
    """Whether a probe was taken back, and nothing else changed."""
    return all(engine.decision.action.value == "hold" for engine in cycle.engines)


def _probes(cycle: Cycle) -> bool:
    return any(engine.decision.action.value == PROBE for engine in cycle.engines)


def _look(engine: StepEngine) -> Look:
    batch = max(1, engine.running)
    truth: Truth = engine.phase_truth()
    return Look(engine.simulated_seconds, _dense(engine)[batch], truth.best_k(batch, engine.k_max))
