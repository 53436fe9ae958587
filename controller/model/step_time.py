"""Seconds of an engine step at (batch, k): a roofline with priors, corrected by what was measured.

    ln t(B, m) = ln t0 + ln[ (1 + (n / n0)^q)^(1/q) + o g + d m + b B ] + delta(B, m)

with n = B (1 + r m) tokens, m mean draft tokens per request-step, g the share of steps that draft at all.
t0 is the fixed cost of a step; n0 the tokens at which computing costs as much as reading the weights (batch saturation:
lambda(B) = B / (B + n0) for q = r = 1); q the sharpness of that corner; r what a draft token weighs in verification
against another request; o the overhead of drafting, d the drafter's cost per token and b the KV cache's per request,
all three as shares of t0. Each has a log-normal prior. delta is a Gaussian process: where a cell (batch, k) was measured
often, the measurement overrides the curve; nearby it pulls; far away the curve and its bounds stand. In geostatistics
this is universal kriging with an informative prior.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.model.drafter import Drafter, LogNormal
from controller.observe.window import Window

Floats = NDArray[np.float64]

FIXED_SECONDS: Final = LogNormal(0.012, 2.0)
SATURATION_TOKENS: Final = LogNormal(160.0, 1.0)
"""From the H100 grid of vLLM pull request 32374 (about 200 tokens) and a mixture of experts on two H100 (SpecForge
issue 339, about 10): an order of magnitude apart, hence the spread."""
CORNER: Final = LogNormal(1.4, 0.25)
DRAFT_WEIGHT: Final = LogNormal(0.6, 0.2)
"""Tokens of one request share their cache and, in a mixture of experts, many experts: on both published grids by batch
and k a draft token weighs less than another request (.6 and .9)."""
KV_PER_REQUEST: Final = LogNormal(0.0015, 1.0)
DISCREPANCY: Final = 0.06
"""Standard deviation of ln t around the best curve: smooth curves missed published grids by 3-7%."""
BATCH_REACH: Final = 1.0
"""A measurement speaks for batches within a factor e of its own ..."""
DRAFT_REACH: Final = 1.5
"""... and for k within about this many."""
WINDOW_NOISE: Final = 0.04
"""Standard deviation of ln t in one steady window."""
MEMORY_WEIGHT: Final = 30.0
"""A cell remembers about this many windows."""
CELLS_MAX: Final = 48
K0_CELL: Final = 0.05
"""Mean drafts per request-step below which a cell counts as a measurement of k=0."""
_NEWTON_STEPS: Final = 20
_ENOUGH: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean step at about one (batch, drafts per request-step), with old windows faded.

    Attributes:
        batch: Mean decoding requests.
        drafts: Mean draft tokens per request-step.
        drafting: Share of request-steps that drafted.
        log_seconds: Mean of ln(step seconds).
        weight: Windows behind it, in units of a steady window.
    """

    batch: float
    drafts: float
    drafting: float
    log_seconds: float
    weight: float


@dataclass(frozen=True, slots=True)
class StepTable:
    """Every cell in memory, the most recent last."""

    cells: tuple[Cell, ...] = ()

    def with_window(self, window: Window) -> "StepTable":
        """The table after one more window; unchanged by an idle one.

        Windows of unsteady load weigh less: the mean latency is weighted by requests and the mean batch by steps,
        so they belong together only where the batch hardly moved. Prompts in the same steps stretch them, too.
        """
        batch, seconds = window.decode_batch, window.step_seconds
        if not batch or not seconds or window.request_steps < 1:
            return self
        fresh = Cell(
            batch=max(1.0, batch),
            drafts=window.draft_tokens / window.request_steps,
            drafting=window.drafting_share or 0.0,
            log_seconds=math.log(seconds),
            weight=_steadiness(window, batch),
        )
        return self.with_cell(fresh)

    def with_cell(self, fresh: Cell) -> "StepTable":
        """The table with one more measurement, merged into the cell it falls into."""
        key = _cell_key(fresh)
        same = (cell for cell in self.cells if _cell_key(cell) == key)
        others = (cell for cell in self.cells if _cell_key(cell) != key)
        return StepTable((*others, reduce(_merged, (*same, fresh)))[-CELLS_MAX:])


@dataclass(frozen=True, slots=True)
class Points:
    """Places to predict a step at, one array element each: batch, drafts per request-step, share that drafts."""

    batch: Floats
    drafts: Floats
    drafting: Floats

    @staticmethod
    def of(batch: ArrayLike, drafts: ArrayLike, drafting: ArrayLike | None = None) -> "Points":
        """Broadcast to one flat shape; without a share, every step with drafts > 0 drafts."""
        share = np.minimum(1.0, np.asarray(drafts, float)) if drafting is None else np.asarray(drafting, float)
        arrays = np.broadcast_arrays(np.asarray(batch, float), np.asarray(drafts, float), share)
        return Points(*(np.ravel(array) for array in arrays))


