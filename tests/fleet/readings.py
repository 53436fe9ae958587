"""What a replica's page shows over time: simulated step by step, or drawn from the simulator's expectations."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from controller.simulator.engine import StepEngine
from controller.simulator.scenario import Phase, Scenario
from controller.simulator.traffic import event_times, phase_starts
from controller.simulator.truth import steps_per_request
from controller.simulator.workload import Workload
from fleet.replica import Replica, reading
from fleet.truth import k_in_force, of_phase

Floats = npt.NDArray[np.float64]
_DRIFT_MEMORY_SECONDS: Final = 60.0


class Readings(Protocol):
    """The page of one replica, asked for in order of time."""

    def at(self, times: Sequence[float]) -> Iterator[tuple[float, ...]]:
        """The readings at these times, in the order of `Replica.series`; empty while the server does not answer."""


def readings(replica: Replica, beginning_unix_seconds: float) -> Readings:
    """Of a replica whose history begins then."""
    return (Stepwise if replica.stepwise else Drawn)(replica, beginning_unix_seconds)


class Stepwise:
    """Every engine step is simulated."""

    def __init__(self, replica: Replica, beginning_unix_seconds: float) -> None:
        self._engine = StepEngine(replica.scenario, seed=replica.seed)
        self._born_seconds = replica.life[0] if replica.life else 0.0
        self._beginning = beginning_unix_seconds

    def at(self, times: Sequence[float]) -> Iterator[tuple[float, ...]]:
        """See `Readings`. A pod that comes later plays its scenario from then on."""
        for time in times:
            since = time - self._born_seconds
            if since < 0:
                yield ()
                continue
            self._engine.advance_to(since)
            created = self._beginning + self._born_seconds + self._engine.started_seconds
            yield reading(self._engine, created) if self._engine.is_up else ()


@dataclass(frozen=True)
class _Rates:
    """Expectations of a phase, per engine step or request-step."""

    batch: int
    k: int
    step_seconds: float
    coverage: float
    hazards: Floats
    draft_length: float
    requests: float
    prompt_tokens: float
    cut_tokens: float
    spread: float


def _rates(scenario: Scenario, phase: Phase) -> _Rates:
    if phase.concurrency is None:
        raise ValueError("only clients that wait for their replies (closed loop) can be drawn")
    batch = min(phase.concurrency, scenario.max_num_seqs)
    truth, k = of_phase(scenario, phase), k_in_force(scenario, batch) if batch else 0
    seen = truth.acceptance(k)
    known = {each.name: each for each in scenario.workloads}
    shares = [(weight, known[name]) for name, weight in phase.mix]
    total, steps = sum(w for w, _ in shares), sum(w * steps_per_request(each, k) for w, each in shares)
    requests = total / steps
    survival = np.array([*seen.survival, *[0.0] * (scenario.k_max - k)])
    before = np.array([1.0, *survival[:-1]])
    return _Rates(
        batch=batch,
        k=k,
        step_seconds=truth.mean_step_seconds(batch, k) if batch else math.inf,
        coverage=min(1.0, seen.coverage),
        hazards=np.divide(survival, before, out=np.zeros_like(survival), where=before > 0),
        draft_length=sum(w * _draft_length(each, k) for w, each in shares) / total,
        requests=requests,
        prompt_tokens=sum(w * each.prompt.moments()[0] for w, each in shares) / total,
        cut_tokens=max(0.0, seen.tokens_per_step + requests - truth.output_tokens_per_step(k)),
        spread=max(each.logit_spread for _, each in shares),
    )


def _draft_length(workload: Workload, k: int) -> float:
    """Mean tokens of a draft: k, or as far as a match goes on."""
    if workload.match_tokens is None:
        return float(k)
    return float(sum((1 - 1 / workload.match_tokens) ** each for each in range(k)))


class Drawn:
    """Each window is drawn: steps from their expected time and noise, acceptance from its expected survival.

    What single requests and steps would add is left out, but for two things: noise of the step time that holds for
    about a minute, and acceptance that differs with the requests that happen to run.
    """

    def __init__(self, replica: Replica, beginning_unix_seconds: float) -> None:
        self._replica, self._beginning = replica, beginning_unix_seconds
        self._random = np.random.default_rng(np.random.SeedSequence([replica.seed, 7]))
        self._seconds = self._started_seconds = replica.life[0] if replica.life else 0.0
        self._totals: Floats = np.zeros(len(replica.series))
        self._drift = 0.0
        self._phases = phase_starts(replica.scenario)
        self._ahead = next(self._phases, None)
        self._events = event_times(replica.scenario)
        self._event = next(self._events, None)
        self._known: dict[Phase, _Rates] = {}
        self._now: _Rates | None = None

    def at(self, times: Sequence[float]) -> Iterator[tuple[float, ...]]:
        """See `Readings`."""
        for time in times:
            while (turn := self._next_turn()) <= time:
                self._advance(turn)
                self._turn(turn)
            self._advance(time)
            up = self._started_seconds <= time and self._now is not None
            yield tuple(self._totals.tolist()) if up else ()

    def _next_turn(self) -> float:
        """When the next phase begins, or the next restart."""
        return min(each[0] for each in (self._ahead, self._event, (math.inf,)) if each is not None)

    def _turn(self, seconds: float) -> None:
        if self._ahead is not None and self._ahead[0] <= seconds:
            phase = self._ahead[1]
            if phase not in self._known:
                self._known[phase] = _rates(self._replica.scenario, phase)
            self._now = self._known[phase]
            self._ahead = next(self._phases, None)
        elif self._event is not None:
            self._started_seconds = max(self._started_seconds, seconds + self._event[1].down_seconds)
            self._totals[:] = 0.0
            self._event = next(self._events, None)

    def _advance(self, seconds: float) -> None:
        lived = seconds - max(self._seconds, self._started_seconds)
        self._seconds = max(self._seconds, seconds)
        rates, totals = self._now, self._totals
        totals[4] = self._beginning + self._started_seconds
        if rates is None:
            return
        totals[8:10] = rates.batch, 0.0
        if lived > 0 and rates.batch:
            self._count(rates, lived)

    def _count(self, rates: _Rates, seconds: float) -> None:
        random, totals = self._random, self._totals
        step_seconds = rates.step_seconds * self._noise(seconds)
        steps = round(seconds / step_seconds)
        request_steps = steps * rates.batch
        first = int(random.poisson(request_steps * rates.requests))
        drafts = int(random.binomial(request_steps, rates.coverage)) if rates.k else 0
        accepted = self._accepted(rates, drafts, first)
        latency = request_steps * step_seconds
        own = request_steps + accepted.sum() - round(request_steps * rates.cut_tokens)
        totals[:4] += request_steps, latency, steps, own + first
        totals[5:7] += first, round(first * rates.prompt_tokens)
        if self._replica.scenario.speculates:
            totals[10:13] += drafts, round(drafts * rates.draft_length), accepted.sum()
            totals[13:] += accepted

    def _noise(self, seconds: float) -> float:
        noise = self._replica.scenario.noise
        memory = math.exp(-seconds / _DRIFT_MEMORY_SECONDS)
        self._drift = memory * self._drift + math.sqrt(1 - memory**2) * float(self._random.standard_normal())
        return math.exp(noise.drift_sigma * self._drift - noise.drift_sigma**2 / 2)

    def _accepted(self, rates: _Rates, drafts: int, requests: int) -> Floats:
        """Accepted drafts by position; every hazard's logit is off by what so many requests are off together."""
        if not drafts:
            return np.zeros(len(rates.hazards))
        offset = rates.spread / math.sqrt(rates.batch + requests) * float(self._random.standard_normal())
        odds = math.exp(offset)
        hazards = rates.hazards * odds / (1 - rates.hazards + rates.hazards * odds)
        survival = np.cumprod(hazards)
        lengths = -np.diff(np.array([1.0, *survival, 0.0]))
        counts = self._random.multinomial(drafts, lengths / lengths.sum())
        return np.asarray(counts[:0:-1].cumsum()[::-1], float)
