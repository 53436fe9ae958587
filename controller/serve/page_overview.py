"""Many engines on the status page: a table that leads to each, of a fleet the most to gain first."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from controller.cycle import EngineCycle
from controller.report.row import name as row_name
from controller.report.stake import ranked, stake, totals
from controller.serve.page_figures import scrolled, table
from controller.serve.page_history import ENGINES_MAX
from controller.serve.page_markup import Child, element
from controller.serve.page_words import NOTHING, headline, k_text, meaning, name

SECTIONS_MAX: Final = 3
"""More engines than these are a table, and one of them in full."""


def chosen(engines: tuple[EngineCycle, ...], wanted: str) -> range:
    """The engines that are shown in full: all, if they are few; else the one that is asked for, or the first listed."""
    if len(engines) <= SECTIONS_MAX:
        return range(len(engines))
    first = engines.index(_listed(engines)[0])
    index = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else first
    return range(index, index + 1) if index < len(engines) else range(first, first + 1)


def overview(engines: tuple[EngineCycle, ...], shown: range) -> Element:
    """One line an engine. A fleet's lines tell of replicas and tokens, too."""
    fleet = any(each.replicas for each in engines)
    listed = _listed(engines)[:ENGINES_MAX]
    places = {id(each): index for index, each in enumerate(engines)}
    rows = [_row(each, places[id(each)], fleet=fleet, current=places[id(each)] in shown) for each in listed]
    more = ("replicas", "tokens/s", "to gain") if fleet else ()
    heads = ("workload" if fleet else "engine", *more, "k now", "should be", "answer", "why")
    label = "All workloads" if fleet else "All engines"
    return scrolled(label, table(_caption(engines, fleet=fleet), heads, rows), "scroll overview")


def subtitle(engine: EngineCycle) -> str:
    """Which engine, or which engines, a section is about."""
    if engine.replicas is None:
        return f"engine {name(engine.engine)}"
    where = ", ".join(f"{key} {value or NOTHING}" for key, value in engine.labels)
    return name(f"{where}: {engine.replicas.counted} of {engine.replicas.known} replicas")


def _listed(engines: tuple[EngineCycle, ...]) -> Sequence[EngineCycle]:
    return ranked(engines) if any(each.replicas for each in engines) else engines


def _row(engine: EngineCycle, index: int, *, fleet: bool, current: bool) -> list[Child]:
    title = row_name(engine) if fleet else f"{engine.model_name}, engine {engine.engine}"
    return [
        element("a", name(title), href=f"?engine={index}", aria_current="true" if current else None),
        *(_stakes(engine) if fleet else ()),
        k_text(engine.decision.k_now),
        k_text(engine.decision.k),
        headline(engine),
        meaning(engine.failure.reason if engine.failure else engine.decision.reason),
    ]


def _stakes(engine: EngineCycle) -> tuple[str, str, str]:
    replicas, at = engine.replicas, stake(engine) if engine.failure is None else None
    counts = f"{replicas.counted} of {replicas.known}" if replicas else "1"
    return (counts, f"{at.tokens_per_second:,.0f}", f"{at.to_gain.value:+,.0f}") if at else (counts, NOTHING, NOTHING)


def _caption(engines: tuple[EngineCycle, ...], *, fleet: bool) -> str:
    if not fleet:
        return f"{len(engines)} engines"
    of_all = totals(engines)
    left = f", the first {ENGINES_MAX} of them shown" if len(engines) > ENGINES_MAX else ""
    lost = f"; {of_all.losing} lose {of_all.lost.value:,.0f} tokens/s to speculation" if of_all.losing else ""
    gained = f"; {of_all.changes} changes would bring {of_all.to_gain.value:+,.0f} tokens/s" if of_all.changes else ""
    return f"{len(engines)} workloads{left}, {of_all.tokens_per_second:,.0f} tokens/s{lost}{gained}"
