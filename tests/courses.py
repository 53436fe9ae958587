"""Scores, answers, courses and moments for tests of live control, and a market to price with."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final

from windows import drafted, window

from controller.decide.course import Course
from controller.decide.decision import Action, Bounded, Decision, Schedule
from controller.decide.explore import Account
from controller.decide.moment import Moment
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Realised
from controller.decide.schedule import k_at
from controller.model.acceptance import estimate
from controller.model.drafter import HEAD, Drafting
from controller.model.economics import Market, Score
from controller.model.evidence import counts_of, observed
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime
from controller.reason import Reason

K_MAX: Final = 6
SETTINGS: Final = PolicySettings(max_batch=64)
RICH: Final = Account(50.0, 1000.0)
LOAD: Final = 8.0
HOME: Final[Schedule] = ((1, 64, 4),)
NOW: Final = 1000.0

Gains = Mapping[int, tuple[float, float, float]]
"""By k its gain over what runs, with bounds."""


def score(k: int, gain: float = 1.0, low: float | None = None, high: float | None = None) -> Score:
    """A k that yields so much over what runs; certain unless bounds are given."""
    return Score(
        k=k,
        tokens_per_step=1.0 + k / 2,
        step_seconds=0.01,
        tokens_per_second=100.0 * gain,
        tokens_per_second_low=100.0 * gain,
        tokens_per_second_high=100.0 * gain,
        gain_ratio=gain,
        gain_low=gain if low is None else low,
        gain_high=gain if high is None else high,
        tokens_observed=True,
        step_measured=True,
    )


def scores(gains: Gains, k_max: int = K_MAX) -> tuple[Score, ...]:
    """Every k; those without a gain lose a tenth for certain."""
    return tuple(score(k, *gains.get(k, (0.9, 0.9, 0.9))) for k in range(k_max + 1))


def holding(course: Course, gains: Gains | None = None, batch: float = LOAD, **changes: Any) -> Decision:
    """An answer that leaves the present load alone."""
    home_k = k_at(course.home, round(batch))
    base = Decision(
        action=Action.HOLD,
        reason=Reason.BEST_ALREADY,
        sentence="k is the best already.",
        k_now=home_k,
        k=home_k,
        k_best=home_k,
        batch=batch,
        schedule=course.home,
        gain=Bounded(1.0, 1.0, 1.0),
        scores=scores({home_k or 0: (1.0, 1.0, 1.0), **(gains or {})}),
    )
    return replace(base, **changes)


def changing(course: Course, k: int, schedule: Schedule, gain: float = 1.2, **changes: Any) -> Decision:
    """An answer to change k at the present load."""
    return holding(
        course,
        {k: (gain, gain - 0.05, gain + 0.05)},
        **{
            "action": Action.CHANGE if k else Action.DISABLE,
            "reason": Reason.FASTER_K if k else Reason.SPECULATION_LOSES,
            "k": k,
            "schedule": schedule,
            "gain": Bounded(gain, gain - 0.05, gain + 0.05),
        }
        | changes,
    )


def course_of(home: Schedule = HOME, **known: Any) -> Course:
    """A course with money to explore."""
    fields: dict[str, Any] = {"home": home, "account": RICH} | known
    return Course(**fields)


def moment_of(now: float = NOW, *, chance: float = 0.9, **seen: Any) -> Moment:
    """A quiet pass in which a probe may begin."""
    nothing = {"realised": None, "positions_observed": 4, "waiting": 0.0, "tpot_seconds": 0.02}
    return Moment(now_seconds=now, chance=chance, **nothing | seen)


def realised(at: float, k: int, rate: float = 100.0, batch: float = LOAD, ease: float = 1.0) -> Realised:
    """A window's yield; `ease` multiplies what its traffic gives to each step."""
    expected = tuple(ease * (1.0 + 0.5 * each) for each in range(K_MAX + 1))
    return Realised(at, batch, k, math.log(rate), expected)


def market(
    hazards: tuple[float, ...], drafts: int = 20_000, batches: tuple[float, ...] = (1.0, 8.0, 32.0, 128.0)
) -> Market:
    """A market of these hazards; steps take 1 + n / 100 fixed costs over n tokens and .03 a draft, well measured."""
    k_max = len(hazards)
    counted = window(drafted(hazards, drafts, k_max), drafts=drafts)
    acceptance = estimate(observed(None, counts_of(counted, Drafting.FIXED, float(k_max))), HEAD)
    cells = tuple(
        Cell(b, float(k), float(k > 0), math.log(0.01 * (1 + b * (1 + k) / 100 + 0.03 * k)), 30.0)
        for b, k in product(batches, range(k_max + 1))
    )
    return Market(acceptance, StepTime(StepTable(cells), HEAD), Drafting.FIXED, k_max, float(k_max))
