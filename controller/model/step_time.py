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
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.model.alike import by_kind
from controller.model.drafter import Drafter, LogNormal
from controller.model.step_posterior import (
    BATCH_REACH,
    DRAFT_REACH,
    Inputs,
    Posterior,
    curve_at,
    nearness,
    posteriors,
)
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
    """The posterior of ln(step seconds), ready to be asked. Built by `fit` or `fits`; holds no state that changes."""

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
        self,
        table: StepTable,
        drafter: Drafter,
        capture_limit_tokens: float = math.inf,
        target: Target = DENSE,
        posterior: Posterior | None = None,
    ) -> None:
        """Finds the posterior, unless it was found together with those of other tables."""
        self.table = table
        self.drafter = drafter
        self.target = target
        self._capture_limit = capture_limit_tokens
        self._prior = _prior(drafter, target)
        if posterior is None:
            (posterior,) = posteriors((table,), self._prior, capture_limit_tokens, target.discrepancy)
        self._log_batch, self._drafts = posterior.log_batch, posterior.drafts
        self._mode, self._covariance = posterior.mode, posterior.covariance
        self._weights, self._factor = posterior.weights, posterior.factor

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
        apart = 2 * shared * (1 - nearness(drafts[place], drafts, DRAFT_REACH))
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
        near = self.target.discrepancy**2 * nearness(np.log(batch), self._log_batch, BATCH_REACH)
        nearby = nearness(drafts, self._drafts, DRAFT_REACH)
        points = np.empty((4, len(batch), len(drafts)))
        for row, each in zip(points, (batch[:, None], drafts, drafting, batch[:, None] * prompt), strict=True):
            row[:] = each
        flat = points.reshape(4, -1)
        curve, slopes = curve_at(Inputs.of(flat[0], flat[1], flat[2], flat[3], self._capture_limit), self._mode)
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
    return fits((table,), drafter, capture_limit_tokens, target)[0]


def fits(
    tables: Sequence[StepTable], drafter: Drafter, capture_limit_tokens: float = math.inf, target: Target = DENSE
) -> list[StepTime | None]:
    """`fit` of each: an array of tables with equally many cells costs little more than one of them alone."""
    prior = _prior(drafter, target)

    def of_size(cells: int, some: list[StepTable]) -> Sequence[StepTime | None]:
        if not cells:
            return [None] * len(some)
        found = posteriors(some, prior, capture_limit_tokens, target.discrepancy)
        return [
            StepTime(table, drafter, capture_limit_tokens, target, known)
            for table, known in zip(some, found, strict=True)
        ]

    return by_kind(tables, lambda table: len(table.cells), of_size)


@lru_cache(maxsize=64)
def _prior(drafter: Drafter, target: Target) -> tuple[LogNormal, ...]:
    """Of every parameter, in their order: for ever the same."""
    return (FIXED_SECONDS, target.saturation_tokens, CORNER, target.draft_weight,
            *_shares(drafter, target), KV_PER_REQUEST, CLIFF, REJECTION_PER_REQUEST,
            PROMPT_WEIGHT, target.experts, target.expert_tokens)  # fmt: skip


def _shares(drafter: Drafter, target: Target) -> tuple[LogNormal, ...]:
    """What drafting takes of a step of this model."""
    own = (drafter.overhead, drafter.per_draft)
    return tuple(LogNormal(each.median * target.drafting, each.spread) for each in own)
