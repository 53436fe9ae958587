"""A trace of traffic, lived through by the controller and by every fixed k in turn."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from typing import Final

from real_vllm_load import Load
from real_vllm_score import Trace, Visit
from real_vllm_server import Server

ACCEPTANCE: Final = {"0.95": (0.95,), "0.3/0.1": (0.3, 0.1), "0.05": (0.05,)}
"""Probability that a draft is accepted, given that those before it were, by position; the last one goes on."""
RAMP_SECONDS: Final = 1.0
"""After a change of load: clients that begin together read their prompts together."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Traffic that stays the same.

    Attributes:
        name: For the table.
        clients: Requests in flight.
        rates: Acceptance by position; None to leave it as it is.
    """

    name: str
    clients: int
    rates: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the time is spent.

    Attributes:
        phases: The traffic.
        repeats: How often each phase is visited; even.
        settle_seconds: What the controller has to settle, in each phase.
        measure_seconds: What is measured of each contestant, in each visit.
        stretch: Phases that the controller lives through before the fixed ks have their turn.
    """

    phases: tuple[Phase, ...]
    repeats: int
    settle_seconds: float
    measure_seconds: float
    stretch: int


def phases(clients: Sequence[int], *, acceptance_can_be_set: bool, extremes: bool = False) -> tuple[Phase, ...]:
    """Every acceptance, or the two extremes, at every number of clients; these alone where acceptance is given."""
    if not acceptance_can_be_set:
        return tuple(Phase(f"{each} in flight", each, None) for each in clients)
    names = tuple(ACCEPTANCE)
    chosen = (names[0], names[-1]) if extremes else names
    return tuple(
        Phase(f"{name} accepted, {each} in flight", each, ACCEPTANCE[name]) for name, each in product(chosen, clients)
    )


def live_through(
    plan: Plan,
    server: Server,
    load: Load,
    controller: Callable[[], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Trace:
    """Visit every phase in every repeat, in an order of its own.

    A machine's speed drifts, so that what is compared must lie close together: the controller lives through a few
    phases, and the fixed ks through the same ones just before and just after, in slices of a second or so. In
    between it is off, so that it learns from its own traffic only, and its checkpoint carries on what it learnt.
    """
    ks = server.fixed_ks()
    draws = random.Random(0)
    visits: list[Visit] = []
    for repeat in range(1, plan.repeats + 1):
        order = draws.sample(plan.phases, len(plan.phases))
        for start in range(0, len(order), plan.stretch):
            stretch = order[start : start + plan.stretch]
            where = f"repeat {repeat} of {plan.repeats}, phases from {start + 1}"
            say(f"{where}: fixed k")
            before = [_fixed(plan, server, load, phase, ks, draws) for phase in stretch]
            server.release()
            say(f"{where}: the controller")
            with controller():
                adaptive = [_adaptive(plan, server, load, phase) for phase in stretch]
            say(f"{where}: fixed k again")
            server.release()
            after = [_fixed(plan, server, load, phase, ks, draws) for phase in stretch]
            for phase, (settling, settled), first, second in zip(stretch, adaptive, before, after, strict=True):
                fixed = tuple((first[k] + second[k]) / 2 for k in ks)
                visits.append(Visit(phase.name, repeat, settled, settling, fixed))
                shown = ", ".join(f"{k}: {value:.0f}" for k, value in zip(ks, fixed, strict=True))
                say(f"  {phase.name}: adaptive {settled:.0f} tokens/s (settling {settling:.0f}); fixed {shown}")
    server.release()
    return Trace(ks, tuple(visits))


def _enter(phase: Phase, server: Server, load: Load) -> None:
    if phase.rates is not None:
        server.accept(phase.rates)
    load.clients(phase.clients)
    time.sleep(RAMP_SECONDS)


def _adaptive(plan: Plan, server: Server, load: Load, phase: Phase) -> tuple[float, float]:
    """Tokens per second while the controller settles, and after."""
    _enter(phase, server, load)
    return server.tokens_per_second(plan.settle_seconds), server.tokens_per_second(plan.measure_seconds)


def _fixed(
    plan: Plan, server: Server, load: Load, phase: Phase, ks: Sequence[int], draws: random.Random
) -> dict[int, float]:
    """Tokens per second of each fixed k, for half of the time: the other half comes after the controller."""
    _enter(phase, server, load)
    return dict(_slices(plan, server, draws.sample(ks, len(ks))))


def _slices(plan: Plan, server: Server, ks: Sequence[int]) -> Iterator[tuple[int, float]]:
    for k in ks:
        server.fix(k)
        yield k, server.tokens_per_second(plan.measure_seconds / 2)
