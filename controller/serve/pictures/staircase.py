"""The best k over load as the schedule's staircase, beside the one in force, with the present load marked."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from controller.decide.decision import Schedule
from controller.decide.schedule import k_at
from controller.serve.page_markup import element
from controller.serve.pictures.frame import (
    RIGHT,
    TOP,
    Scale,
    across,
    dot,
    horizontal_axis,
    marked,
    picture,
    upright,
    upwards,
    vertical_axis,
    whole_values,
)

_MOST_TICKS: Final = 9
_STEPS_MAX: Final = 64
"""Steps that are drawn; a schedule has no more than a dozen, but a foreign one might."""


def staircase(
    identity: str,
    recommended: Schedule,
    in_force: Schedule,
    batch: float | None,
    k_now: float | None,
    k_max: int,
    finding: str,
) -> Element:
    """k over the load, which doubles from tick to tick.

    Args:
        identity: Unique on the page.
        recommended: Empty where nothing could be judged.
        in_force: Empty when it is not known; one of the two is there.
        batch: The present load; None when it is not known.
        k_now: The k in force there, drawn where `in_force` is not known.
        k_max: The highest k of the axis, at least 1.
        finding: What it shows, in words.
    """
    end = max(high for schedule in (recommended, in_force) for _, high, _ in schedule)
    x, y = across(1.0, end + 1.0, logarithmic=True), upwards(0.0, k_max + 0.35)
    shapes = [
        *vertical_axis(y, [(k, str(k)) for k in whole_values(k_max, 6)], "k"),
        *horizontal_axis(x, [(value, str(value)) for value in _doubling(end)], "load, decoding requests at once"),
    ]
    if in_force:
        shapes.append(_stairs(in_force, x, y, "force"))
    if recommended:
        shapes.append(_stairs(recommended, x, y, "line"))
    if batch is not None:
        here = x.at(max(1.0, batch))
        shapes += [upright(here, "now"), marked(here, TOP - 5, "load now", "mark")]
        at_load = max(1, round(batch))
        now = k_at(in_force, at_load) if in_force else k_now
        wanted = k_at(recommended, at_load)
        if now is not None:
            shapes.append(dot(here, y.at(now), "was", 4.5))
        if wanted is not None:
            shapes.append(dot(here, y.at(wanted), "seen", 4.5))
    return picture(identity, "Best k over load", finding, *shapes)


def _stairs(schedule: Schedule, x: Scale, y: Scale, class_: str) -> Element:
    """Level from each range's lowest batch to the next one's: gaps and the tail carry the k before them."""
    first, *later = schedule[:_STEPS_MAX]
    path = [f"M{x.at(first[0]):g} {y.at(first[2]):g}"]
    path += [f"H{x.at(low):g}V{y.at(k):g}" for low, _, k in later]
    return element("path", class_=class_, d="".join([*path, f"H{RIGHT:g}"]))


def _doubling(end: int) -> Sequence[int]:
    """1, 2, 4, ... up to `end`, or every other one where they would stand too close."""
    powers = [2**power for power in range(end.bit_length())]
    return powers if len(powers) <= _MOST_TICKS else powers[::2]
