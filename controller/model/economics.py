"""What each k is worth at a batch: tokens per step over seconds per step, with bounds that share their errors."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.model.acceptance import Acceptance
from controller.model.drafter import Drafting
from controller.model.step_time import Points, StepTime

Floats = NDArray[np.float64]

_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""


@dataclass(frozen=True, slots=True)
class Score:
    """One k at one batch. Throughputs are those of the whole server; bounds are 90%.

    Attributes:
        k: Draft tokens asked for.
        tokens_per_step: Tokens one request gets from one step, 1..k+1.
        step_seconds: Seconds of the engine step.
        tokens_per_second: batch * tokens_per_step / step_seconds.
        tokens_per_second_low: Its lower bound.
        tokens_per_second_high: Its upper bound.
        gain_ratio: Throughput at this k / throughput at the reference k, as the model has it.
        gain_low: Its lower bound; tighter than dividing the bounds above, since both share most of their error.
        gain_high: Its upper bound.
    """

    k: int
    tokens_per_step: float
    step_seconds: float
    tokens_per_second: float
    tokens_per_second_low: float
    tokens_per_second_high: float
    gain_ratio: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True, slots=True)
class Market:
    """Everything that prices a draft: acceptance, step time, and how the method drafts.

    Attributes:
        acceptance: By position.
        step_time: Posterior of seconds by (batch, drafts per request-step).
        drafting: Whether the method always drafts k.
        asked_k: The k at which `draft_length` was seen.
        draft_length: Mean length of a draft then; `asked_k` itself for methods that always draft k.
    """

    acceptance: Acceptance
    step_time: StepTime
    drafting: Drafting
    asked_k: int
    draft_length: float

    @property
    def k_max(self) -> int:
        """The largest k there is evidence or a prior for."""
        return len(self.acceptance.survival)

    @property
    def coverage(self) -> float:
        """Share of request-steps that draft anything when asked to; 1 for methods that always draft."""
        known = self.acceptance.coverage
        return 1.0 if self.drafting is Drafting.FIXED or known is None else known

    def tokens_per_step(self, k: float) -> float:
        """E(k) = 1 + coverage (S_1 + ... + S_k); between two whole k, their mixture."""
        return 1.0 + self.coverage * float(self._asked(k) @ np.asarray(self.acceptance.survival))

    def drafts_per_step(self, k: float) -> float:
        """Mean draft tokens per request-step when k is asked for."""
        return self.coverage * float(self._asked(k) @ self._drafted())

    def points(self, batch: float, ks: tuple[float, ...]) -> Points:
        """Where to ask the step-time model for these k at this batch."""
        return Points.of(
            batch,
            [self.drafts_per_step(k) for k in ks],
            [self.coverage * min(1.0, k) for k in ks],
        )

    def scores(self, batch: float, reference_k: float) -> tuple[Score, ...]:
        """Every k from 0 to k_max at this batch, compared with `reference_k` (which may lie between whole k).

        ln gain is normal: its variance is that of ln E(k) - ln E(reference), from the acceptance posterior, plus that
        of ln t(k) - ln t(reference), from the step-time posterior.
        """
        ks = tuple(range(self.k_max + 1))
        points = self.points(batch, (*ks, reference_k))  # the reference is the last point
        log_seconds = self.step_time.log_seconds(points)
        covariance = self.step_time.covariance(points)
        step_variance = np.diag(covariance)
        ratio_variance = np.maximum(0.0, step_variance - 2 * covariance[:, -1] + step_variance[-1])
        slopes = np.array([self._log_token_slope(k) for k in (*ks, reference_k)])
        token_variance = self._token_variance(slopes)
        gain_variance = ratio_variance + self._token_variance(slopes - slopes[-1])
        reference_tokens = self.tokens_per_step(reference_k)
        return tuple(
            _score(
                k=k,
                batch=batch,
                tokens=(tokens := self.tokens_per_step(k)),
                log_seconds=float(log_seconds[k]),
                deviation=math.sqrt(step_variance[k] + token_variance[k]),
                log_gain=math.log(tokens / reference_tokens) - float(log_seconds[k] - log_seconds[-1]),
                gain_deviation=math.sqrt(gain_variance[k]),
            )
            for k in ks
        )

    def _asked(self, k: float) -> Floats:
        """By position: the share of request-steps at `k` that ask for a draft there."""
        return np.clip(k - np.arange(self.k_max), 0.0, 1.0)

    def _drafted(self) -> Floats:
        """By position: P(drafted | something is drafted, and enough is asked for).

        For methods that draft short, lengths are taken as geometric: the widest spread with their mean.
        """
        positions = np.arange(self.k_max)
        if self.drafting is Drafting.FIXED or self.draft_length >= self.asked_k:
            return np.ones(self.k_max)
        low, high = 0.0, 1.0
        for _ in range(40):
            ratio = (low + high) / 2
            length = float(np.sum(ratio ** positions[: self.asked_k]))
            low, high = (ratio, high) if length < self.draft_length else (low, ratio)
        return np.asarray(high**positions, float)

    def _log_token_slope(self, k: float) -> Floats:
        """d ln E(k) / d logit(hazard_i): (1 - a_i) * coverage * sum of the S_j asked for with j >= i, over E(k)."""
        survival = self._asked(k) * np.asarray(self.acceptance.survival)
        later = np.cumsum(survival[::-1])[::-1]
        slope = (1 - np.asarray(self.acceptance.hazard)) * self.coverage * later / self.tokens_per_step(k)
        return np.asarray(slope, float)

    def _token_variance(self, slopes: Floats) -> Floats:
        covariance = np.asarray(self.acceptance.logit_covariance)
        return np.asarray(np.einsum("ki,ij,kj->k", slopes, covariance, slopes), float)


def _score(
    *,
    k: int,
    batch: float,
    tokens: float,
    log_seconds: float,
    deviation: float,
    log_gain: float,
    gain_deviation: float,
) -> Score:
    seconds = math.exp(log_seconds)
    throughput = batch * tokens / seconds
    return Score(
        k=k,
        tokens_per_step=tokens,
        step_seconds=seconds,
        tokens_per_second=throughput,
        tokens_per_second_low=throughput * math.exp(-_Z90 * deviation),
        tokens_per_second_high=throughput * math.exp(_Z90 * deviation),
        gain_ratio=math.exp(log_gain),
        gain_low=math.exp(log_gain - _Z90 * gain_deviation),
        gain_high=math.exp(log_gain + _Z90 * gain_deviation),
    )
