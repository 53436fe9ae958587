"""The page's pictures: whatever the numbers, everything is drawn inside, and higher is higher."""

import math
import re
from itertools import accumulate, pairwise
from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from controller.decide.decision import Schedule
from controller.model.acceptance import Acceptance
from controller.model.economics import Score
from controller.serve.pictures.accepted import POSITIONS_MAX, accepted
from controller.serve.pictures.frame import BOTTOM, HEIGHT, LEFT, WIDTH, round_values, whole_values
from controller.serve.pictures.staircase import staircase
from controller.serve.pictures.throughput import throughput

positive = st.floats(1e-3, 1e9)


@st.composite
def scores(draw: st.DrawFn) -> tuple[Score, ...]:
    """Two or more, with bounds on either side, however wide."""
    count = draw(st.integers(2, 33))
    found = []
    for k in range(count):
        value, wide = draw(positive), draw(st.floats(1.0, 1e6) | st.just(math.inf))
        found.append(
            Score(k, 1.0 + k, 0.01, value, value / wide, value * wide, 1.0, 1.0, 1.0, draw(st.booleans()), False)
        )
    return tuple(found)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Ranges from 1 on, with gaps or without."""
    widths = draw(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 5)), min_size=1, max_size=80))
    ends = list(accumulate(wide + gap for wide, gap in widths))
    starts = [1, *(end + 1 for end in ends[:-1])]
    return tuple((low, low + wide - 1, draw(st.integers(0, 40))) for low, (wide, _) in zip(starts, widths, strict=True))


@st.composite
def acceptances(draw: st.DrawFn) -> Acceptance:
    """Falling survival within its bounds."""
    hazards = draw(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50))
    survival = tuple(accumulate(hazards, lambda left, right: left * right))
    seen = draw(st.integers(0, len(hazards)))
    low = tuple(0.5 * each for each in survival)
    high = tuple(min(1.0, 2 * each) for each in survival)
    return Acceptance(tuple(hazards), survival, low, high, seen, None, 10.0, ())


def coordinates(picture: Element) -> list[tuple[float, float]]:
    """Every point that is drawn."""
    found = []
    for each in picture.iter():
        given = each.attrib
        found += [(float(given[x]), float(given[y])) for x, y in (("x", "y"), ("cx", "cy"), ("x1", "y1"), ("x2", "y2"))
                  if x in given]  # fmt: skip
        if "width" in given:
            left, top = float(given["x"]), float(given["y"])
            found.append((left + float(given["width"]), top + float(given["height"])))
        found += [(float(x), float(y)) for x, y in (point.split(",") for point in given.get("points", "").split())]
        found += [(float(x), BOTTOM) for x in re.findall(r"H([\d.]+)", given.get("d", ""))]
        found += [(LEFT, float(y)) for y in re.findall(r"V([\d.]+)", given.get("d", ""))]
    return found


def assert_inside(picture: Element) -> None:
    """All of it, and nothing that is no number."""
    assert all(0 <= x <= WIDTH and -1 <= y <= HEIGHT for x, y in coordinates(picture))
    assert "nan" not in " ".join(value for each in picture.iter() for value in each.attrib.values())


@given(scores(), st.none() | st.floats(0.0, 32.0), st.data())
def test_throughput_is_drawn_inside_and_a_faster_k_is_higher(
    found: tuple[Score, ...], now: float | None, data: st.DataObject
) -> None:
    """On the line through the points."""
    chosen = data.draw(st.integers(0, len(found) - 1))
    now = None if now is None else min(now, float(found[-1].k))
    picture = throughput("p", found, now, (chosen, "best"), "finding")
    assert_inside(picture)
    (line,) = list(picture.iter("polyline"))
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    for (one, two), (high, low) in zip(pairwise(found), pairwise(heights), strict=True):
        if one.tokens_per_second < two.tokens_per_second:
            assert high >= low
    whole = [each for each in picture.iter("circle") if each.attrib["class"] in {"seen", "guessed"}]
    assert len(whole) == len(found)


@given(schedules() | st.just(()), schedules(), st.none() | st.floats(0.1, 1e5), st.none() | st.floats(0.0, 40.0))
def test_any_schedule_is_drawn_inside(
    recommended: Schedule, in_force: Schedule, batch: float | None, now: float | None
) -> None:
    """Also a load beyond its end, and more steps than anybody needs."""
    picture = staircase("p", recommended, in_force, batch, now, 40, "finding")
    assert_inside(picture)
    assert len(list(picture.iter("path"))) == 1 + bool(recommended)


@given(acceptances())
def test_acceptance_is_drawn_inside_and_unseen_positions_look_different(acceptance: Acceptance) -> None:
    """A bar for each position, up to as many as there is room for."""
    picture = accepted("p", acceptance, "finding")
    assert_inside(picture)
    bars = [each.attrib["class"] for each in picture.iter("rect")]
    count = min(len(acceptance.survival), POSITIONS_MAX)
    seen = min(acceptance.positions_observed, count)
    assert bars == ["bar"] * seen + ["bar guessed"] * (count - seen)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_round_values_lie_within_and_are_not_many(low: float, wide: float) -> None:
    """Between one and six of them, equally spaced."""
    values = round_values(low, low + wide)
    assert 1 <= len(values) <= 6
    assert all(low - 1e-6 * wide <= each <= low + wide * (1 + 1e-6) for each in values)


@given(st.integers(1, 10_000))
def test_whole_values_begin_at_0_and_are_not_many(last: int) -> None:
    """And none lies beyond the end."""
    values = whole_values(last)
    assert values[0] == 0
    assert len(values) <= 10
    assert values[-1] <= last
