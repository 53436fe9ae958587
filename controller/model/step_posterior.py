"""What measured steps tell of the curve's parameters: the search for their posterior mode, for many tables at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.model.drafter import LogNormal
from controller.model.step_table import StepTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BATCH_REACH: Final = 2.0
"""A measurement speaks for batches within about a factor e^2 of its own ..."""
DRAFT_REACH: Final = 1.5
"""... and for k within about this many."""
_NEWTON_STEPS: Final = 20
_ENOUGH: Final = 0.05
"""The search ends when a step improves the loss, in units of variances, by less: a fraction of a sigma is left."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the cells of one table tell.

    Attributes:
        log_batch: Of the cells.
        drafts: Per request-step, of the cells.
        mode: Of the logarithms of the parameters.
        covariance: Of these.
        weights: What each cell adds to the curve, by its nearness.
        factor: What turns nearness to the cells into what they tell, and into the slopes that they leave.
    """

    log_batch: Floats
    drafts: Floats
    mode: Floats
    covariance: Floats
    weights: Floats
    factor: Floats


def posteriors(
    tables: Sequence[StepTable], prior: Sequence[LogNormal], capture_limit_tokens: float, discrepancy: float
) -> list[Posterior]:
    """Of tables with equally many cells; none is moved by the others, not even in its last digit.

    Of several tables all arrays below have the table as their first axis; of a single one, which numpy works on
    quicker without it, they do not.
    """
    cells = np.array(
        [
            [(each.batch, each.drafts, each.drafting, each.log_seconds, each.weight, each.prompt) for each in one.cells]
            for one in tables
        ]
    )
    noise = np.array([[each.noise] for each in tables])
    if len(tables) == 1:
        cells, noise = cells[0], noise[0]
    batch, drafts, drafting, seen, weight, prompt = (cells[..., place] for place in range(6))
    log_batch = np.log(batch)
    kernel = nearness(log_batch, log_batch, BATCH_REACH)
    kernel *= discrepancy**2 * nearness(drafts, drafts, DRAFT_REACH)
    # the noise keeps the sum positive definite, however close two cells lie
    kernel += np.eye(cells.shape[-2]) * (noise**2 / weight)[..., None, :]
    whitener = np.linalg.inv(np.linalg.cholesky(kernel))
    inverse = _turned(whitener) @ whitener
    inputs = Inputs.of(batch, drafts, drafting, prompt, capture_limit_tokens)
    mode, curve, slopes, precision = _modes(inputs, seen, inverse, prior)
    gain = inverse @ slopes
    weights = _times(inverse, seen - curve)
    covariance = np.linalg.inv(precision + _turned(slopes) @ gain)
    factor = np.concatenate([_turned(whitener), gain], axis=-1)
    found: tuple[Any, ...] = (log_batch, drafts, mode, covariance, weights, factor)
    if len(tables) == 1:
        return [Posterior(*found)]
    # copies, for a part would keep the arrays of all tables in memory as long as it is kept
    return [Posterior(*(each[place].copy() for each in found)) for place in range(len(tables))]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the curve needs of each point, and never changes while its parameters are searched for.

    `shared` has what o, d, b, x and s are multiplied with, in the order of `PARAMETERS`: shape (5, ...).
    """

    log_batch: Floats
    drafts: Floats
    prompt: Floats
    tokens: Floats
    shared: Floats

    @staticmethod
    def of(batch: Floats, drafts: Floats, drafting: Floats, prompt: Floats, capture_limit_tokens: float) -> "Inputs":
        """Of points of any shape: decoding requests, drafts per request-step, share that drafts, prompt tokens."""
        tokens = batch * (1 + drafts)
        beyond = tokens > capture_limit_tokens
        return Inputs(
            np.log(batch), drafts, prompt, tokens, np.array((drafting, drafts, batch, beyond, drafting * batch))
        )

    def some(self, rows: Bools) -> "Inputs":
        """Those of some rows."""
        return Inputs(
            self.log_batch[rows], self.drafts[rows], self.prompt[rows], self.tokens[rows], self.shared[:, rows]
        )