class StepTime:
    """The posterior of ln(step seconds), ready to be asked. Built by `fit`; holds no state that changes."""

    __slots__ = ("_gain", "_inverse", "_mode", "_parameter_covariance", "_points", "_weights", "cells")

    def __init__(self, cells: Sequence[Cell], drafter: Drafter) -> None:
        """Finds the parameters' posterior mode by damped Gauss-Newton, and what the cells add to the curve."""
        self.cells = tuple(cells)
        self._points = Points.of(
            [cell.batch for cell in cells], [cell.drafts for cell in cells], [cell.drafting for cell in cells]
        )
        seen = np.array([cell.log_seconds for cell in cells])
        noise = np.array([WINDOW_NOISE**2 / cell.weight for cell in cells])
        self._inverse: Floats = np.linalg.inv(_kernel(self._points, self._points) + np.diag(noise)).astype(float)
        prior = _prior(drafter)
        center = np.array([math.log(each.median) for each in prior])
        precision = np.diag([each.spread**-2.0 for each in prior])
        self._mode = _mode(self._points, seen, self._inverse, center, precision)
        curve, jacobian = _curve(self._points, self._mode)
        self._weights = self._inverse @ (seen - curve)
        self._parameter_covariance = np.linalg.inv(precision + jacobian.T @ self._inverse @ jacobian)
        self._gain = self._inverse @ jacobian

    def log_seconds(self, points: Points) -> Floats:
        """Posterior mean of ln(seconds) at each point."""
        curve, _ = _curve(points, self._mode)
        return np.asarray(curve + _kernel(points, self._points) @ self._weights, float)

    def variance(self, points: Points) -> Floats:
        """Posterior variance of ln(seconds) at each point."""
        kernel = _kernel(points, self._points)
        slopes = _curve(points, self._mode)[1] - kernel @ self._gain
        return self._spread(DISCREPANCY**2, kernel, slopes)

    def contrast(self, points: Points, references: Points) -> tuple[Floats, Floats]:
        """Mean and variance of ln(t(point) / t(reference)), point by point.

        Errors that both share cancel: where the two coincide the variance is 0.
        """
        kernel = _kernel(points, self._points) - _kernel(references, self._points)
        curve, slopes = _curve(points, self._mode)
        reference_curve, reference_slopes = _curve(references, self._mode)
        apart = 2 * DISCREPANCY**2 * -np.expm1(-_distance(points, references))
        variance = self._spread(apart, kernel, slopes - reference_slopes - kernel @ self._gain)
        return curve - reference_curve + kernel @ self._weights, variance

    def _spread(self, discrepancy: ArrayLike, kernel: Floats, slopes: Floats) -> Floats:
        known = np.einsum("pc,pc->p", kernel @ self._inverse, kernel)
        parameters = np.einsum("pi,pi->p", slopes @ self._parameter_covariance, slopes)
        return np.asarray(np.maximum(0.0, discrepancy - known) + parameters, float)

    def parameters(self) -> dict[str, tuple[float, float]]:
        """Each parameter's posterior median and spread (standard deviation of its logarithm), by name."""
        spread = np.sqrt(np.diag(self._parameter_covariance))
        return {
            name: (math.exp(mode), float(deviation))
            for name, mode, deviation in zip(PARAMETERS, self._mode, spread, strict=True)
        }

    def measured(self, batch: float, drafts: float) -> bool:
        """Whether a step at this load was measured rather than modelled: a cell within 1.5x of it, and the same k."""
        return any(
            abs(math.log(cell.batch / batch)) <= math.log(1.5) and abs(cell.drafts - drafts) <= K0_CELL
            for cell in self.cells
        )


PARAMETERS: Final = (
    "fixed_seconds", "saturation_tokens", "corner", "draft_weight", "overhead", "per_draft", "kv_per_request",
)  # fmt: skip


def fit(table: StepTable, drafter: Drafter) -> StepTime | None:
    """The step-time posterior from a table and the drafter's prior; None while nothing was measured."""
    return StepTime(table.cells, drafter) if table.cells else None


def _prior(drafter: Drafter) -> tuple[LogNormal, ...]:
    return (FIXED_SECONDS, SATURATION_TOKENS, CORNER, DRAFT_WEIGHT, drafter.overhead, drafter.per_draft, KV_PER_REQUEST)


