"""When requests arrive, and of which workload: a scenario's phases and events, played on simulated time."""

import math
from collections.abc import Iterator
from itertools import count

import numpy as np

from controller.simulator.request import Request, RequestDeck
from controller.simulator.scenario import Event, Phase, Scenario

NEVER = math.inf


def phase_starts(scenario: Scenario) -> Iterator[tuple[float, Phase]]:
    """Start in seconds and phase, in order, turn after turn of a looping timeline."""
    for turn in count():
        for phase in scenario.phases:
            yield turn * (scenario.loop_seconds or 0) + phase.start_seconds, phase
        if scenario.loop_seconds is None:
            return


def event_times(scenario: Scenario) -> Iterator[tuple[float, Event]]:
    """Time in seconds and event, in order, turn after turn of a looping timeline."""
    events = sorted(scenario.events, key=lambda event: event.at_seconds)
    for turn in count() if events else ():
        for event in events:
            yield turn * (scenario.loop_seconds or 0) + event.at_seconds, event
        if scenario.loop_seconds is None:
            return


class Traffic:
    """The clients of one engine.

    Several engines share the load evenly; the first ones take what is left over.
    """

    def __init__(self, scenario: Scenario, *, k_max: int, engine_index: int, seed: int) -> None:
        seeds = np.random.SeedSequence([seed, engine_index]).spawn(len(scenario.workloads) + 1)
        self._random = np.random.default_rng(seeds[-1])
        self._decks = [
            RequestDeck(index, workload, k_max, np.random.default_rng(seeds[index]))
            for index, workload in enumerate(scenario.workloads)
        ]
        self._index = {workload.name: index for index, workload in enumerate(scenario.workloads)}
        self._engines, self._engine_index = scenario.engines, engine_index
        self._starts = phase_starts(scenario)
        self._ahead: tuple[float, Phase] | None = next(self._starts)
        self._next_arrival = NEVER
        self._rate = 0.0
        self._clients = 0
        self._choices: list[int] = []
        self.next_change_seconds = 0.0
        self.enter(0.0)

    def enter(self, seconds: float) -> None:
        """Enter the phase that holds at `seconds`, if it is not the present one."""
        while self._ahead is not None and self._ahead[0] <= seconds:
            self.phase = self._ahead[1]
            self._start_phase(self._ahead[0])
            self._ahead = next(self._starts, None)
            self.next_change_seconds = self._ahead[0] if self._ahead is not None else NEVER

    def arrivals(self, seconds: float, outstanding: int) -> list[Request]:
        """Requests that have come by `seconds`, while `outstanding` are at the server."""
        if seconds >= self.next_change_seconds:
            self.enter(seconds)
        if outstanding >= self._clients and seconds < self._next_arrival:
            return []
        arrived = [self._draw(seconds) for _ in range(self._clients - outstanding)]
        while self._next_arrival <= seconds:
            arrived.append(self._draw(self._next_arrival))
            self._next_arrival += self._random.exponential(1 / self._rate)
        return arrived

    @property
    def next_wake_seconds(self) -> float:
        """When an idle engine has to look again."""
        return min(self._next_arrival, self.next_change_seconds)

    def _start_phase(self, start: float) -> None:
        phase, engines = self.phase, self._engines
        clients = phase.concurrency or 0
        self._clients = clients // engines + (1 if self._engine_index < clients % engines else 0)
        self._rate = (phase.requests_per_second or 0.0) / engines
        self._next_arrival = start + self._random.exponential(1 / self._rate) if self._rate > 0 else NEVER
        self._indices = [self._index[name] for name, _ in phase.mix]
        weights = np.array([weight for _, weight in phase.mix], dtype=float)
        self._weights = weights / weights.sum()
        self._choices = []

    def _draw(self, seconds: float) -> Request:
        request = self._decks[self._choose()].draw()
        request.arrived_seconds = seconds
        return request

    def _choose(self) -> int:
        if len(self._indices) == 1:
            return self._indices[0]
        if not self._choices:
            chosen = self._random.choice(len(self._indices), size=64, p=self._weights)
            self._choices = [self._indices[i] for i in chosen]
        return self._choices.pop()
