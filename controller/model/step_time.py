"""Seconds of an engine step at (batch, k): a roofline with priors, corrected by what was measured.

    ln t(B, m, p) = ln t0 + ln[ (1 + (n/n0)^q)^(1/q) + e (1 - exp(-n'/v)) + o g + d m + b B + s g B + x [n' > limit]
                                + w p / n0 ] + delta(B, m)

with n = B (1 + r m) tokens, m mean draft tokens per request-step, g the share of steps that draft at all, p prompt
tokens worked through beside the decoding. t0 is the fixed cost of a step; n0 the tokens at which computing costs as
much as reading the weights (batch saturation: lambda(B) = B / (B + n0) for q = r = 1); q the sharpness of that corner;
r what a draft token weighs in verification against another request; o the overhead of drafting, d the drafter's cost
per token, b the KV cache's per request, s what rejecting drafts costs per request, x the cliff beyond the CUDA-graph
capture limit where that is known, all five as shares of t0; w what a prompt token weighs against a decoded one. In a
mixture of experts a step also reads the weights of the experts that its n' = B (1 + m) tokens touch: e for all of them,
of which v tokens touch 63%. Each has a log-normal prior. delta is a Gaussian process: where a cell (batch, k) was
measured often, the measurement overrides the curve; nearby it pulls; far away the curve and its bounds stand. In
geostatistics this is universal kriging with an informative prior.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.model.drafter import Drafter, LogNormal
from controller.model.step_table import K0_CELL, NEAR, StepTable
from controller.model.target import DENSE, Target

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FIXED_SECONDS: Final = LogNormal(0.012, 2.0)
CORNER: Final = LogNormal(1.25, 0.5)
"""2.9 on the H100 grid of vLLM pull request 32374, 1.1 for a mixture of experts (SpecForge issue 339)."""
KV_PER_REQUEST: Final = LogNormal(0.0015, 1.0)
REJECTION_PER_REQUEST: Final = LogNormal(0.002, 1.0)
"""On the H100 grid the first draft costs 5 ms more at batch 256 than each further one: .003 of a step a request."""
PROMPT_WEIGHT: Final = LogNormal(0.4, 0.5)
"""A prompt's tokens are computed together and at full load: 2 x 8e9 operations at 400e12 a second take 40 us, half of
the 82 us (t0 / n0) that a decoded token beyond saturation takes on the H100 grid."""
CLIFF: Final = LogNormal(1.0, 1.0)
"""Steps beyond the capture limit were seen to cost up to five times more."""
BATCH_REACH: Final = 2.0
"""A measurement speaks for batches within about a factor e^2 of its own ..."""
DRAFT_REACH: Final = 1.5
"""... and for k within about this many."""
PARAMETERS: Final = (
    "fixed_seconds", "saturation_tokens", "corner", "draft_weight",
    "overhead", "per_draft", "kv_per_request", "cliff", "rejection_per_request",
    "prompt_weight", "experts", "expert_tokens",
)  # fmt: skip
IDENTIFIED: Final = 0.5
"""A parameter counts as measured when the data narrowed its prior's spread below this share."""
_SAME_BATCH: Final = math.exp(-math.log(NEAR) / BATCH_REACH)
_SAME_DRAFTS: Final = math.exp(-K0_CELL / DRAFT_REACH)
"""What `StepTable.measured` calls measured, in terms of the correlations that are at hand."""
_NEWTON_STEPS: Final = 20
_ENOUGH: Final = 0.05
"""The search ends when a step improves the loss, in units of variances, by less: a fraction of a sigma is left."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the curve: posterior median, spread (standard deviation of its logarithm), and the prior's."""

    median: float
    spread: float
    prior: LogNormal

    @property
    def identified(self) -> bool:
        """Whether it was measured rather than assumed."""
        return self.spread < IDENTIFIED * self.prior.spread


@dataclass(frozen=True, slots=True)
class StepGrid:
    """Predictions for every batch at every k, arrays of shape (batch, k).

    Attributes:
        log_seconds: Posterior mean of ln t.
        contrast_variance: Posterior variance of ln(t(k) / t(compared k)): what both share cancels.
        measured: Whether a cell lies within 1.5x of the batch, at the same drafts per request-step.
        variance_at: Posterior variance of ln t itself at every k of one row, worked out when it is asked for.
    """

    log_seconds: Floats
    contrast_variance: Floats
    measured: Bools
    variance_at: Callable[[int], Floats]


