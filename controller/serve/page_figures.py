"""The three figures of an engine: each a finding in words, a picture, and its numbers as a table."""

import math
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from controller.cycle import EngineCycle
from controller.decide.decision import Action, Schedule
from controller.decide.schedule import k_at
from controller.model.acceptance import Acceptance
from controller.report.explain import step_origin, tokens_origin
from controller.serve.page_markup import Child, element
from controller.serve.page_words import NOTHING, batch_text, percent, rate
from controller.serve.pictures.accepted import POSITIONS_MAX, accepted
from controller.serve.pictures.staircase import staircase
from controller.serve.pictures.throughput import throughput

KS_MAX: Final = 33
"""Values of k that are shown, from 0 on."""
_ROWS_MAX: Final = 24


def figures(identity: str, engine: EngineCycle) -> Element | None:
    """What can be drawn of one engine; None where nothing can."""
    drawn = (
        _throughput(f"{identity}-throughput", engine),
        _schedule(f"{identity}-schedule", engine),
        _acceptance(f"{identity}-acceptance", engine.acceptance) if engine.acceptance is not None else None,
    )
    return element("div", *drawn, class_="figures") if any(each is not None for each in drawn) else None


def _throughput(identity: str, engine: EngineCycle) -> Element | None:
    decision = engine.decision
    scores = decision.scores[:KS_MAX]
    if len(scores) < 2:
        return None
    moves = decision.action in (Action.CHANGE, Action.DISABLE)
    chosen = decision.k if moves else decision.k_best
    best = scores[chosen if chosen is not None and chosen < len(scores) else 0]
    finding = (
        f"k={best.k} {'should yield' if moves else 'looks best:'} {rate(best.tokens_per_second)} tokens/s, "
        f"{rate(best.tokens_per_second_low)} to {rate(best.tokens_per_second_high)}."
    )
    rows = [
        (
            str(score.k),
            f"{score.tokens_per_step:.2f}",
            f"{score.step_seconds * 1e3:.2f}",
            rate(score.tokens_per_second),
            f"{rate(score.tokens_per_second_low)} to {rate(score.tokens_per_second_high)}",
            percent(score.gain_ratio - 1),
            f"{step_origin(score)}, {tokens_origin(score)}",
        )
        for score in scores
    ]
    heads = ("k", "tokens/step", "ms/step", "tokens/s", "90% bounds", "against now", "step, tokens")
    keys = [("swatch-seen", "step measured"), ("swatch-guessed", "modelled"), ("swatch-band", "90% bounds")]
    now = None if decision.k_now is None else min(decision.k_now, float(scores[-1].k))
    drawn = throughput(identity, scores, now, (best.k, "should be" if moves else "best"), finding)
    return _figure("Throughput over k", finding, drawn, keys, _table("Throughput over k", heads, rows))


def _schedule(identity: str, engine: EngineCycle) -> Element | None:
    decision = engine.decision
    told = engine.control.speculation if engine.control else None
    recommended, in_force = decision.schedule, told.schedule if told else ()
    if not recommended and not in_force:
        return None
    k_max = max(1, *(k for each in (recommended, in_force) for _, _, k in each), math.ceil(decision.k_now or 0.0))
    finding = _of_schedule(recommended or in_force)
    keys = [("swatch-line", "recommended")] if recommended else []
    keys.append(("swatch-force", "in force") if in_force else ("swatch-was", "k now"))
    rows = [
        (shown, _k_or_nothing(recommended, low), _k_or_nothing(in_force, low))
        for low, shown in _ranges(recommended, in_force)
    ]
    drawn = staircase(identity, recommended, in_force, decision.batch, decision.k_now, k_max, finding)
    table = _table("Best k over load", ("load", "recommended k", "k in force"), rows[:_ROWS_MAX])
    return _figure("Best k over load", finding, drawn, keys, table)


def _acceptance(identity: str, acceptance: Acceptance) -> Element | None:
    if not acceptance.survival:
        return None
    rows = [
        (
            str(position),
            f"{share:.1%}",
            f"{low:.1%} to {high:.1%}",
            "observed" if position <= acceptance.positions_observed else "extrapolated",
        )
        for position, (share, low, high) in enumerate(
            zip(acceptance.survival, acceptance.survival_low, acceptance.survival_high, strict=True), 1
        )
    ][:POSITIONS_MAX]
    finding = f"{acceptance.survival[0]:.0%} of first drafts accepted, from {acceptance.evidence_drafts:,.0f}."
    keys = [("swatch-bar", "observed"), ("swatch-bar-guessed", "extrapolated"), ("swatch-reach", "90% bounds")]
    table = _table("Acceptance by position", ("position", "accepted", "90% bounds", "origin"), rows)
    return _figure("Acceptance by position", finding, accepted(identity, acceptance, finding), keys, table)


def _of_schedule(schedule: Schedule) -> str:
    ks = [k for _, _, k in schedule]
    last, _, end_k = schedule[-1]
    if len(set(ks)) == 1:
        return "Nothing is to be drafted at any load." if ks[0] == 0 else f"k={ks[0]} at every load."
    if end_k == 0:
        return f"Up to k={max(ks)}; no drafts from {last} requests on."
    return f"From k={min(ks)} to k={max(ks)}; k={end_k} from {last} requests on."


def _ranges(*schedules: Schedule) -> Iterable[tuple[int, str]]:
    """Every range in which none of the schedules changes: its lowest load, and the range in words."""
    lows = sorted({1, *(low for schedule in schedules for low, _, _ in schedule)})
    end = max((high for schedule in schedules for _, high, _ in schedule), default=1)
    for index, low in enumerate(lows):
        high = lows[index + 1] - 1 if index + 1 < len(lows) else max(low, end)
        yield low, str(low) if high <= low else f"{low} to {batch_text(high)}"


def _k_or_nothing(schedule: Schedule, batch: int) -> str:
    k = k_at(schedule, batch)
    return NOTHING if k is None else str(k)


def _figure(title: str, finding: str, drawn: Element, keys: Sequence[tuple[str, str]], table: Element) -> Element:
    legend = [element("span", element("i", class_=f"swatch {swatch}"), name, class_="key") for swatch, name in keys]
    return element(
        "figure",
        element("figcaption", element("h3", title), element("p", finding, class_="finding")),
        drawn,
        element("p", *legend, class_="legend", aria_hidden="true"),
        element("details", element("summary", "Numbers"), scrolled(f"{title}, in numbers", table)),
    )


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Element:
    return table(caption, heads, [[*row] for row in rows], hide_caption=True)


def scrolled(label: str, table: Element, class_: str = "scroll") -> Element:
    """A table that may be wider than the window: reached and scrolled by keyboard, and called `label` when it is."""
    return element("div", table, class_=class_, role="group", aria_label=label, tabindex=0)


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], *, hide_caption: bool = False
) -> Element:
    """A table whose first column names its rows."""
    return element(
        "table",
        element("caption", caption, class_="unseen" if hide_caption else None),
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element(
            "tbody",
            *(
                element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
                for first, *rest in rows
            ),
        ),
    )
