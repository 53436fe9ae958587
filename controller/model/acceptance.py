"""How likely each draft position is accepted: a rolling estimate with bounds."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.model.drafter import DRIFT_FADE, Drafter, Drafting
from controller.observe.window import Window

Floats = NDArray[np.float64]

MEMORY_WINDOWS: Final = 8.0
"""Evidence of this many windows like the present one is kept; older evidence fades."""
MEMORY_DRAFTS: Final = 4000.0
"""But never less than this many drafts, so that a lull does not wipe out what is known."""
DESIGN_EFFECT: Final = 3.0
"""Steps of one request are alike, so n drafts count as n / 3 independent ones: what is assumed at first. (Kish's design
effect for about 20 drafts a request and a correlation of .1 between them.)"""
DESIGN_WINDOWS: Final = 4.0
"""How many windows that assumption counts for, against the scatter from window to window that is then observed."""
DESIGN_MEMORY: Final = 60.0
"""The scatter of about this many windows is remembered."""
SHIFT_SIGMAS: Final = 4.0
SHIFT_RATIO: Final = 0.05
"""A window that differs by more than both is other traffic: older evidence is dropped at once."""
FIRST_LOGIT_SPREAD: Final = 1.5
"""Prior of the first position: acceptance .5, and 5% to 95% within its 90% bounds."""
_NEWTON_STEPS: Final = 12
_ENOUGH: Final = 1e-4
"""The search ends when the largest step of a logit is smaller; Newton's next step would be its square."""
_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""


@dataclass(frozen=True, slots=True)
class AcceptanceEvidence:
    """Counts with old ones faded: all that the estimate remembers, small enough to save and restore.

    Attributes:
        at_risk: By position: drafts in which this position was drafted and all before it were accepted.
        accepted: By position: those in which it was accepted, too.
        draft_squares: Drafts with their fading weights squared: faded counts scatter less than as many fresh ones.
        draft_tokens: Tokens drafted in all of them.
        request_steps: Request-steps of windows in which every step was asked to draft.
        drafting_steps: Those of them in which something was drafted.
        scatter: Sum of the squared deviations of windows from what was expected, in units of binomial variance.
        scatter_windows: How many windows that sum is over.
    """

    at_risk: tuple[float, ...]
    accepted: tuple[float, ...]
    draft_squares: float = 0.0
    draft_tokens: float = 0.0
    request_steps: float = 0.0
    drafting_steps: float = 0.0
    scatter: float = 0.0
    scatter_windows: float = 0.0

    @property
    def design_effect(self) -> float:
        """How many drafts say as much as one independent one: the observed scatter, leaning on what is assumed."""
        known = DESIGN_WINDOWS + self.scatter_windows
        return max(1.0, (DESIGN_EFFECT * DESIGN_WINDOWS + self.scatter) / known)

    @property
    def fading(self) -> float:
        """Variance of a faded mean / that of a mean over as many fresh drafts: sum w^2 n / sum w n, at most 1."""
        return min(1.0, self.draft_squares / self.drafts) if self.drafts > 0 and self.draft_squares > 0 else 1.0

    @property
    def drafts(self) -> float:
        """Drafts in memory."""
        return self.at_risk[0] if self.at_risk else 0.0

    @property
    def mean_draft_length(self) -> float:
        """Tokens per draft; 0 without drafts."""
        return self.draft_tokens / self.drafts if self.drafts > 0 else 0.0


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


