"""Pictures for people: readable without colour, by markers and line styles. Needs the extra `plot` (matplotlib)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from controller.model.speedup import Floats, acceptance_from_mean_length, optimal_k, speedup
from controller.model.whatif import best_k_by_batch
from controller.report.saved import SavedServer
from controller.report.upgrade import Upgrade
from controller.report.whatif import Question, token_ms

STYLES: Final[tuple[dict[str, Any], ...]] = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#000000", "linestyle": ":", "marker": "D"},
)
"""Okabe and Ito's colours, which the colour-blind tell apart; style and marker repeat what the colour says."""
BEST: Final[dict[str, Any]] = {
    "linestyle": "none", "marker": "o", "markersize": 15, "markerfacecolor": "none", "markeredgecolor": "#000000",
    "markeredgewidth": 1.6,
}  # fmt: skip
PLANE_K_MAX: Final = 10
_SIZE: Final = (7.0, 4.4)
_TEXTBOOK_ALPHAS: Final = (0.3, 0.5, 0.7, 0.9)
_TEXTBOOK_COSTS: Final = (0.05, 0.3)


@dataclass(frozen=True, slots=True)
class Landmark:
    """A drafter on the plane: alpha from its mean acceptance length at k, c from its step time at k, at batch 1."""

    name: str
    mean_length: float
    k: int
    c: float

    @property
    def alpha(self) -> float:
        """The constant rate of that mean length."""
        return acceptance_from_mean_length(self.mean_length, self.k)


LANDMARKS: Final = (
    Landmark("n-gram", 1.451, 4, 0.005),
    Landmark("EAGLE", 2.29, 3, (9.824 / 7.07 - 1) / 3),
    Landmark("EAGLE-3", 2.79, 3, (11.411 / 7.07 - 1) / 3),
    Landmark("draft model", 3.28, 4, 2.6647 / 23.65),
)
"""One measurement each, not a ranking. n-gram: a page of vLLM 0.32, tokens per request-step; its matching costs next
to nothing (prior of `drafter.LOOKUP`). EAGLE and EAGLE-3: Llama-3.1-8B (vLLM issue 20780), their overhead spread over
three drafts. Draft model: Qwen3-1.7B for Qwen3-32B."""


def over_k(question: Question) -> Figure:
    """Time per token over k where times are known, speedup otherwise; at the stated and at the observed cost."""
    stated, observed = question.answer, question.current
    answers = [("expected", stated)] + ([] if observed is None else [("at the observed cost", observed)])
    figure, axes = _figure()
    for (name, answer), style in zip(answers, STYLES, strict=False):
        if question.target_ms is None:
            values, unit = [row.speedup for row in answer.rows], ""
        else:
            values, unit = list(token_ms(question.target_ms, answer)), " ms"
        label = f"{name}: best k={answer.best_k}, {values[answer.best_k]:.2f}{unit or ' times'}"
        axes.plot(range(len(values)), values, label=label, **style)
        axes.plot([answer.best_k], [values[answer.best_k]], **BEST)
    if question.implied is not None and question.target_ms is not None:
        axes.plot(
            [question.k_now or 0], [question.implied.observed_ms], "*", color="black", markersize=11, label="observed"
        )
    axes.set_ylabel("speedup over k=0" if question.target_ms is None else "time per output token (ms)")
    _k_axis(axes, "Draft length and speed")
    return figure


