"""Drafts counted by position, old ones faded: what the estimate of acceptance remembers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from operator import mul
from typing import Final

from controller.model.drafter import Drafting
from controller.observe.speculation import StepCounts, WorkloadCounts
from controller.observe.window import Window

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
UNSEEN_KEPT: Final = 0.99
"""A position that the present k does not draft keeps at least this share of its evidence from window to window."""
HALF_LIFE_WINDOWS: Final = 30.0
"""What is known of acceptance counts for half after so many windows without a draft."""
SHIFT_SIGMAS: Final = 4.0
SHIFT_RATIO: Final = 0.05
"""A window that differs by more than both is other traffic: older evidence is dropped at once."""


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

    def aged(self, windows: float = 1.0) -> "AcceptanceEvidence":
        """The evidence after windows in which nothing was drafted: traffic changes, and nobody saw it.

        It counts for half after `HALF_LIFE_WINDOWS`, as if fewer drafts had been seen.
        """
        kept = 0.5 ** (windows / HALF_LIFE_WINDOWS)
        return replace(
            self,
            at_risk=tuple(kept * each for each in self.at_risk),
            accepted=tuple(kept * each for each in self.accepted),
            draft_squares=kept * self.draft_squares,
            draft_tokens=kept * self.draft_tokens,
            request_steps=kept * self.request_steps,
            drafting_steps=kept * self.drafting_steps,
        )

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


def observed(evidence: AcceptanceEvidence | None, fresh: AcceptanceEvidence) -> AcceptanceEvidence:
    """The evidence after the counts of one more window; a window without drafts changes nothing."""
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
    keeps = [keep if new > 0 else max(keep, UNSEEN_KEPT) for new in fresh.at_risk]
    at_risk, accepted = (
        tuple(kept * old + new for kept, old, new in zip(keeps, *both, strict=True))
        for both in ((evidence.at_risk, fresh.at_risk), (evidence.accepted, fresh.accepted))
    )
    return AcceptanceEvidence(
        at_risk=at_risk,
        accepted=accepted,
        draft_squares=keep**2 * evidence.draft_squares + fresh.draft_squares,
        draft_tokens=keep * evidence.draft_tokens + fresh.draft_tokens,
        request_steps=keep * evidence.request_steps + fresh.request_steps,
        drafting_steps=keep * evidence.drafting_steps + fresh.drafting_steps,
        scatter=fade * evidence.scatter + surprise,
        scatter_windows=fade * evidence.scatter_windows + 1,
    )


def _surprise(evidence: AcceptanceEvidence, fresh: AcceptanceEvidence) -> tuple[float, float]:
    """How far a window lies from the evidence: squared, in units of binomial variance; and as a share of E.

    Only the positions that both have seen are compared: another k is not other traffic.
    """
    both = zip(evidence.at_risk, fresh.at_risk, strict=True)
    seen = sum(1 for _ in takewhile(lambda risks: min(risks) > 0, both))
    old, old_variance = _accepted_per_draft(evidence, seen)
    new, new_variance = _accepted_per_draft(fresh, seen)
    variance = old_variance * evidence.fading + new_variance
    return ((new - old) ** 2 / variance if variance > 0 else 0.0), abs(new - old) / (1 + old)


def counts_of(window: Window, drafting: Drafting, asked_k: float | None) -> AcceptanceEvidence:
    """What the counters of `/metrics` tell of one window.

    Args:
        window: The counters.
        drafting: Whether the method drafts fewer than k by nature. Then a short draft is a trait of the drafter,
            and survival per draft is what counts; otherwise a mean length below k comes from a schedule, and a
            position was at risk only in the steps that drafted it.
        asked_k: The k in force, if it is known: nothing beyond it was at risk.
    """
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


def asked_at_least(steps: Sequence[StepCounts], k_max: int) -> tuple[float, ...]:
    """Request-steps that were asked for at least k drafts, by k from 0 to k_max; all of them for 0."""
    asked = [0.0] * (k_max + 1)
    for each in steps:
        asked[min(each.k, k_max)] += each.request_steps
    return tuple(accumulate(reversed(asked)))[::-1]


def exact_counts_of(
    workloads: Sequence[WorkloadCounts], asked: Sequence[float], drafting: Drafting, request_steps: float
) -> AcceptanceEvidence:
    """What the plugin counted in one window, of one workload or of several together.

    `judged` are the drafts at risk as they were. A method that drafts short by nature is read as by `counts_of`: a
    position was at risk in every draft that reached it and in whose step it was asked for.

    Args:
        workloads: Verified drafts.
        asked: See `asked_at_least`; up to k_max, of at least 1.
        drafting: Whether the method drafts fewer than k by nature.
        request_steps: All request-steps of the window, those beside prompts included.
    """
    drafts = sum(each.drafts for each in workloads)
    drafted, judged, accepted = (
        _summed(len(asked) - 1, [getattr(each, part) for each in workloads])
        for part in ("drafted", "judged", "accepted")
    )
    decoded, drafting_asked = asked[:2]
    if drafting is Drafting.VARIABLE:
        reached = (drafts, *accepted[:-1])
        shares = [each / drafting_asked if drafting_asked > 0 else 1.0 for each in asked[1:]]
        judged = tuple(max(hits, before * share) for hits, before, share in zip(accepted, reached, shares, strict=True))
    asked_steps = request_steps * drafting_asked / decoded if decoded > 0 else request_steps
    return AcceptanceEvidence(
        at_risk=judged,
        accepted=accepted,
        draft_squares=drafts,
        draft_tokens=sum(drafted),
        request_steps=asked_steps,
        drafting_steps=min(drafts, asked_steps),
    )


def _summed(length: int, parts: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Element by element, cut or filled up to a length."""
    found = [0.0] * length
    for part in parts:
        for position, count in enumerate(part[:length]):
            found[position] += count
    return tuple(found)


def _drafted_share(mean_length: float, position: int) -> float:
    """P(position drafted | the one before was), for lengths spread over the two whole numbers about their mean."""
    here = min(1.0, max(0.0, mean_length - (position - 1)))
    return here if here > 1e-3 else 0.0


def _accepted_per_draft(evidence: AcceptanceEvidence, positions: int) -> tuple[float, float]:
    """Mean accepted tokens per draft over the first positions, and its binomial variance (delta method)."""
    at_risk = [each + 1.0 for each in evidence.at_risk[:positions]]
    rates = [(hits + 0.5) / risks for hits, risks in zip(evidence.accepted[:positions], at_risk, strict=True)]
    survival = list(accumulate(rates, mul))
    later = reversed(list(accumulate(reversed(survival))))  # d mean / d ln rate_i = sum of S_j, j >= i
    log_variance = ((1 - rate) / (rate * risks) for rate, risks in zip(rates, at_risk, strict=True))
    return sum(survival), sum(slope**2 * each for slope, each in zip(later, log_variance, strict=True))