def observed(
    evidence: AcceptanceEvidence | None, window: Window, drafting: Drafting, asked_k: float | None
) -> AcceptanceEvidence:
    """The evidence after one more window.

    Args:
        evidence: What was known before; None at first.
        window: Its counters; a window without drafts changes nothing.
        drafting: Whether the method drafts fewer than k by nature. Then a short draft is a trait of the drafter,
            and survival per draft is what counts; otherwise a mean length below k comes from a schedule, and a
            position was at risk only in the steps that drafted it.
        asked_k: The k in force, if it is known: nothing beyond it was at risk.
    """
    fresh = _counts(window, drafting, asked_k)
    if fresh.drafts <= 0:
        return evidence or fresh
    if evidence is None or evidence.drafts <= 0 or len(evidence.at_risk) != len(fresh.at_risk):
        return fresh
    surprise, ratio = _surprise(evidence, fresh)
    if surprise > SHIFT_SIGMAS**2 * evidence.design_effect and ratio > SHIFT_RATIO:
        return replace(fresh, scatter=evidence.scatter, scatter_windows=evidence.scatter_windows)
    room = max((MEMORY_WINDOWS - 1) * fresh.drafts, MEMORY_DRAFTS - fresh.drafts)
    keep = min(1.0, room / evidence.drafts)
    fade = 1 - 1 / DESIGN_MEMORY
    return AcceptanceEvidence(
        at_risk=tuple(keep * old + new for old, new in zip(evidence.at_risk, fresh.at_risk, strict=True)),
        accepted=tuple(keep * old + new for old, new in zip(evidence.accepted, fresh.accepted, strict=True)),
        draft_squares=keep**2 * evidence.draft_squares + fresh.draft_squares,
        draft_tokens=keep * evidence.draft_tokens + fresh.draft_tokens,
        request_steps=keep * evidence.request_steps + fresh.request_steps,
        drafting_steps=keep * evidence.drafting_steps + fresh.drafting_steps,
        scatter=fade * evidence.scatter + surprise,
        scatter_windows=fade * evidence.scatter_windows + 1,
    )


def _surprise(evidence: AcceptanceEvidence, fresh: AcceptanceEvidence) -> tuple[float, float]:
    """How far a window lies from the evidence: squared, in units of binomial variance; and as a share of E."""
    old, old_variance = _accepted_per_draft(evidence)
    new, new_variance = _accepted_per_draft(fresh)
    variance = old_variance * evidence.fading + new_variance
    return ((new - old) ** 2 / variance if variance > 0 else 0.0), abs(new - old) / (1 + old)


def estimate(evidence: AcceptanceEvidence, drafter: Drafter) -> Acceptance:
    """Acceptance by position from the evidence and the drafter's prior.

    The logits z_j of the hazards form a random walk over positions, z_(j+1) - z_j ~ N(drift fade^(j-1), spread^2), and
    the counts at each position are binomial, deflated by the scatter from window to window. The posterior mode and its
    curvature are found by Newton's method: much evidence overrides the prior, a thin position leans on its neighbours,
    and a position never drafted is extrapolated with a bound that widens with the distance.
    """
    independent = 1 / (evidence.design_effect * evidence.fading)
    at_risk = np.asarray(evidence.at_risk) * independent
    accepted = np.asarray(evidence.accepted) * independent
    logits, covariance = _posterior(at_risk, accepted, drafter)
    hazard = sigmoid(logits)
    log_survival = np.cumsum(np.log(hazard))
    gradient = np.tril(np.broadcast_to(1 - hazard, (len(hazard), len(hazard))))  # d ln S_j / d z_i, i <= j
    deviation = np.sqrt(np.einsum("ij,jk,ik->i", gradient, covariance, gradient))
    low = np.minimum.accumulate(np.exp(log_survival - _Z90 * deviation))
    high = np.minimum(1.0, np.exp(log_survival + _Z90 * deviation))
    high = np.maximum.accumulate(high[::-1])[::-1]  # a bound of survival may not rise with position either
    return Acceptance(
        hazard=tuple(hazard.tolist()),
        survival=tuple(np.exp(log_survival).tolist()),
        survival_low=tuple(low.tolist()),
        survival_high=tuple(high.tolist()),
        positions_observed=int(np.count_nonzero(at_risk > 0)),
        coverage=_coverage(evidence),
        evidence_drafts=evidence.drafts,
        logit_covariance=tuple(map(tuple, covariance.tolist())),
    )