def curve_at(points: Inputs, mode: Floats) -> tuple[Floats, Floats]:
    """ln t without the discrepancy, and its derivatives by the logarithms of the parameters.

    For a cost that is a sum, the derivative by the logarithm of a factor is that factor's share of the cost.

    Args:
        points: Shape (points,), or (table, points).
        mode: Logarithms of the parameters, shape (12,), or (table, 12).

    Returns:
        Shapes (..., points) and (..., points, 12).
    """
    factors = np.exp(mode[..., 2:]).T[..., None]  # (parameter, table, 1)
    if mode.ndim == 1:
        fixed, saturation = mode[:2].tolist()
        corner, weight, *_, prompt, experts, picked = factors[:, 0].tolist()
    else:
        fixed, saturation = mode.T[:2, :, None]
        corner, weight, *_, prompt, experts, picked = factors
    extra = weight * points.drafts
    log_ratio = points.log_batch + np.log1p(extra) - saturation
    log_power = corner * log_ratio
    log_one = np.logaddexp(0.0, log_power)  # no power overflows, however sharp the corner
    log_roofline = log_one / corner
    roofline = np.exp(log_roofline)
    by_tokens = roofline * np.exp(log_power - log_one)
    slopes = np.empty((12, *extra.shape))
    slopes[1] = -by_tokens
    slopes[2] = by_tokens * log_ratio - roofline * log_roofline
    slopes[3] = by_tokens * (extra / (1 + extra))
    slopes[4:9] = factors[2:7] * points.shared
    slopes[9] = points.prompt * (prompt * np.exp(-saturation))
    untouched = np.exp(-points.tokens / picked)
    slopes[10] = experts * (1 - untouched)
    total = roofline + slopes[4:11].sum(axis=0)
    slopes[11] = untouched * points.tokens * (-experts / picked)
    slopes[1] -= slopes[9]  # a prompt token's price is told in those of a decoded one, t0 / n0
    slopes[0] = total
    slopes /= total
    return fixed + np.log(total), slopes.transpose(*range(1, slopes.ndim), 0)


def _modes(
    points: Inputs, seen: Floats, inverse: Floats, prior: Sequence[LogNormal]
) -> tuple[Floats, Floats, Floats, Floats]:
    """By table the parameters' posterior mode, the curve and its slopes there, and for all the prior's precision.

    By damped Gauss-Newton, each table until its own search ends.
    """
    center, pull = np.array([(math.log(each.median), each.spread**-2.0) for each in prior]).T
    precision = np.diag(pull)
    mode = np.full((*seen.shape[:-1], len(center)), center)
    curve, slopes = curve_at(points, mode)
    shift = (seen - curve).sum(axis=-1) / seen.shape[-1]  # the scale alone fits best here
    mode[..., 0] += shift
    curve = curve + shift[..., None]
    loss = _loss(seen - curve, inverse, mode - center, pull)
    damping = np.full(loss.shape, 1e-3)
    searched: slice | Ints = slice(None)
    found = mode.copy(), curve.copy(), slopes.copy()
    for _ in range(_NEWTON_STEPS):
        weighted = _turned(slopes) @ inverse
        curvature = weighted @ slopes + precision
        gradient = _times(weighted, seen - curve) - pull * (mode - center)
        diagonals = curvature.reshape(*curvature.shape[:-2], -1)[..., :: len(center) + 1]
        diagonals *= 1 + damping[..., None]
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        candidate = mode + np.minimum(np.maximum(step, -1.0), 1.0)
        candidate_curve, candidate_slopes = curve_at(points, candidate)
        candidate_loss = _loss(seen - candidate_curve, inverse, candidate - center, pull)
        better = candidate_loss <= loss  # what is no number is not
        done = better & (loss - candidate_loss < _ENOUGH)
        if better.all():
            mode, curve, slopes, loss = candidate, candidate_curve, candidate_slopes, candidate_loss
        else:
            mode = np.where(better[..., None], candidate, mode)
            curve = np.where(better[..., None], candidate_curve, curve)
            slopes = np.where(better[..., None, None], candidate_slopes, slopes)
            loss = np.where(better, candidate_loss, loss)
        damping = damping * np.where(better, 1 / 8, 8)
        if done.all():
            break
        if done.any():
            places = np.arange(len(found[0]))[searched]
            _keep(found, places[done], (mode[done], curve[done], slopes[done]))
            left = ~done
            mode, curve, slopes, loss, damping = mode[left], curve[left], slopes[left], loss[left], damping[left]
            searched, points, seen, inverse = places[left], points.some(left), seen[left], inverse[left]
    _keep(found, searched, (mode, curve, slopes))
    return *found, precision


def _keep(found: Sequence[Floats], tables: slice | Ints, now: Sequence[Floats]) -> None:
    for whole, part in zip(found, now, strict=True):
        whole[tables] = part


def _loss(residual: Floats, inverse: Floats, moved: Floats, pull: Floats) -> Floats:
    """What the cells miss, and how far the parameters lie from the prior, both in units of variances."""
    return np.asarray((_times(inverse, residual) * residual).sum(axis=-1) + (pull * moved**2).sum(axis=-1))


def _turned(matrices: Floats) -> Floats:
    """Each matrix of a stack transposed."""
    return np.swapaxes(matrices, -1, -2)


def _times(matrices: Floats, vectors: Floats) -> Floats:
    """Each matrix of a stack times its vector."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def nearness(left: Floats, right: Floats, reach: float) -> Floats:
    """exp(-|difference| / reach) between every element on the left and every one on the right."""
    return np.asarray(np.exp(np.abs(left[..., :, None] - right[..., None, :]) / -reach), float)
