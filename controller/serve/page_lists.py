"""Lists of the page: decisions, workloads, facts."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from controller.clock import utc_text
from controller.decide.mix import WorkloadAnswer
from controller.serve.page_figures import scrolled, table
from controller.serve.page_history import Entry
from controller.serve.page_markup import Child, element
from controller.serve.page_words import age, answer, clock_text, name, percent, spread, words

LATEST: Final = 4
"""Decisions that are shown at once; the rest is folded away."""
WORKLOADS_MAX: Final = 12
"""Workloads that are shown, the largest; /metrics has them all."""

Fact = tuple[str, Child, str]
"""A label, a value, and a remark."""


def facts(found: Sequence[Fact], class_: str = "facts") -> Element:
    """Facts as a list of terms."""
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", label),
                element("dd", value, element("span", remark, class_="quiet") if remark else None),
            )
            for label, value, remark in found
        ),
        class_=class_,
    )


def decisions(entries: Sequence[Entry], now: float) -> Element:
    """The last decisions, the latest first."""
    latest, older = entries[:LATEST], entries[LATEST:]
    shown = element("ol", *(_decision(each, now) for each in latest), class_="entries")
    if not older:
        return shown
    folded = element("ol", *(_decision(each, now) for each in older), class_="entries", start=LATEST + 1)
    return element("div", shown, element("details", element("summary", f"{len(older)} earlier"), folded))


def workloads(found: Sequence[WorkloadAnswer], *, told_apart: bool) -> Element:
    """The mix, workload by workload; `told_apart`: whether there is a plugin that does so."""
    if not found:
        text = (
            "Nothing was drafted yet." if told_apart else "Not told apart: that takes the engine plugin and its token."
        )
        return element("p", text, class_="quiet small")
    rows: list[list[Child]] = [
        [
            name(each.name),
            f"{each.share:.0%}",
            str(each.k_best),
            element("span", percent(each.margin.value), element("small", spread(each.margin))),
            percent(each.cost_of_mix) if each.cost_of_mix >= 0.0005 else "none",
        ]
        for each in found[:WORKLOADS_MAX]
    ]
    heads = ("workload", "share", "best k", "margin over k=0", "mix costs")
    drawn = scrolled("Workloads", table("Workloads", heads, rows, hide_caption=True))
    rest = len(found) - WORKLOADS_MAX
    more = element("p", f"{rest} smaller ones are on /metrics.", class_="quiet small") if rest > 0 else None
    return element("div", drawn, more)


def _decision(entry: Entry, now: float) -> Element:
    span = entry.until_unix_seconds - entry.since_unix_seconds
    repeated = f"\N{MULTIPLICATION SIGN}{entry.passes}, for {age(span)}" if entry.passes > 1 else ""
    hitch = element("code", f"not carried out: {entry.hitch.value}", class_="hitch") if entry.hitch else None
    return element(
        "li",
        element(
            "time",
            f"{age(now - entry.since_unix_seconds)} ago",
            element("small", clock_text(entry.since_unix_seconds)),
            datetime=utc_text(entry.since_unix_seconds),
        ),
        element(
            "div",
            element(
                "p",
                element("strong", answer(entry.action, entry.reason, entry.k, entry.outcome)),
                " ",
                element("code", entry.reason.value),
                " ",
                hitch,
                element("code", f"rollout: {entry.rollout}") if entry.rollout and not entry.hitch else None,
                element("span", f" {repeated}", class_="quiet times") if repeated else None,
            ),
            element("p", words(entry.sentence), class_="sentence"),
        ),
        class_="failed" if entry.action is None else None,
    )