def _curve(points: Points, mode: Floats) -> tuple[Floats, Floats]:
    """ln t without the discrepancy, and its derivatives by the logarithms of the parameters, shape (points, 7).

    For a cost that is a sum, the derivative by the logarithm of a factor is that factor's share of the cost.
    """
    log_fixed = mode[0]
    saturation_tokens, corner, weight, overhead, per_draft, kv = np.exp(mode[1:])
    verified = 1 + weight * points.drafts
    ratio = points.batch * verified / saturation_tokens
    power = ratio**corner
    roofline = (1 + power) ** (1 / corner)
    parts = np.stack([overhead * points.drafting, per_draft * points.drafts, kv * points.batch])
    total = roofline + parts.sum(axis=0)
    share = power / (1 + power)
    by_tokens = roofline * share
    by_weight = by_tokens * (verified - 1) / verified
    by_corner = roofline * (share * np.log(ratio) - np.log1p(power) / corner)
    slopes = np.stack([total, -by_tokens, by_corner, by_weight, *parts]) / total
    return log_fixed + np.log(total), slopes.T


def _mode(points: Points, seen: Floats, inverse: Floats, center: Floats, precision: Floats) -> Floats:
    mode = center.copy()
    curve, slopes = _curve(points, mode)
    shift = float(np.mean(seen - curve))  # the scale alone fits best here
    mode[0] += shift
    curve = curve + shift
    damping = 1e-3
    loss = _loss(seen - curve, inverse, mode - center, precision)
    for _ in range(_NEWTON_STEPS):
        weighted = slopes.T @ inverse
        curvature = weighted @ slopes + precision
        gradient = weighted @ (seen - curve) - precision @ (mode - center)
        step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
        candidate = mode + np.clip(step, -1.0, 1.0)
        candidate_curve, candidate_slopes = _curve(points, candidate)
        candidate_loss = _loss(seen - candidate_curve, inverse, candidate - center, precision)
        if candidate_loss > loss:
            damping *= 8
            continue
        done = loss - candidate_loss < _ENOUGH * (1 + loss)
        mode, curve, slopes, loss, damping = candidate, candidate_curve, candidate_slopes, candidate_loss, damping / 8
        if done:
            break
    return mode


def _loss(residual: Floats, inverse: Floats, moved: Floats, precision: Floats) -> float:
    return float(residual @ inverse @ residual + moved @ precision @ moved)


def _kernel(left: Points, right: Points) -> Floats:
    """Covariance of the discrepancy between every point on the left and every one on the right."""
    batch = np.abs(np.log(left.batch)[:, None] - np.log(right.batch)[None, :]) / BATCH_REACH
    drafts = np.abs(left.drafts[:, None] - right.drafts[None, :]) / DRAFT_REACH
    return np.asarray(DISCREPANCY**2 * np.exp(-batch - drafts), float)


def _distance(left: Points, right: Points) -> Floats:
    """The kernel's distance between two points, pair by pair."""
    batch = np.abs(np.log(left.batch / right.batch)) / BATCH_REACH
    return np.asarray(batch + np.abs(left.drafts - right.drafts) / DRAFT_REACH, float)


def _steadiness(window: Window, batch: float) -> float:
    """Weight of a window, 1 for steady load: its noise grows with the move of the batch and with prompt tokens."""
    moved = abs(window.running - batch) / batch if window.running > 0 else 0.0
    prompt_share = window.prompt_tokens / (window.prompt_tokens + window.generated_tokens + window.draft_tokens + 1.0)
    preempted = window.preemptions / (window.steps + 1.0)
    noise = WINDOW_NOISE + 0.3 * min(1.0, moved) + 0.15 * prompt_share + preempted
    few = window.request_steps / (window.request_steps + 50.0)
    return few * (WINDOW_NOISE / noise) ** 2


def _cell_key(cell: Cell) -> tuple[int, int]:
    """Cells are a quarter of a doubling wide in batch, and half a draft in k; k=0 has its own."""
    drafts = 0 if cell.drafts < K0_CELL else 1 + round(2 * cell.drafts)
    return (round(4 * math.log2(cell.batch)), drafts)


def _merged(old: Cell, fresh: Cell) -> Cell:
    kept = min(old.weight, max(0.0, MEMORY_WEIGHT - fresh.weight))
    weight = kept + fresh.weight
    part = fresh.weight / weight
    return Cell(
        batch=math.exp((1 - part) * math.log(old.batch) + part * math.log(fresh.batch)),
        drafts=(1 - part) * old.drafts + part * fresh.drafts,
        drafting=(1 - part) * old.drafting + part * fresh.drafting,
        log_seconds=(1 - part) * old.log_seconds + part * fresh.log_seconds,
        weight=weight,
    )
