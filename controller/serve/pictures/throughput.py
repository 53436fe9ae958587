"""The curve of throughput over k, with bounds; now and the best marked."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from controller.model.economics import Score
from controller.serve.page_markup import element
from controller.serve.pictures.frame import (
    TOP,
    Scale,
    across,
    dot,
    horizontal_axis,
    marked,
    picture,
    round_values,
    upright,
    upwards,
    vertical_axis,
    whole_values,
)

_MARGIN: Final = 0.06
"""Space above and below the bounds, as a share of their reach."""
_REACH: Final = 2.0
"""Bounds are drawn up to this multiple of the highest throughput: wider ones would flatten the curve."""


def throughput(
    identity: str, scores: Sequence[Score], k_now: float | None, chosen: tuple[int, str], finding: str
) -> Element:
    """Tokens per second of the server over k.

    Args:
        identity: Unique on the page.
        scores: From k=0 on, two at least.
        k_now: In force; None when it is not known.
        chosen: The k to mark, and what as.
        finding: What it shows, in words.
    """
    x = across(0.0, float(scores[-1].k))
    low = min(score.tokens_per_second_low for score in scores)
    highest = max(score.tokens_per_second for score in scores)
    high = min(max(score.tokens_per_second_high for score in scores), _REACH * highest)
    space = _MARGIN * (high - low) or _MARGIN * high
    y = upwards(max(0.0, low - space), high + space)
    k_chosen, name = chosen
    best = scores[k_chosen]
    here = (x.at(best.k), y.at(best.tokens_per_second))
    same = k_now is not None and round(k_now) == k_chosen
    shapes = [
        *vertical_axis(y, [(value, f"{value:,.4g}") for value in round_values(y.low, y.high)], "tokens/s"),
        *horizontal_axis(x, [(k, str(k)) for k in whole_values(scores[-1].k)], "k, tokens drafted per step"),
        _band(scores, x, y),
        element("polyline", class_="line", points=" ".join(f"{a:g},{b:g}" for a, b in _points(scores, x, y))),
    ]
    if k_now is not None:
        shapes += [upright(x.at(k_now), "now"), marked(x.at(k_now), TOP - 5, f"now, {name}" if same else "now", "mark")]
    shapes += [
        dot(a, b, "seen" if score.step_measured else "guessed")
        for score, (a, b) in zip(scores, _points(scores, x, y), strict=True)
    ]
    shapes.append(dot(*here, "ring", 8.0))
    if not same:
        shapes.append(marked(here[0], here[1] - 14, name, "mark best"))
    return picture(identity, "Throughput over k", finding, *shapes)


def _points(scores: Sequence[Score], x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x.at(score.k), y.at(score.tokens_per_second)) for score in scores]


def _band(scores: Sequence[Score], x: Scale, y: Scale) -> Element:
    upper = [(x.at(score.k), y.at(score.tokens_per_second_high)) for score in scores]
    lower = [(x.at(score.k), y.at(score.tokens_per_second_low)) for score in reversed(scores)]
    return element("polygon", class_="band", points=" ".join(f"{a:g},{b:g}" for a, b in [*upper, *lower]))
