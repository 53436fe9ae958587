"""How likely each draft position is accepted: a rolling estimate with bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.model.drafter import DRIFT_FADE, Drafter
from controller.model.evidence import AcceptanceEvidence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIRST_LOGIT_SPREAD: Final = 1.5
"""Prior of the first position: acceptance .5, and 5% to 95% within its 90% bounds."""
_NEWTON_STEPS: Final = 12
_LONGEST_STEP: Final = 2.0
_ENOUGH: Final = 1e-4
"""The search ends when the largest step of a logit is smaller; Newton's next step would be its square."""
_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Acceptance by draft position, first draft first, for positions 1..k_max.

    Attributes:
        hazard: P(accepted | all before accepted).
        survival: S_j = P(the first j drafts are all accepted) = product of hazards; never rises.
        survival_low: Lower 90% bound of the survival.
        survival_high: Upper 90% bound.
        positions_observed: How many positions were seen; those beyond are extrapolated.
        coverage: Share of request-steps in which anything is drafted when asked to; 1 for methods that always
            draft, None when it is not known.
        evidence_drafts: Drafts behind the estimate.
        logit_covariance: Covariance of the logits of the hazards.
    """

    hazard: tuple[float, ...]
    survival: tuple[float, ...]
    survival_low: tuple[float, ...]
    survival_high: tuple[float, ...]
    positions_observed: int
    coverage: float | None
    evidence_drafts: float
    logit_covariance: tuple[tuple[float, ...], ...]


def estimate(evidence: AcceptanceEvidence, drafter: Drafter) -> Acceptance:
    """Acceptance by position from the evidence and the drafter's prior.

    The logits z_j of the hazards form a random walk over positions, z_(j+1) - z_j ~ N(drift fade^(j-1), spread^2), and
    the counts at each position are binomial, deflated by the scatter from window to window. The posterior mode and its
    curvature are found by Newton's method: much evidence overrides the prior, a thin position leans on its neighbours,
    and a position never drafted is extrapolated with a bound that widens with the distance.
    """
    return estimates((evidence,), drafter)[0]


def estimates(evidences: Sequence[AcceptanceEvidence], drafter: Drafter) -> tuple[Acceptance, ...]:
    """`estimate` of each, over the same positions: at this size an array of all costs little more than one alone."""
    independent = np.array([[1 / (each.design_effect * each.fading)] for each in evidences])
    at_risk = np.array([each.at_risk for each in evidences]) * independent
    accepted = np.array([each.accepted for each in evidences]) * independent
    logits, covariance = _posterior(at_risk, accepted, drafter)
    hazard = sigmoid(logits)
    log_survival = np.cumsum(np.log(hazard), axis=1)
    gradient = (1 - hazard)[:, None, :] * np.tri(hazard.shape[1])  # d ln S_j / d z_i, i <= j
    deviation = np.sqrt(((gradient @ covariance) * gradient).sum(axis=2))
    low = np.minimum.accumulate(np.exp(log_survival - _Z90 * deviation), axis=1)
    high = np.exp(np.minimum(0.0, log_survival + _Z90 * deviation))
    # a bound of survival may not rise with position either
    high = np.maximum.accumulate(high[:, ::-1], axis=1)[:, ::-1]
    arrays = (hazard, np.exp(log_survival), low, high, np.count_nonzero(at_risk > 0, axis=1), covariance)
    return tuple(
        Acceptance(
            hazard=tuple(hazards),
            survival=tuple(survival),
            survival_low=tuple(lows),
            survival_high=tuple(highs),
            positions_observed=observed,
            coverage=_coverage(evidence),
            evidence_drafts=evidence.drafts,
            logit_covariance=tuple(map(tuple, rows)),
        )
        for evidence, hazards, survival, lows, highs, observed, rows in zip(
            evidences, *(each.tolist() for each in arrays), strict=True
        )
    )


def _posterior(at_risk: Floats, accepted: Floats, drafter: Drafter) -> tuple[Floats, Floats]:
    """Mode and covariance of the logits for counts of shape (evidence, position)."""
    positions = at_risk.shape[1]
    prior_precision, expected = _prior(positions, drafter)
    diagonal, logits = np.eye(positions), _first_guess(at_risk, accepted)
    searched: slice | Ints = slice(None)
    found = np.empty_like(logits), np.empty((*logits.shape, positions))
    for _ in range(_NEWTON_STEPS):
        hazard = sigmoid(logits)
        curvature = prior_precision + (at_risk * hazard * (1 - hazard))[:, :, None] * diagonal
        pulled = (logits[:, None, :] @ prior_precision)[:, 0]  # each by itself: a larger product has other last digits
        slope = accepted - at_risk * hazard - pulled + expected
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        logits = logits + np.minimum(np.maximum(step, -_LONGEST_STEP), _LONGEST_STEP)
        done = np.abs(step).max(axis=1) < _ENOUGH
        if done.all():
            break
        if done.any():
            places, left = np.arange(len(found[0]))[searched], ~done
            found[0][places[done]], found[1][places[done]] = logits[done], curvature[done]
            searched, logits, at_risk, accepted = places[left], logits[left], at_risk[left], accepted[left]
            curvature = curvature[left]
    found[0][searched], found[1][searched] = logits, curvature
    return found[0], np.linalg.inv(found[1]).astype(float)


@lru_cache(maxsize=16)
def _prior(positions: int, drafter: Drafter) -> tuple[Floats, Floats]:
    """Precision of the logits before anything was seen, and its product with their mean: for ever the same."""
    steps = np.arange(positions - 1)
    walk = np.zeros((positions, positions))
    walk[0, 0] = 1 / FIRST_LOGIT_SPREAD
    walk[steps + 1, steps + 1] = 1 / drafter.logit_spread
    walk[steps + 1, steps] = -1 / drafter.logit_spread
    target = np.concatenate([[0.0], np.diff(drift(positions, drafter)) / drafter.logit_spread])
    return walk.T @ walk, walk.T @ target


def drift(positions: int, drafter: Drafter) -> Floats:
    """Expected logit of each position above the first one's."""
    return np.concatenate([[0.0], np.cumsum(drafter.logit_drift * DRIFT_FADE ** np.arange(positions - 1))])


def sigmoid(logits: Floats) -> Floats:
    """The rate of a logit: 1 / (1 + exp(-logit))."""
    return np.asarray(1 / (1 + np.exp(-logits)), float)


def _first_guess(at_risk: Floats, accepted: Floats) -> Floats:
    """The logits of the observed rates, half a count added on either side: finite, however many were all accepted."""
    return np.asarray(np.log((accepted + 0.5) / (np.maximum(0.0, at_risk - accepted) + 0.5)), float)


def _coverage(evidence: AcceptanceEvidence) -> float | None:
    return evidence.drafting_steps / evidence.request_steps if evidence.request_steps > 0 else None
