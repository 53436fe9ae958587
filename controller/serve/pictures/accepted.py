"""Acceptance by draft position, with bounds; positions that were never drafted look different."""

from typing import Final
from xml.etree.ElementTree import Element

from controller.model.acceptance import Acceptance
from controller.serve.page_markup import element
from controller.serve.pictures.frame import (
    BOTTOM,
    TOP,
    across,
    horizontal_axis,
    picture,
    text,
    upright,
    upwards,
    vertical_axis,
    whole_values,
)

POSITIONS_MAX: Final = 32
"""Positions that are drawn; vLLM servers draft fewer than ten."""
_LABELLED: Final = 8
"""So many bars leave room for their numbers."""


def accepted(identity: str, acceptance: Acceptance, finding: str) -> Element:
    """The share of drafts of which at least the first 1, 2, ... tokens are accepted.

    Args:
        identity: Unique on the page.
        acceptance: By position.
        finding: What it shows, in words.
    """
    shares = acceptance.survival[:POSITIONS_MAX]
    x, y = across(0.5, len(shares) + 0.5), upwards(0.0, 1.0)
    wide = min(30.0, 0.55 * (x.at(2) - x.at(1)))
    ticks = [each for each in whole_values(len(shares)) if each] if len(shares) > _LABELLED else range(1, _LABELLED + 1)
    shapes = [
        *vertical_axis(y, [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")], ""),
        *horizontal_axis(x, [(each, str(each)) for each in ticks if each <= len(shares)], "position in the draft"),
    ]
    for position, share in enumerate(shares, 1):
        here, top = x.at(position), y.at(share)
        seen = position <= acceptance.positions_observed
        left = here - wide / 2
        shapes.append(
            element("rect", class_="bar" if seen else "bar guessed", x=left, y=top, width=wide, height=BOTTOM - top)
        )
        high = y.at(acceptance.survival_high[position - 1])
        shapes.append(upright(here, "reach", high, y.at(acceptance.survival_low[position - 1])))
        if len(shares) <= _LABELLED:
            shapes.append(text(here, max(TOP - 6, high - 6), f"{share:.0%}", "mark", anchor="middle"))
    return picture(identity, "Acceptance by position", finding, *shapes)