def _counts(window: Window, drafting: Drafting, asked_k: float | None) -> AcceptanceEvidence:
    accepted = tuple(window.accepted_by_position)
    reached = (window.drafts, *accepted[:-1])  # all before position j were accepted
    length = window.mean_draft_length or 0.0
    asked = length if drafting is Drafting.FIXED else (asked_k or float(len(accepted)))
    drafted = tuple(_drafted_share(asked, position) for position in range(1, len(accepted) + 1))
    at_risk = tuple(
        max(hits, before * share) if share > 0 else 0.0
        for hits, before, share in zip(accepted, reached, drafted, strict=True)
    )
    share = window.drafting_share or 0.0
    return AcceptanceEvidence(
        at_risk=at_risk,
        accepted=tuple(hits if risk > 0 else 0.0 for hits, risk in zip(accepted, at_risk, strict=True)),
        draft_squares=window.drafts,
        draft_tokens=window.draft_tokens,
        request_steps=window.request_steps if share > 0 else 0.0,
        drafting_steps=min(window.drafts, window.request_steps) if share > 0 else 0.0,
    )


def _drafted_share(mean_length: float, position: int) -> float:
    """P(position drafted | the one before was), for lengths spread over the two whole numbers about their mean."""
    here = min(1.0, max(0.0, mean_length - (position - 1)))
    return here if here > 1e-3 else 0.0


def _accepted_per_draft(evidence: AcceptanceEvidence) -> tuple[float, float]:
    """Mean accepted tokens per draft over the positions at risk, and its binomial variance (delta method)."""
    at_risk, hits = np.asarray(evidence.at_risk), np.asarray(evidence.accepted)
    seen = int(np.argmin(at_risk > 0)) if np.any(at_risk <= 0) else len(at_risk)
    at_risk, hits = at_risk[:seen], hits[:seen]
    rate = (hits + 0.5) / (at_risk + 1.0)
    survival = np.cumprod(rate)
    later = np.cumsum(survival[::-1])[::-1]  # d mean / d ln rate_i = sum of S_j, j >= i
    log_variance = (1 - rate) / (rate * (at_risk + 1.0))
    return float(survival.sum()), float(np.sum(later**2 * log_variance))


def _posterior(at_risk: Floats, accepted: Floats, drafter: Drafter) -> tuple[Floats, Floats]:
    positions = len(at_risk)
    steps = np.arange(positions - 1)
    walk = np.zeros((positions, positions))
    walk[0, 0] = 1 / FIRST_LOGIT_SPREAD
    walk[steps + 1, steps + 1] = 1 / drafter.logit_spread
    walk[steps + 1, steps] = -1 / drafter.logit_spread
    target = np.concatenate([[0.0], np.diff(drift(positions, drafter)) / drafter.logit_spread])
    prior_precision = walk.T @ walk
    expected = walk.T @ target
    logits = _first_guess(at_risk, accepted)
    for _ in range(_NEWTON_STEPS):
        hazard = sigmoid(logits)
        curvature = prior_precision + np.diag(at_risk * hazard * (1 - hazard))
        slope = accepted - at_risk * hazard - prior_precision @ logits + expected
        step = np.linalg.solve(curvature, slope)
        logits = logits + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < _ENOUGH:
            break
    return logits, np.linalg.inv(curvature).astype(float)


def drift(positions: int, drafter: Drafter) -> Floats:
    """Expected logit of each position above the first one's."""
    return np.concatenate([[0.0], np.cumsum(drafter.logit_drift * DRIFT_FADE ** np.arange(positions - 1))])


def sigmoid(logits: Floats) -> Floats:
    """The rate of a logit: 1 / (1 + exp(-logit))."""
    return np.asarray(1 / (1 + np.exp(-logits)), float)


def _first_guess(at_risk: Floats, accepted: Floats) -> Floats:
    rate = (accepted + 0.5) / (at_risk + 1.0)
    return np.asarray(np.log(rate / (1 - rate)), float)


def _coverage(evidence: AcceptanceEvidence) -> float | None:
    return evidence.drafting_steps / evidence.request_steps if evidence.request_steps > 0 else None
