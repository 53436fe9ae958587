"""What the page's pictures share: a plot area with ticks, a name, and a description for those who cannot see it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from controller.serve.page_markup import Child, element

WIDTH: Final = 360.0
HEIGHT: Final = 194.0
LEFT: Final = 42.0
RIGHT: Final = 350.0
TOP: Final = 26.0
BOTTOM: Final = 150.0
"""Of the plot area, in the picture's own units; one is about a pixel."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to positions.

    Attributes:
        low: The value at `start`.
        high: The value at `end`; greater than `low`.
        start: Position.
        end: Position.
        logarithmic: Whether equal ratios are equal lengths; both values must then be positive.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The position of a value; those beyond the ends lie at the ends.

        >>> Scale(1.0, 16.0, 0.0, 100.0, logarithmic=True).at(4.0)
        50.0
        """
        low, high, inside = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, inside = math.log(low), math.log(high), math.log(inside)
        return round(self.start + (self.end - self.start) * (inside - low) / (high - low), 2)


def across(low: float, high: float, *, logarithmic: bool = False) -> Scale:
    """The horizontal scale of a plot."""
    return Scale(low, high, LEFT, RIGHT, logarithmic)


def upwards(low: float, high: float) -> Scale:
    """The vertical scale of a plot."""
    return Scale(low, high, BOTTOM, TOP)


def round_values(low: float, high: float, about: int = 4) -> tuple[float, ...]:
    """Round numbers from `low` to `high`, about so many.

    >>> round_values(130.0, 460.0)
    (200.0, 300.0, 400.0)
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1.0, 2.0, 2.5, 5.0, 10.0) if size * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(each * step, 9) for each in range(first, last + 1))


def whole_values(last: int, at_most: int = 9) -> tuple[int, ...]:
    """0 to `last` in equal whole steps, not too many.

    >>> whole_values(5), whole_values(20)
    ((0, 1, 2, 3, 4, 5), (0, 4, 8, 12, 16, 20))
    """
    step = next(size for size in (1, 2, 4, 5, 8, 10, 20, 50, 100, 1000, 10_000) if last / size < at_most)
    return tuple(range(0, last + 1, step))


def picture(identity: str, title: str, description: str, *shapes: Child) -> Element:
    """A picture with a name and a description.

    Args:
        identity: Unique on the page.
        title: Its name.
        description: What it shows, in a sentence or two.
        shapes: What is drawn, the nearest last.
    """
    return element(
        "svg",
        element("title", title, id=f"{identity}-title"),
        element("desc", description, id=f"{identity}-desc"),
        *shapes,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_labelledby=f"{identity}-title {identity}-desc",
    )


def horizontal_axis(scale: Scale, values: Sequence[tuple[float, str]], label: str) -> list[Element]:
    """Ticks with their texts below the plot, and what they count."""
    ticks = [text(scale.at(value), BOTTOM + 17, shown, "tick", anchor="middle") for value, shown in values]
    base = element("line", class_="base", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM)
    return [base, *ticks, text((LEFT + RIGHT) / 2, HEIGHT - 6, label, "axis", anchor="middle")]


def vertical_axis(scale: Scale, values: Sequence[tuple[float, str]], label: str) -> list[Element]:
    """Ticks with their texts left of the plot, lines across it, and what they count above them."""
    shapes = [text(0, 11, label, "axis")]
    for value, shown in values:
        y = scale.at(value)
        shapes.append(element("line", class_="grid", x1=LEFT, x2=RIGHT, y1=y, y2=y))
        shapes.append(text(LEFT - 8, y + 4, shown, "tick", anchor="end"))
    return shapes


def text(x: float, y: float, shown: str, class_: str, *, anchor: str | None = None) -> Element:
    """A text; `anchor` says which part of it lies at x: its start, unless told."""
    return element("text", shown, x=x, y=y, class_=class_, text_anchor=anchor)


def dot(x: float, y: float, class_: str, radius: float = 3.5) -> Element:
    """A round mark."""
    return element("circle", cx=x, cy=y, r=radius, class_=class_)


def upright(x: float, class_: str, top: float = TOP, bottom: float = BOTTOM) -> Element:
    """A vertical line."""
    return element("line", class_=class_, x1=x, x2=x, y1=top, y2=bottom)


def marked(x: float, y: float, shown: str, class_: str) -> Element:
    """A text beside a mark that stays inside the picture."""
    anchor = "end" if x > RIGHT - 40 else "start" if x < LEFT + 20 else "middle"
    return text(x, y, shown, class_, anchor=anchor)