class StepTime:
    """The posterior of ln(step seconds), ready to be asked. Built by `fit`; holds no state that changes."""

    __slots__ = (
        "_capture_limit",
        "_covariance",
        "_drafts",
        "_factor",
        "_log_batch",
        "_mode",
        "_prior",
        "_weights",
        "drafter",
        "table",
        "target",
    )  # fmt: skip

    def __init__(
        self, table: StepTable, drafter: Drafter, capture_limit_tokens: float = math.inf, target: Target = DENSE
    ) -> None:
        """Finds the parameters' posterior mode by damped Gauss-Newton, and what the cells add to the curve."""
        self.table = table
        self.drafter = drafter
        self.target = target
        self._capture_limit = capture_limit_tokens
        batch, self._drafts, drafting, seen, weight, prompt = np.array(
            [
                (each.batch, each.drafts, each.drafting, each.log_seconds, each.weight, each.prompt)
                for each in table.cells
            ]
        ).T
        self._log_batch = np.log(batch)
        kernel = _nearness(self._log_batch, self._log_batch, BATCH_REACH)
        kernel *= target.discrepancy**2 * _nearness(self._drafts, self._drafts, DRAFT_REACH)
        # the noise keeps the sum positive definite, however close two cells lie
        whitener: Floats = np.linalg.inv(np.linalg.cholesky(kernel + np.diag(table.noise**2 / weight))).astype(float)
        inverse = whitener.T @ whitener
        self._prior = (FIXED_SECONDS, target.saturation_tokens, CORNER, target.draft_weight,
                       *_shares(drafter, target), KV_PER_REQUEST, CLIFF, REJECTION_PER_REQUEST,
                       PROMPT_WEIGHT, target.experts, target.expert_tokens)  # fmt: skip
        inputs = _Inputs.of(batch, self._drafts, drafting, prompt, capture_limit_tokens)
        self._mode, curve, slopes, precision = _mode(inputs, seen, inverse, self._prior)
        self._weights = inverse @ (seen - curve)
        gain = inverse @ slopes
        self._covariance: Floats = np.linalg.inv(precision + slopes.T @ gain).astype(float)
        self._factor: Floats = np.concatenate([whitener.T, gain], axis=1)

    def grid(
        self,
        batches: Sequence[float] | Floats,
        drafts: Floats,
        drafting: Floats,
        prompt: Floats | float = 0.0,
        compared: Sequence[int] | Ints = (-1,),
    ) -> StepGrid:
        """Predictions for each batch at each (drafts per request-step, share that drafts).

        Args:
            batches: Decoding requests.
            drafts: Drafts per request-step, by k.
            drafting: Share of request-steps that draft, by k.
            prompt: Prompt tokens per step and decoding request, by k.
            compared: Which k the contrasts are with, by its place: one for all batches or one for each.
        """
        near, nearby, curve, slopes = self._at(batches, drafts, drafting, prompt)
        shared = self.target.discrepancy**2
        told, untold = self._told(near, nearby, slopes)
        each, place = np.arange(len(near)), np.resize(compared, len(near))
        apart = 2 * shared * (1 - _nearness(drafts[place], drafts, DRAFT_REACH))
        alike = (near >= shared * _SAME_BATCH).astype(float) @ (nearby >= _SAME_DRAFTS).astype(float).T
        return StepGrid(
            log_seconds=curve + (near * self._weights) @ nearby.T,
            contrast_variance=self._variance(
                apart, told - told[each, place][:, None], untold - untold[each, place][:, None]
            ),
            measured=np.asarray(alike > 0),
            variance_at=lambda row: self._variance(shared, told[row], untold[row]),
        )

    @property
    def capture_limit_tokens(self) -> float:
        """Steps of more tokens have no captured graph; infinite where that is not known."""
        return self._capture_limit

    def parameters(self) -> dict[str, Parameter]:
        """The curve's parameters by name."""
        spread = np.sqrt(np.diag(self._covariance)).tolist()
        return {
            name: Parameter(math.exp(mode), deviation, prior)
            for name, mode, deviation, prior in zip(PARAMETERS, self._mode.tolist(), spread, self._prior, strict=True)
        }

    def _at(
        self, batches: Sequence[float] | Floats, drafts: Floats, drafting: Floats, prompt: Floats | float
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Covariance with the cells as a product (batch, cell) x (k, cell), and for every batch and k the curve."""
        batch = np.asarray(batches, float)
        near = self.target.discrepancy**2 * _nearness(np.log(batch), self._log_batch, BATCH_REACH)
        nearby = _nearness(drafts, self._drafts, DRAFT_REACH)
        points = np.empty((4, len(batch), len(drafts)))
        for row, each in zip(points, (batch[:, None], drafts, drafting, batch[:, None] * prompt), strict=True):
            row[:] = each
        flat = points.reshape(4, -1)
        curve, slopes = _curve(_Inputs.of(flat[0], flat[1], flat[2], flat[3], self._capture_limit), self._mode)
        return near, nearby, curve.reshape(points.shape[1:]), slopes.reshape(*points.shape[1:], -1)

    def _told(self, near: Floats, nearby: Floats, slopes: Floats) -> tuple[Floats, Floats]:
        """By batch and k what the cells tell, and the slopes that they leave to the parameters.

        Linear in the point, so that of a contrast it is the difference. One product serves both: the covariance
        `near` x `nearby` with the cells is separable in batch and k, so it is never written out.
        """
        ks, cells = nearby.shape
        spread = (nearby[:, :, None] * self._factor).transpose(1, 0, 2).reshape(cells, -1)
        told = (near @ spread).reshape(len(near), ks, -1)
        return told[..., :cells], slopes - told[..., cells:]

    def _variance(self, discrepancy: float | Floats, told: Floats, untold: Floats) -> Floats:
        """What neither the cells nor the parameters tell; see `_told`."""
        known = np.einsum("...c,...c->...", told, told)
        parameters = np.einsum("...i,...i->...", untold @ self._covariance, untold)
        return np.asarray(np.maximum(0.0, discrepancy - known) + parameters, float)


def fit(
    table: StepTable, drafter: Drafter, capture_limit_tokens: float = math.inf, target: Target = DENSE
) -> StepTime | None:
    """The step-time posterior from a table and the priors of drafter and model; None while nothing was measured."""
    return StepTime(table, drafter, capture_limit_tokens, target) if table.cells else None


def _shares(drafter: Drafter, target: Target) -> tuple[LogNormal, ...]:
    """What drafting takes of a step of this model."""
    own = (drafter.overhead, drafter.per_draft)
    return tuple(LogNormal(each.median * target.drafting, each.spread) for each in own)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the curve needs of each point, and never changes while its parameters are searched for.

    `shared` has what o, d, b, x and s are multiplied with, in the order of `PARAMETERS`: shape (5, points).
    """

    log_batch: Floats
    drafts: Floats
    prompt: Floats
    tokens: Floats
    shared: Floats

    @staticmethod
    def of(batch: Floats, drafts: Floats, drafting: Floats, prompt: Floats, capture_limit_tokens: float) -> "_Inputs":
        tokens = batch * (1 + drafts)
        beyond = tokens > capture_limit_tokens
        return _Inputs(
            np.log(batch), drafts, prompt, tokens, np.array((drafting, drafts, batch, beyond, drafting * batch))
        )


def _curve(points: _Inputs, mode: Floats) -> tuple[Floats, Floats]:
    """ln t without the discrepancy, and its derivatives by the logarithms of the parameters, shape (points, 12).

    For a cost that is a sum, the derivative by the logarithm of a factor is that factor's share of the cost.
    """
    corner, weight, *_, prompt, experts, picked = (factors := np.exp(mode[2:])).tolist()
    extra = weight * points.drafts
    log_ratio = points.log_batch + np.log1p(extra) - mode[1]
    log_power = corner * log_ratio
    log_one = np.logaddexp(0.0, log_power)  # no power overflows, however sharp the corner
    roofline = np.exp(log_one / corner)
    by_tokens = roofline * np.exp(log_power - log_one)
    slopes = np.empty((12, len(extra)))
    slopes[1] = -by_tokens
    slopes[2] = by_tokens * log_ratio - roofline * (log_one / corner)
    slopes[3] = by_tokens * (extra / (1 + extra))
    slopes[4:9] = factors[2:7, None] * points.shared
    slopes[9] = prompt * points.prompt * math.exp(-mode[1])
    untouched = np.exp(-points.tokens / picked)
    slopes[10] = experts * (1 - untouched)
    total = roofline + slopes[4:11].sum(axis=0)
    slopes[11] = -experts * untouched * points.tokens / picked
    slopes[1] -= slopes[9]  # a prompt token's price is told in those of a decoded one, t0 / n0
    slopes[0] = total
    slopes /= total
    return mode[0] + np.log(total), slopes.T


def _mode(
    points: _Inputs, seen: Floats, inverse: Floats, prior: Sequence[LogNormal]
) -> tuple[Floats, Floats, Floats, Floats]:
    """The parameters' posterior mode, the curve and its slopes there, and the prior's precision."""
    center = np.array([math.log(each.median) for each in prior])
    precision = np.diag([each.spread**-2.0 for each in prior])
    mode = center.copy()
    curve, slopes = _curve(points, mode)
    shift = float(np.mean(seen - curve))  # the scale alone fits best here
    mode[0] += shift
    curve = curve + shift
    loss, damping = _loss(seen - curve, inverse, mode - center, precision), 1e-3
    for _ in range(_NEWTON_STEPS):
        weighted = slopes.T @ inverse
        curvature = weighted @ slopes + precision
        gradient = weighted @ (seen - curve) - precision @ (mode - center)
        curvature.flat[:: len(mode) + 1] *= 1 + damping
        candidate = mode + np.minimum(np.maximum(np.linalg.solve(curvature, gradient), -1.0), 1.0)
        candidate_curve, candidate_slopes = _curve(points, candidate)
        candidate_loss = _loss(seen - candidate_curve, inverse, candidate - center, precision)
        if not candidate_loss <= loss:  # nor is what is no number better
            damping *= 8
            continue
        done = loss - candidate_loss < _ENOUGH
        mode, curve, slopes, loss, damping = candidate, candidate_curve, candidate_slopes, candidate_loss, damping / 8
        if done:
            break
    return mode, curve, slopes, precision


def _loss(residual: Floats, inverse: Floats, moved: Floats, precision: Floats) -> float:
    return float(residual @ inverse @ residual + moved @ precision @ moved)


def _nearness(left: Floats, right: Floats, reach: float) -> Floats:
    """exp(-|difference| / reach) between every element on the left and every one on the right."""
    return np.asarray(np.exp(np.abs(left[:, None] - right[None, :]) / -reach), float)
