"""What each k is worth at a batch: tokens per step over seconds per step, with bounds that share their errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

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

    def drafts_per_step(self, ks: Sequence[float]) -> tuple[float, ...]:
        """Mean draft tokens per request-step when each k is asked for."""
        return tuple(self._drafted_at(np.asarray(ks, float))[0].tolist())

    def prices(self, batches: Sequence[float], reference_k: float | Sequence[float]) -> "Prices":
        """Every k from 0 to k_max at each batch, compared with `reference_k` (which may lie between whole k).

        ln gain is normal: its variance is that of ln E(k) - ln E(reference), from the acceptance posterior, plus that
        of ln t(k) - ln t(reference), from the step-time posterior.

        Args:
            batches: Decoding requests.
            reference_k: What is compared with, the same for all batches or one for each.
        """
        references = [reference_k] * len(batches) if isinstance(reference_k, int | float) else list(reference_k)
        kinds = sorted(set(references))
        priced = [
            self._priced([b for b, k in zip(batches, references, strict=True) if k == kind], kind) for kind in kinds
        ]
        if len(priced) == 1:
            return priced[0]
        groups = np.concatenate([[row for row, k in enumerate(references) if k == kind] for kind in kinds])
        order = np.argsort(groups)
        places = [(each, row) for each in priced for row in range(len(each.batches))]

        def deviation_at(row: int) -> Floats:
            part, own_row = places[order[row]]
            found: Floats = part.deviation_at(own_row)
            return found

        return Prices(
            market=self,
            tokens=priced[0].tokens,
            deviation_at=deviation_at,
            **{name: np.concatenate([getattr(each, name) for each in priced])[order] for name in _BY_BATCH},
        )

    def _priced(self, batches: Sequence[float], reference_k: float) -> "Prices":
        tokens, by_batch, deviation_at = self._rows((self.acceptance,), batches, reference_k)
        return Prices(market=self, tokens=tokens[0], deviation_at=deviation_at, **by_batch)

    def gains_alone(self, acceptances: Sequence[Acceptance], batch: float, reference_k: float) -> "Gains":
        """A row for each acceptance: the gains at a batch if it were that of all traffic; only our coverage stays."""
        _, by_row, _ = self._rows(acceptances, [batch] * len(acceptances), reference_k)
        return Gains(by_row["log_gain"], by_row["gain_deviation"])

    def _rows(
        self, acceptances: Sequence[Acceptance], batches: Sequence[float], reference_k: float
    ) -> tuple[Floats, dict[str, Floats], Callable[[int], Floats]]:
        """Tokens by acceptance and k, and what `Prices` holds by batch: one acceptance for all batches, or for each."""
        with_reference = np.append(np.arange(self.k_max + 1.0), reference_k)  # the last one
        tokens, slopes = self._tokens(with_reference, acceptances)
        drafts, drafting = self._drafted_at(with_reference)
        steps = self.step_time.grid(batches, drafts, drafting, self.prompt_per_token * tokens)
        log_seconds = _rising(steps.log_seconds[:, :-1], steps.measured[:, :-1])
        below = min(int(reference_k), self.k_max - 1)
        part = reference_k - below  # between two whole k, ln t is taken as linear
        reference_log_seconds = (1 - part) * log_seconds[:, below] + part * log_seconds[:, below + 1]
        token_variance = _token_variance(slopes - slopes[:, -1:], acceptances)

        def deviation_at(row: int) -> Floats:
            own = slice(row, row + 1) if len(acceptances) > 1 else slice(None)
            variance = steps.variance_at(row) + _token_variance(slopes[own], acceptances[own])[0]
            return np.asarray(np.sqrt(variance)[:-1], float)

        by_batch = {
            "batches": np.asarray(batches, float),
            "reference_tokens": np.broadcast_to(tokens[:, -1], len(batches)),
            "log_seconds": log_seconds,
            "reference_log_seconds": reference_log_seconds,
            "log_gain": np.log(tokens[:, :-1] / tokens[:, -1:]) - log_seconds + reference_log_seconds[:, None],
            "gain_deviation": np.sqrt((steps.contrast_variance + token_variance)[:, :-1]),
        }
        return tokens[:, :-1], by_batch, deviation_at

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
        return np.asarray(np.clip(ks[:, None] - np.arange(self.k_max), 0.0, 1.0), float)

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


def _token_variance(slopes: Floats, acceptances: Sequence[Acceptance]) -> Floats:
    """Variance of ln E(k), shape (acceptance, k), from its slopes by the logits."""
    covariance = np.array([each.logit_covariance for each in acceptances])
    return np.asarray(((slopes @ covariance) * slopes).sum(axis=-1), float)


def _rising(log_seconds: Floats, measured: Bools) -> Floats:
    """Steps by (batch, k) such that another draft makes none shorter, but where it was measured that it does.

    It was, on an H100 with few captured CUDA graphs: 37 ms at k=2 and a batch of 32, 12 at k=3.
    """
    found = log_seconds.copy()
    for k in range(1, found.shape[1]):
        found[:, k] = np.where(measured[:, k], found[:, k], np.maximum(found[:, k - 1], found[:, k]))
    return found


_BY_BATCH: Final = (
    "batches", "reference_tokens", "log_seconds", "reference_log_seconds", "log_gain", "gain_deviation",
)  # fmt: skip


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
    """Every k at several batches, as arrays of shape (batch, k); `tokens` has one element a k. Logarithms are natural.

    Attributes:
        market: What they were made from.
        batches: Decoding requests.
        tokens: Tokens per request-step.
        reference_tokens: The same at the reference k, by batch.
        log_seconds: ln of the step.
        reference_log_seconds: The same at the reference k, by batch.
        deviation_at: Standard deviation of ln throughput at every k of one row, worked out when it is asked for.
    """

    market: Market
    batches: Floats
    tokens: Floats
    reference_tokens: Floats
    log_seconds: Floats
    reference_log_seconds: Floats
    deviation_at: Callable[[int], Floats]

    def scores(self, row: int) -> tuple[Score, ...]:
        """The prices at one batch as values."""
        batch = float(self.batches[row])
        throughput = batch * self.tokens * np.exp(-self.log_seconds[row])
        spread = np.exp(_Z90 * self.deviation_at(row))
        arrays = {
            "tokens_per_step": self.tokens,
            "step_seconds": np.exp(self.log_seconds[row]),
            "tokens_per_second": throughput,
            "tokens_per_second_low": throughput / spread,
            "tokens_per_second_high": throughput * spread,
            "gain_ratio": self.gain[row],
            "gain_low": self.gain_low[row],
            "gain_high": self.gain_high[row],
        }
        columns = {name: values.tolist() for name, values in arrays.items()}
        market = self.market
        seen = market.acceptance.positions_observed
        measured = market.step_time.table.measured(batch, market.drafts_per_step(range(len(self.tokens))))
        return tuple(
            Score(
                k=k,
                **{name: values[k] for name, values in columns.items()},
                tokens_observed=k <= seen,
                step_measured=measured[k],
            )
            for k in range(len(self.tokens))
        )
