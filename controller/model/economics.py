"""What each k is worth at a batch: tokens per step over seconds per step, with bounds that share their errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.model.acceptance import Acceptance
from controller.model.drafter import Drafting
from controller.model.other_k import renewal
from controller.model.step_time import Bools, StepTime

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
        tokens_observed: Whether every position up to k was seen; otherwise some are extrapolated.
        step_measured: Whether a step at this load and k was measured; otherwise it is modelled.
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
    tokens_observed: bool
    step_measured: bool


@dataclass(frozen=True, slots=True)
class Market:
    """Everything that prices a draft: acceptance, step time, and how the method drafts.

    Attributes:
        acceptance: By position.
        step_time: Posterior of seconds by (batch, drafts per request-step).
        drafting: Whether the method always drafts k.
        asked_k: The k at which `draft_length` was seen.
        draft_length: Mean length of a draft then; `asked_k` itself for methods that always draft k.
        persistence: See `Drafter`.
        prompt_per_token: Prompt tokens that come with each decoded token, in the present traffic.
        composition: By k from 0, what a mix of workloads yields beyond its pooled drafts; empty for a single one.
    """

    acceptance: Acceptance
    step_time: StepTime
    drafting: Drafting
    asked_k: int
    draft_length: float
    persistence: float = 0.0
    prompt_per_token: float = 0.0
    composition: tuple[float, ...] = ()

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
        """E(k) = 1 + coverage (S_1 + ... + S_k), for several workloads as `composition` says; mixed between whole k."""
        return self.tokens_at((k,))[0]

    def tokens_at(self, ks: Sequence[float]) -> tuple[float, ...]:
        """E(k) of several k."""
        tokens, _ = self._tokens(np.asarray(ks, float), (self.acceptance,))
        return tuple(tokens[0].tolist())

    def prices(self, batches: Sequence[float], reference_k: float | Sequence[float]) -> "Prices":
        """Every k from 0 to k_max at each batch, compared with `reference_k` (which may lie between whole k).

        ln gain is normal: its variance is that of ln E(k) - ln E(reference), from the acceptance posterior, plus that
        of ln t(k) - ln t(reference), from the step-time posterior.

        Args:
            batches: Decoding requests.
            reference_k: What is compared with, the same for all batches or one for each.
        """
        references = [reference_k] * len(batches) if isinstance(reference_k, int | float) else list(reference_k)
        return Prices(market=self, **self._rows((self.acceptance,), batches, references))

    def gains_alone(self, acceptances: Sequence[Acceptance], batch: float, reference_k: float) -> "Gains":
        """A row for each acceptance: the gains at a batch if it were that of all traffic; only our coverage stays."""
        rows = self._rows(acceptances, [batch] * len(acceptances), [reference_k] * len(acceptances))
        return Gains(rows["log_gain"], rows["gain_deviation"])

    def _rows(
        self, acceptances: Sequence[Acceptance], batches: Sequence[float], references: Sequence[float]
    ) -> dict[str, Any]:
        """What `Prices` holds, for one acceptance at all batches, or for one at each with a single reference."""
        width = self.k_max + 1
        kinds = sorted(set(references))
        kind = np.array([kinds.index(each) for each in references])
        own = np.arange(len(batches)) if len(acceptances) > 1 else np.zeros(len(batches), int)
        ks = np.concatenate([np.arange(float(width)), kinds])  # the references last
        tokens, slopes = self._tokens(ks, acceptances)
        drafts, drafting = self._drafted_at(ks)
        steps = self.step_time.grid(batches, drafts, drafting, self.prompt_per_token * tokens, width + kind)
        log_seconds = _rising(steps.log_seconds[:, :width], steps.measured[:, :width])
        every = np.arange(len(batches))
        below = np.minimum(np.array(references, int), self.k_max - 1)
        part = references - below  # between two whole k, ln t is taken as linear
        reference_log_seconds = (1 - part) * log_seconds[every, below] + part * log_seconds[every, below + 1]
        reference_tokens = tokens[own, width + kind]
        covariance = np.array([each.logit_covariance for each in acceptances])
        contrasts = slopes[:, None, :width] - slopes[:, width:, None]
        token_variance = _quadratic(contrasts, covariance[:, None])[own, kind]

        def deviation_at(row: int) -> Floats:
            mine = own[row]
            variance = steps.variance_at(row)[:width] + _quadratic(slopes[mine, :width], covariance[mine])
            return np.asarray(np.sqrt(variance), float)

        return {
            "batches": np.asarray(batches, float),
            "tokens": tokens[0, :width],
            "drafts": drafts[:width],
            "reference_tokens": reference_tokens,
            "log_seconds": log_seconds,
            "reference_log_seconds": reference_log_seconds,
            "log_gain": np.log(tokens[own, :width] / reference_tokens[:, None])
            - log_seconds
            + reference_log_seconds[:, None],
            "gain_deviation": np.sqrt(steps.contrast_variance[:, :width] + token_variance),
            "deviation_at": deviation_at,
        }

    def _drafted_at(self, ks: Floats) -> tuple[Floats, Floats]:
        """Mean drafts per request-step at each k, and the share of request-steps that draft."""
        return self.coverage * (self._asked(ks) @ self._drafted()), self.coverage * np.minimum(1.0, ks)

    def _tokens(self, ks: Floats, acceptances: Sequence[Acceptance]) -> tuple[Floats, Floats]:
        """E(k), and d ln E(k) / d logit(hazard_i) = (1 - a_i) (sum of the S_j asked for, j >= i) coverage / E(k).

        Shapes (acceptance, k) and (acceptance, k, position).
        """
        seen = np.array([each.survival for each in acceptances])
        survival = self._asked(ks) * seen[:, None, :]
        gained = self.coverage * renewal(seen, self.asked_k, ks, self.persistence)
        later = np.cumsum(survival[:, :, ::-1], axis=2)[:, :, ::-1]
        tokens = 1.0 + gained * survival.sum(axis=2)
        rejected = 1 - np.array([each.hazard for each in acceptances])
        slopes = rejected[:, None, :] * (gained / tokens)[:, :, None] * later
        if self.composition:
            tokens = tokens * np.interp(ks, np.arange(self.k_max + 1), self.composition)
        return tokens, slopes

    def _asked(self, ks: Floats) -> Floats:
        """Shape (k, position): the share of request-steps at k that ask for a draft there."""
        return np.asarray(np.minimum(np.maximum(ks[:, None] - np.arange(self.k_max), 0.0), 1.0), float)

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


def _quadratic(slopes: Floats, covariance: Floats) -> Floats:
    """The variance of what has these slopes, shape (..., variable), by variables of this covariance."""
    return np.asarray(((slopes @ covariance) * slopes).sum(axis=-1), float)


def _rising(log_seconds: Floats, measured: Bools) -> Floats:
    """Steps by (batch, k) such that another draft makes none shorter, but where it was measured that it does.

    It was, on an H100 with few captured CUDA graphs: 37 ms at k=2 and a batch of 32, 12 at k=3.
    """
    found, modelled = log_seconds.T.copy(), ~measured.T
    for k in range(1, len(found)):
        np.maximum(found[k - 1], found[k], out=found[k], where=modelled[k])
    return found.T


@dataclass(frozen=True, slots=True)
class Gains:
    """Throughput at every k over that at the reference k, as arrays of shape (row, k).

    Attributes:
        log_gain: Its natural logarithm.
        gain_deviation: The standard deviation of that.
    """

    log_gain: Floats
    gain_deviation: Floats

    @property
    def gain(self) -> Floats:
        """Throughput over that at the reference k, as a ratio."""
        return np.asarray(np.exp(self.log_gain), float)

    @property
    def gain_low(self) -> Floats:
        """Lower 90% bound of the gain, as a ratio."""
        return np.asarray(np.exp(self.log_gain - _Z90 * self.gain_deviation), float)

    @property
    def gain_high(self) -> Floats:
        """Its upper 90% bound."""
        return np.asarray(np.exp(self.log_gain + _Z90 * self.gain_deviation), float)


@dataclass(frozen=True, slots=True)
class Prices(Gains):
    """Every k at several batches, as arrays of shape (batch, k), or (k,) for tokens and drafts. Logarithms are natural.

    Attributes:
        market: What they were made from.
        batches: Decoding requests.
        tokens: Tokens per request-step.
        drafts: Mean draft tokens per request-step.
        reference_tokens: The same at the reference k, by batch.
        log_seconds: ln of the step.
        reference_log_seconds: The same at the reference k, by batch.
        deviation_at: Standard deviation of ln throughput at every k of one row, worked out when it is asked for.
    """

    market: Market
    batches: Floats
    tokens: Floats
    drafts: Floats
    reference_tokens: Floats
    log_seconds: Floats
    reference_log_seconds: Floats
    deviation_at: Callable[[int], Floats]

    def scores(self, row: int) -> tuple[Score, ...]:
        """The prices at one batch as values."""
        batch = float(self.batches[row])
        throughput = batch * self.tokens * np.exp(-self.log_seconds[row])
        spread = np.exp(_Z90 * self.deviation_at(row))
        columns = {
            "tokens_per_step": self.tokens,
            "step_seconds": np.exp(self.log_seconds[row]),
            "tokens_per_second": throughput,
            "tokens_per_second_low": throughput / spread,
            "tokens_per_second_high": throughput * spread,
            "gain_ratio": self.gain[row],
            "gain_low": self.gain_low[row],
            "gain_high": self.gain_high[row],
        }
        seen = self.market.acceptance.positions_observed
        measured = self.market.step_time.table.measured(batch, self.drafts.tolist())
        by_k = np.array([*columns.values()]).T.tolist()
        return tuple(
            Score(k=k, **dict(zip(columns, values, strict=True)), tokens_observed=k <= seen, step_measured=measured[k])
            for k, values in enumerate(by_k)
        )
