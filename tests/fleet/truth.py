"""What is true of a replica, and of a workload of several, at each moment: the best k, and what every k yields."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

from controller.simulator.scenario import Phase, Scenario
from controller.simulator.schedule import constant_schedule, dense_schedule
from controller.simulator.step_cost import StepCost
from controller.simulator.traffic import NEVER, phase_starts
from controller.simulator.truth import Truth
from fleet.replica import Replica


@dataclass(frozen=True)
class Stretch:
    """A time in which nothing changes.

    Attributes:
        start_seconds: After the beginning of the history.
        end_seconds: Likewise.
        batch: Requests that decode.
        k: In force at that batch.
        tokens_per_second: Of one replica, for k = 0..k_max.
    """

    start_seconds: float
    end_seconds: float
    batch: int
    k: int
    tokens_per_second: tuple[float, ...]

    @property
    def best_k(self) -> int:
        """The k of the highest throughput, the smaller one of equals."""
        return max(range(len(self.tokens_per_second)), key=lambda k: (self.tokens_per_second[k], -k))

    @property
    def best_gain(self) -> float:
        """Throughput at the best k over that at the k in force."""
        return self.tokens_per_second[self.best_k] / self.tokens_per_second[self.k]


def stretches(scenario: Scenario, seconds: float) -> Iterator[Stretch]:
    """The truth of a closed-loop scenario from 0 to `seconds`, stretch by stretch."""
    for (start, phase), (end, _) in pairwise(chain(phase_starts(scenario), [(NEVER, None)])):
        if start >= seconds:
            return
        batch = min(phase.concurrency or 0, scenario.max_num_seqs) if phase is not None else 0
        if phase is not None and batch:
            yield Stretch(start, min(end, seconds), batch, k_in_force(scenario, batch), _yields(scenario, phase, batch))


def at(scenario: Scenario, at_seconds: float) -> Stretch | None:
    """The stretch that holds at a moment; None while there is no traffic."""
    return next((each for each in stretches(scenario, at_seconds + 1e-6) if each.end_seconds > at_seconds), None)


def k_in_force(scenario: Scenario, batch: int) -> int:
    """The k that the launch schedule runs at a batch."""
    schedule = scenario.schedule or constant_schedule(scenario.k_max, scenario.max_num_seqs)
    return dense_schedule(schedule, scenario.k_max, scenario.max_num_seqs)[batch]


def workload_tokens(replicas: Iterable[Replica], seconds: float, step_seconds: float) -> Iterator[tuple[float, ...]]:
    """Tokens of several replicas with one k_max together, in each step of the history, for k = 0..k_max.

    Of the pods that live then; a restart's minutes and gaps in the scrapes are not taken off.
    """
    for present in _present(replicas, seconds, step_seconds):
        yield tuple(step_seconds * sum(each) for each in zip(*(it.tokens_per_second for it in present), strict=True))


def ran_tokens(replicas: Iterable[Replica], seconds: float, step_seconds: float) -> Iterator[float]:
    """The same at the k that ran."""
    for present in _present(replicas, seconds, step_seconds):
        yield step_seconds * sum(each.tokens_per_second[each.k] for each in present)


def _present(replicas: Iterable[Replica], seconds: float, step_seconds: float) -> Iterator[list[Stretch]]:
    """In each step the stretches of the pods that live in its middle."""
    everything = [(each, tuple(stretches(each.scenario, seconds))) for each in replicas]
    for index in range(int(seconds / step_seconds)):
        middle = (index + 0.5) * step_seconds
        yield [
            stretch
            for replica, found in everything
            if replica.life is None or replica.life[0] <= middle < replica.life[1]
            for stretch in found
            if stretch.start_seconds <= middle < stretch.end_seconds
        ]


@lru_cache(maxsize=4096)
def _yields(scenario: Scenario, phase: Phase, batch: int) -> tuple[float, ...]:
    truth = of_phase(scenario, phase)
    return tuple(truth.tokens_per_second(batch, k) for k in range(scenario.k_max + 1))


@lru_cache(maxsize=4096)
def of_phase(scenario: Scenario, phase: Phase) -> Truth:
    """The simulator's oracle for the traffic of a phase."""
    return Truth.of_arrivals(scenario, cost(scenario), dict(phase.mix))


@lru_cache(maxsize=256)
def cost(scenario: Scenario) -> StepCost:
    """What a step takes on the server of a scenario."""
    return StepCost(
        scenario.grid,
        k_max=scenario.k_max,
        max_num_seqs=scenario.max_num_seqs,
        launched_with_speculation=scenario.speculates,
    )
