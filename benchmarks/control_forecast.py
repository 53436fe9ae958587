"""Which fixed ks could be the best of a trace, by the physics alone: the others need not be played to find it."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from controller.simulator.engine import StepEngine
from controller.simulator.scenario import Phase, Scenario
from controller.simulator.step_cost import StepCost
from controller.simulator.trace import Trace
from controller.simulator.traffic import phase_starts
from controller.simulator.truth import Truth, steps_per_request

MARGIN: Final = 0.03
"""A fixed k whose forecast is further behind the best one's is not played.

Between two ks that are both within 6% of the best, forecast and play differed by at most 1.3% in the shipped scenarios.
"""
_ROUNDS: Final = 30


def may_be_best(trace: Trace) -> tuple[int, ...]:
    """The fixed ks whose forecast score is within `MARGIN` of the best forecast."""
    cost = StepEngine(trace.scenario).cost
    forecasts = {k: forecast(trace, cost, k) for k in range(trace.scenario.k_max + 1)}
    least = (1 - MARGIN) * max(forecasts.values())
    return tuple(k for k, score in forecasts.items() if score >= least)


def forecast(trace: Trace, cost: StepCost, k: int) -> float:
    """Expected score of a fixed k, up to a factor that is the same for all ks.

    Closed loop: tokens of all phases, each with all its clients decoding. Open loop: requests over the sum of their
    times per output token. What a phase leaves to the next is left out.
    """
    scenario = trace.scenario
    tokens = requests = token_seconds = 0.0
    for phase, seconds in _phases(trace):
        truth = Truth.of_arrivals(scenario, cost, dict(phase.mix))
        if phase.requests_per_second:
            arrived = phase.requests_per_second * seconds
            requests += arrived
            token_seconds += arrived * _seconds_per_token(scenario, phase, truth, k)
        elif phase.concurrency:
            tokens += seconds * truth.tokens_per_second(min(phase.concurrency, scenario.max_num_seqs), k)
    return requests / token_seconds if trace.open_loop and requests else tokens


def _seconds_per_token(scenario: Scenario, phase: Phase, truth: Truth, k: int) -> float:
    """Mean time per output token of requests that arrive anyway, at the batch at which as many finish as arrive."""
    shares = [(dict(phase.mix).get(each.name, 0.0), each) for each in scenario.workloads]
    all_shares = sum(share for share, _ in shares)
    steps = sum(share * steps_per_request(each, k) for share, each in shares) / all_shares
    batch = 1.0
    for _ in range(_ROUNDS):  # steps get longer with the batch: halfway each time, lest it swings
        step_seconds = truth.mean_step_seconds(min(max(round(batch), 1), scenario.max_num_seqs), k)
        batch += ((phase.requests_per_second or 0.0) * steps * step_seconds - batch) / 2
    per_token = (
        sum(share * steps_per_request(each, k) / each.output.moments()[0] for share, each in shares) / all_shares
    )
    return step_seconds * per_token


def _phases(trace: Trace) -> Iterator[tuple[Phase, float]]:
    """Phases, turn after turn, with the seconds that each lasts within the trace."""
    starts = []
    for start, phase in phase_starts(trace.scenario):
        if start >= trace.seconds:
            break
        starts.append((start, phase))
    for (start, phase), (end, _) in pairwise([*starts, (trace.seconds, starts[-1][1])]):
        yield phase, end - start