def over_batch(question: Question) -> Figure:
    """The best k over batch, and the batch from which it is 0."""
    end = question.answer.crossover_batch or 0.0
    last = max(256.0, question.batch) if math.isinf(end) else max(16.0, 4 * end, 2 * question.batch)
    batches = np.geomspace(1.0, last, 600).tolist()
    figure, axes = _figure()
    style = STYLES[0] | {"marker": ""}
    best = best_k_by_batch(question.tokens_per_step, question.cost, batches)
    axes.plot(batches, best, drawstyle="steps-post", label="best k", linewidth=2, **style)
    if 1 < end < math.inf:
        axes.axvline(end, color="black", linestyle=":", label=f"k=0 is best from a batch of {end:.3g}")
    here = (question.batch, question.answer.best_k)
    axes.plot([here[0]], [here[1]], "*", color="black", markersize=12, label=f"batch {here[0]:.3g}: k={here[1]}")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("decode batch (requests)")
    axes.set_ylabel("best k (draft tokens per step)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, "The best draft length falls as the batch grows")
    return figure


def plane(question: Question | None = None) -> Figure:
    """Regions of the best k over acceptance and cost, with typical drafters; and the question's own place."""
    figure, axes = _figure((7.0, 5.2))
    alphas, costs = np.linspace(0.0, 0.98, 393), np.geomspace(0.002, 1.0, 360)
    ks = np.arange(PLANE_K_MAX + 1)
    ratios = speedup(alphas[None, :, None], ks[None, None, :], costs[:, None, None])
    best = np.argmax(ratios >= ratios.max(axis=2, keepdims=True) * (1 - 1e-12), axis=2)
    # light greys and blues, so that black text and marks stand out on each
    colours = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.02, 0.62, ks.size)))
    norm = BoundaryNorm(np.arange(ks.size + 1) - 0.5, ks.size)
    axes.pcolormesh(alphas, costs, best, cmap=colours, norm=norm, shading="nearest", rasterized=True)
    axes.contour(alphas, costs, best, levels=np.arange(PLANE_K_MAX) + 0.5, colors="white", linewidths=0.8)
    _name_regions(axes, alphas, costs, best)
    for landmark, style in zip(LANDMARKS, STYLES, strict=True):
        axes.plot(
            [landmark.alpha], [landmark.c], linestyle="none", marker=style["marker"], color=style["color"],
            markersize=9, markeredgecolor="white", label=landmark.name,
        )  # fmt: skip
    if question is not None:
        alpha, c = np.clip(_place(question), (alphas[0], costs[0]), (alphas[-1], costs[-1]))  # at the rim, if beyond
        axes.plot(
            [alpha], [c], "*", color="black", markersize=15, markeredgecolor="white", clip_on=False, label="this one"
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(costs[0], costs[-1])
    axes.set_xlabel("alpha: acceptance of a draft, given that all before it were accepted")
    axes.set_ylabel("c: what a draft costs, as a share of a target step")
    _finish(axes, "Where drafting pays, and how far", grid=False)
    axes.legend(loc="lower right", framealpha=0.95, title="examples at batch 1")
    return figure


def textbook() -> Figure:
    """Speedup over k for four acceptance rates, at a low and a high cost."""
    figure = Figure(figsize=(9.0, 4.8), layout="constrained", dpi=150)
    panels = figure.subplots(1, len(_TEXTBOOK_COSTS), sharey=True)
    ks = np.arange(17)
    for axes, c in zip(panels, _TEXTBOOK_COSTS, strict=True):
        for alpha, style in zip(_TEXTBOOK_ALPHAS, STYLES, strict=True):
            ratios = speedup(alpha, ks, c)
            best = optimal_k(alpha, c, int(ks[-1]))
            axes.plot(ks, ratios, label=f"alpha {alpha:g}: best k={best}", **style, markersize=5)
            axes.plot([best], [ratios[best]], **BEST)
        axes.axhline(1.0, color="black", linewidth=0.8)
        _k_axis(axes, f"a draft costs {c:g} of a target step")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    panels[0].set_ylabel("speedup over k=0")
    return figure


def upgrade_over_k(found: Upgrade) -> Figure:
    """Throughput over k before and after, with bounds, both maxima marked."""
    figure, axes = _figure()
    sides: Sequence[tuple[str, SavedServer]] = (("before", found.before), ("after", found.after))
    for (name, server), style, offset in zip(sides, STYLES, (-0.06, 0.06), strict=False):
        ks = np.array([score.k for score in server.scores]) + offset
        bounds = [score.tokens_per_second for score in server.scores]
        values = np.array([each.value for each in bounds])
        errors = np.array([[each.value - each.low for each in bounds], [each.high - each.value for each in bounds]])
        best = server.best
        label = f"{name}: best k={best.k}, {best.tokens_per_second.value:,.0f} tokens/s (batch {server.batch:.3g})"
        axes.errorbar(ks, values, yerr=errors, capsize=3, elinewidth=0.9, label=label, **style)
        axes.plot([ks[best.k]], [values[best.k]], **BEST)
    axes.set_ylabel("output tokens/s of the server (90% bounds)")
    axes.set_ylim(bottom=0)
    _k_axis(axes, "Before and after")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture, PNG or SVG by the ending; the same numbers give the same file.

    Raises:
        OSError: It cannot be written.
    """
    with mpl.rc_context({"svg.hashsalt": "adaptive-k"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _figure(size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    return figure, figure.subplots()


def _k_axis(axes: Axes, title: str) -> None:
    axes.set_xlabel("k (draft tokens per step)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, title)


def _finish(axes: Axes, title: str, *, grid: bool = True) -> None:
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    axes.legend(framealpha=0.95)


def _name_regions(axes: Axes, alphas: Floats, costs: Floats, best: NDArray[np.intp]) -> None:
    """k written into each region, halfway up; into the last one above the legend."""
    for k in range(PLANE_K_MAX + 1):
        inside = np.argwhere(best == k)
        row = int(np.quantile(inside[:, 0], 0.5 if k < PLANE_K_MAX else 0.8))
        columns = inside[inside[:, 0] == row, 1]
        text = {0: "k=0: do not draft", 1: "k=1", PLANE_K_MAX: f"{k} or\nmore"}.get(k, str(k))
        where = (float(alphas[int(np.median(columns))]), float(costs[row]))
        axes.text(*where, text, ha="center", va="center", fontsize=9)


def _place(question: Question) -> tuple[float, float]:
    """alpha and c of any question: those of one rate and one ratio with the same ends."""
    k = len(question.tokens_per_step) - 1
    cost = question.answer.rows[k].step_cost
    return acceptance_from_mean_length(min(question.tokens_per_step[k], k + 1.0), k), (cost - 1) / k
