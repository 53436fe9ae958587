"""The backtest as a picture: k over time, and the gain over time. Needs the extra `plot` (matplotlib)."""

from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from controller.backtest.outcome import Backtest, Outcome, Span, Yield
from controller.backtest.table import name
from controller.report.plots import STYLES

DRAWN: Final = 3
"""Workloads that are drawn, those with the largest gain."""
_WIDTH, _HEIGHT = 9.0, 4.6
_MARKS_MAX: Final = 48
"""Points of a line up to which each gets its marker; beyond, the line style tells the lines apart."""


def picture(found: Backtest) -> Figure:
    """For each of the first workloads: k that ran, k followed and k that looks best; and what that gains."""
    drawn = [each for each in found.outcomes if each.total.fixed is not None][:DRAWN]
    figure = Figure(figsize=(_WIDTH, _HEIGHT * max(1, len(drawn))), layout="constrained", dpi=120)
    if not drawn:
        figure.text(0.5, 0.5, "Nothing in this history could be priced.", ha="center", va="center")
        return figure
    for row, outcome in zip(figure.subplots(2 * len(drawn), 1, squeeze=False).reshape(-1, 2), drawn, strict=True):
        _k_over_time(row[0], outcome)
        _gain_over_time(row[1], outcome)
    return figure


def _k_over_time(axes: Axes, outcome: Outcome) -> None:
    spans = [each for each in outcome.hours if each.busy_windows]
    lines = (
        ("ran", [each.k_ran for each in spans]),
        ("loop followed", [each.k_would for each in spans]),
        ("looks best", [each.k_best for each in spans]),
    )
    for (label, ks), style in zip(lines, STYLES, strict=False):
        values = [float("nan") if k is None else k for k in ks]
        axes.plot(_middles(spans), values, label=label, **_styled(style, len(spans)))
    axes.set_ylabel("k (mean of an hour)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(-0.3, len(outcome.total.fixed or ()) - 0.7)
    _finish(axes, name(outcome))


def _gain_over_time(axes: Axes, outcome: Outcome) -> None:
    spans = [each for each in outcome.hours if each.fixed is not None and each.tokens > 0]
    best = outcome.total.best_fixed_k
    assert best is not None
    times = _middles(spans)
    followed = [each.would.against(each.tokens) for each in spans]
    bounds = [(each.low, each.high) for each in followed if each is not None]
    axes.fill_between(
        times,
        [low for low, _ in bounds],
        [high for _, high in bounds],
        color=STYLES[1]["color"],
        alpha=0.15,
        label="its 90% bounds",
        linewidth=0,
    )
    lines = [("loop followed", [each.value for each in followed if each is not None], STYLES[1])]
    lines.append((f"k={best} throughout", _gains(spans, best), STYLES[2]))
    if best != 0:
        lines.append(("k=0: no speculation", _gains(spans, 0), STYLES[3]))
    for label, values, style in lines:
        axes.plot(times, values, label=label, **_styled(style, len(spans)))
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_ylabel("tokens against what ran")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _finish(axes, "")


def _gains(spans: list[Span], k: int) -> list[float]:
    found = [(each.fixed or (Yield(),) * (k + 1))[k].against(each.tokens) for each in spans]
    return [float("nan") if each is None else each.value for each in found]


def _middles(spans: list[Span]) -> list[float]:
    """In matplotlib's days since 1970."""
    return [(each.start_unix_seconds + 1800.0) / 86_400.0 for each in spans]


def _styled(style: dict[str, Any], points: int) -> dict[str, Any]:
    return style | {"markersize": 4, "markevery": max(1, points // _MARKS_MAX)}


def _finish(axes: Axes, title: str) -> None:
    if title:
        axes.set_title(title, parse_math=False)  # a name may hold two dollar signs
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(framealpha=0.95, loc="upper left", bbox_to_anchor=(1.0, 1.0))
