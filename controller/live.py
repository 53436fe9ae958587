"""Live control of one engine from pass to pass: what is found in force, what is decided about it, and what is held."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from controller.act.actuator import Acted, Outcome
from controller.cycle import Control
from controller.decide import ownership, steer
from controller.decide.course import Course
from controller.decide.decision import Decision, Schedule
from controller.decide.moment import Moment
from controller.decide.policy import PolicyState, Situation, decide
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Realised
from controller.learn import blank
from controller.memory import EngineMemory
from controller.model.economics import Market
from controller.observe.speculation import Speculation
from controller.sight import Sight

STRAYED_WINDOWS: Final = 3
"""So many windows in a row must show another k than scheduled: a change may fall between the two readings of one."""


@dataclass(frozen=True, slots=True)
class Live:
    """What live control needs beside a recommendation.

    Attributes:
        owner: The name under which schedules are held.
        frozen: Whether the operator wants no changes now.
        chance: Draws a number from 0 to 1.
        stand_down_seconds: How long to keep out after somebody else's reset.
        allow_k_without_graph: Whether a k may run for which vLLM captured no CUDA graph.
    """

    owner: str
    frozen: Callable[[], bool]
    chance: Callable[[], float]
    stand_down_seconds: float = 900.0
    allow_k_without_graph: bool = False


def found(live: Live, memory: EngineMemory, speculation: Speculation, now_seconds: float) -> EngineMemory:
    """The memory after a look at what is in force: another's hold, or another's reset, is respected."""
    rest, course = memory.stood_down_until_seconds, memory.learnt.course
    if ownership.was_reset(memory.speculation, speculation, live.owner, _since(memory, now_seconds)):
        course = replace(course, home=(), probe=None, change=None)
        rest = now_seconds + live.stand_down_seconds
    elif rest is not None and now_seconds >= rest:
        rest = None
    if ownership.was_released(memory.speculation, speculation, live.owner):
        course = replace(course, home=())
    course = ownership.found(course, speculation, live.owner)
    return replace(memory, learnt=replace(memory.learnt, course=course), stood_down_until_seconds=rest)


def decided(
    live: Live,
    memory: EngineMemory,
    market: Market,
    sight: Sight,
    now: Situation,
    now_seconds: float,
    speculation: Speculation | None,
    settings: PolicySettings,
) -> tuple[Decision, Course]:
    """The decision for a pass, and the course from it on.

    Args:
        live: Whose word counts.
        memory: What is remembered; its course has a schedule.
        market: What prices a draft.
        sight: The window.
        now: What runs now.
        now_seconds: On a monotonic clock.
        speculation: The plugin's state.
        settings: When to act.
    """
    course = memory.learnt.course
    if _refused(memory, speculation):  # what is wanted does not run: there is nothing to measure
        course, settings = replace(course, probe=None), replace(settings, exploration_budget=0.0)
    impossible = _impossible(speculation, market.k_max, live)
    base = decide(
        market,
        replace(now, home=course.home),
        PolicyState(changed_at_seconds=course.changed_at_seconds),
        settings,
        course.barred(now.batch, now_seconds, probes=False),
        impossible,
    )
    moment = _moment(memory, market, sight, now_seconds, live.chance())
    if memory.stood_down_until_seconds is not None:
        return steer.stood_down(base, course, memory.stood_down_until_seconds - now_seconds), course
    if live.frozen():
        return steer.frozen(base, course)
    return steer.steer(base, course, moment, settings, impossible)


def wanted(memory: EngineMemory, max_batch: int) -> Schedule:
    """The schedule that is to be in force; empty for the launch schedule."""
    course = memory.learnt.course
    return () if memory.stood_down_until_seconds is not None or not course.home else course.wanted(max_batch)


def settled(live: Live, memory: EngineMemory, now_seconds: float, settings: PolicySettings) -> EngineMemory:
    """The memory before acting, whether or not the pass decided: a freeze ends a probe, and a rest costs nothing."""
    course = memory.learnt.course
    account = course.account.after(now_seconds, 0.0, settings)
    course = replace(course, account=account, probe=None if live.frozen() else course.probe)
    return replace(memory, learnt=replace(memory.learnt, course=course))


def held(
    live: Live,
    memory: EngineMemory,
    wished: Schedule,
    acted: Acted,
    speculation: Speculation | None,
    sight: Sight | None,
) -> EngineMemory:
    """The memory after acting, with live control as its latest cycle shows it."""
    assert memory.last is not None
    told = acted.speculation
    if told is not None and speculation is not None:  # a PUT is not answered with counts
        told = replace(told, measured=speculation.measured)
    control = Control(
        speculation=told or speculation,
        wanted=wished,
        applied=None if sight is None else sight.applied or (None if memory.strayed < STRAYED_WINDOWS else False),
        frozen=live.frozen(),
        review=memory.learnt.course.latest,
    )
    last = replace(memory.last, acted=replace(acted, speculation=None), control=control)
    return replace(memory, last=last, speculation=control.speculation)


def _since(memory: EngineMemory, now_seconds: float) -> float:
    """Seconds since the page before."""
    at = memory.snapshot.at_seconds if memory.snapshot else None
    return now_seconds - at if at is not None else math.inf


def _moment(memory: EngineMemory, market: Market, sight: Sight, now_seconds: float, chance: float) -> Moment:
    drafted_at = memory.drafted_at_seconds
    return Moment(
        now_seconds=now_seconds,
        realised=_realised(sight, market, now_seconds),
        positions_observed=market.acceptance.positions_observed,
        waiting=sight.window.waiting,
        tpot_seconds=sight.window.tpot_seconds,
        chance=chance,
        blind_seconds=now_seconds - drafted_at if drafted_at is not None else math.inf,
        blank=() if sight.window.drafts > 0 else blank(market, sight).prices([sight.batch], 0.0).scores(0),
    )


def _refused(memory: EngineMemory, speculation: Speculation | None) -> bool:
    """Whether the engine took nothing of what was last wanted, or never takes anything."""
    failed = memory.last is not None and memory.last.acted.outcome is Outcome.FAILED
    return failed or (speculation is not None and not speculation.writable)


def _impossible(speculation: Speculation | None, k_max: int, live: Live) -> frozenset[int]:
    """The ks that the engine has no CUDA graph for, unless the operator accepts slower steps."""
    graphs = speculation.k_with_graph if speculation else None
    return frozenset() if graphs is None or live.allow_k_without_graph else frozenset(range(k_max + 1)) - set(graphs)


def _realised(sight: Sight, market: Market, now_seconds: float) -> Realised | None:
    """What the window yielded; None when it ran more than one k."""
    rate = sight.log_rate
    if sight.single_k is None or rate is None or sight.single_k > market.k_max:
        return None
    expected = market.tokens_at(range(market.k_max + 1))
    return Realised(now_seconds, sight.batch, sight.single_k, rate, expected)
