"""Fleets: of a few workloads that differ in what k does to them, as many replicas as asked for."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Final

from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.schedule import Schedule
from fleet.replica import Replica

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
_BY_HOUR: Final = (4, 2, 1, 1, 1, 2, 6, 16, 40, 90, 150, 210, 240, 256, 250, 230, 200, 160, 120, 90, 60, 36, 18, 8)
_CHAT, _CODE, _PROSE = ((("chat", 1.0),), (("code", 1.0),), (("prose", 1.0),))


def _steady(like: str, name: str, batch: int, mix: tuple[tuple[str, float], ...] | None = None) -> Scenario:
    base = SCENARIOS[like]
    return replace(
        base, model_name=name, phases=(Phase(0, mix or base.phases[0].mix, concurrency=batch),), loop_seconds=None
    )


SHARP: Final = _steady("steady-code", "coder-8b", 8)
"""k=5 is right."""
BUSY: Final = _steady("saturation", "chat-8b", 64)
"""k=5 where k=2 is right."""
DULL: Final = _steady("moe-negative", "moe-30b", 16)
"""Every draft loses."""
WIDE: Final = _steady("steady-prose", "prose-8b", 16)
"""k=5 where k=2 is right."""
TIMID: Final = replace(SHARP, model_name="timid-8b", schedule=((1, 256, 1),))
"""Launched for 5, but its schedule runs k=1 where k=5 is right."""
PLAIN: Final = _steady("no-speculation", "plain-8b", 8)
"""Does not speculate."""
KINDS: Final = (SHARP, BUSY, DULL, WIDE, TIMID, PLAIN)


def switching(first: str, then: str, at_seconds: float, batch: int = 16, schedule: Schedule | None = None) -> Scenario:
    """Traffic that changes at a moment."""
    phases = (Phase(0, ((first, 1.0),), concurrency=batch), Phase(at_seconds, ((then, 1.0),), concurrency=batch))
    base = SCENARIOS["sudden-switch"]
    return replace(base, model_name="switching-8b", phases=phases, loop_seconds=None, schedule=schedule)


def daily(name: str, schedule: Schedule | None = None) -> Scenario:
    """The load of a day, one stream at night and 256 at noon, chat and code mixed; and a restart each night."""
    mix = (("chat", 0.7), ("code", 0.3))
    phases = tuple(Phase(hour * HOUR, mix, concurrency=batch) for hour, batch in enumerate(_BY_HOUR))
    return replace(
        SCENARIOS["day-curve"],
        model_name=name,
        phases=phases,
        events=(Event(3 * HOUR + 100, "restart", down_seconds=90),),
        loop_seconds=DAY,
        schedule=schedule,
    )


WEEK: Final = (
    daily("daily-8b"),
    daily("daily-scheduled-8b", ((1, 16, 5), (17, 64, 3), (65, 256, 1))),
    BUSY,
    SHARP,
)
"""Four workloads for days."""


def replicas(
    scenarios: Iterable[Scenario],
    of_each: int,
    *,
    seconds: float,
    stepwise: bool = False,
    troubled: bool = True,
) -> tuple[Replica, ...]:
    """So many replicas of each scenario, in a namespace by its model.

    Args:
        scenarios: One a workload.
        of_each: Replicas.
        seconds: How long the history is.
        stepwise: Whether every engine step is simulated.
        troubled: Whether of each workload the second pod leaves after two thirds, a fourth one comes after a third, and
            the third one cannot be scraped for two minutes at half time.
    """
    found = []
    for (kind, scenario), index in product(enumerate(scenarios), range(of_each)):
        name = f"{scenario.model_name}-{index}"
        number = kind * of_each + index
        found.append(
            Replica(
                namespace=f"llm-{scenario.model_name}",
                pod=name,
                instance=f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}:8000",
                scenario=scenario,
                seed=number + 1,
                life=_life(index, seconds) if troubled else None,
                gaps=((seconds / 2, seconds / 2 + 120),) if troubled and index % 10 == 2 else (),
                stepwise=stepwise,
            )
        )
    return tuple(found)


def _life(index: int, seconds: float) -> tuple[float, float] | None:
    lives = {1: (0.0, seconds * 2 / 3), 3: (seconds / 3, seconds + DAY)}
    return lives.get(index % 10)
