"""What one window teaches: counts of drafts by position, by workload, and step times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from controller.memory import Learnt, LearntWorkload
from controller.model.acceptance import Acceptance, estimate, estimates
from controller.model.alike import by_kind
from controller.model.composition import Portion, composition
from controller.model.drafter import Drafting
from controller.model.economics import Market
from controller.model.evidence import AcceptanceEvidence, asked_at_least, counts_of, exact_counts_of, observed
from controller.model.step_table import StepTable
from controller.model.step_time import StepTime, fits
from controller.model.target import Target
from controller.sight import Sight

ABSENT_DRAFTS: Final = 1.0
"""A workload with a smaller part in the drafts that are remembered is not in the mix any more."""
WORKLOADS_KEPT: Final = 128
"""Those seen last: twice the slots of the plugin, and clients choose the names."""


def learn(known: Learnt, sight: Sight) -> Learnt:
    """What is known after one more window. The plugin's counts are taken where there are any, being exact."""
    window, measured, drafting = sight.window, sight.measured, sight.now.drafting
    if measured is None:
        evidence = observed(known.evidence, counts_of(window, drafting, sight.now.k))
        table = known.table.with_window(window)
    else:
        asked, decoded = asked_at_least(measured.steps, window.k_max or 1), window.request_steps
        counts = exact_counts_of(measured.workloads, asked, drafting, decoded)
        evidence = observed(known.evidence, counts)
        fresh = [(each.name, exact_counts_of((each,), asked, drafting, decoded)) for each in measured.workloads]
        known = replace(known, workloads=_workloads(known, fresh, evidence.drafts - counts.drafts))
        table = _with_steps(known.table, sight, counts) if measured.steps else known.table.with_window(window)
    if window.drafts <= 0 and window.request_steps > 0:
        evidence = evidence.aged()
        known = replace(
            known, workloads=tuple(replace(each, evidence=each.evidence.aged()) for each in known.workloads)
        )
    return replace(known, k_max=window.k_max, evidence=evidence, table=table)


def _workloads(
    known: Learnt, fresh: Sequence[tuple[str, AcceptanceEvidence]], drafts_kept: float
) -> tuple[LearntWorkload, ...]:
    """The workloads after a window; the part of one that sent nothing fades with the drafts of the whole mix.

    Args:
        known: Until now.
        fresh: Each workload's counts of the window.
        drafts_kept: How many of the earlier drafts the evidence of the whole mix still remembers.
    """
    before = known.evidence.drafts if known.evidence else 0.0
    kept = min(1.0, max(0.0, drafts_kept) / before) if before > 0 else 0.0
    faded = {each.name: replace(each, drafts=kept * each.drafts) for each in known.workloads}
    for name, counts in fresh:
        old = faded.pop(name, None)
        evidence = observed(old.evidence if old else None, counts)
        faded[name] = LearntWorkload(name, evidence, counts.drafts + (old.drafts if old else 0.0))
    return tuple(faded.values())[-WORKLOADS_KEPT:]


def _with_steps(table: StepTable, sight: Sight, counts: AcceptanceEvidence) -> StepTable:
    """The table with the plugin's steps, which tell k but not how many drafts a lookup found."""
    assert sight.measured is not None
    if sight.now.drafting is Drafting.FIXED:
        return table.with_steps(sight.measured.steps, drafts_per_k=1.0, coverage=1.0)
    asked = sum(each.request_steps * each.k for each in sight.measured.steps)
    decoded = sum(each.request_steps for each in sight.measured.steps)
    share = decoded / sight.window.request_steps if sight.window.request_steps > 0 else 1.0
    drafted = counts.draft_tokens * min(1.0, share)
    coverage = counts.drafting_steps / counts.request_steps if counts.request_steps > 0 else 1.0
    return table.with_steps(sight.measured.steps, min(1.0, drafted / asked) if asked > 0 else 0.0, coverage)


@dataclass(frozen=True, slots=True)
class Known:
    """What a window's decision can rest on.

    Attributes:
        acceptance_seen: By position; None until something was drafted.
        step_time: The step-time posterior; None until something was decoded.
        market: What prices a draft, by the prior alone while nothing was drafted; None until something was decoded.
        portions: The workloads of the mix, the largest first; empty where the plugin does not tell them apart.
    """

    acceptance_seen: Acceptance | None
    step_time: StepTime | None
    market: Market | None
    portions: tuple[Portion, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the model: the sum of what was learnt, and what it is told of besides.

    Attributes:
        learnt: Of an engine, its latest window included.
        sight: That window.
        capture_limit_tokens: Steps of more tokens have no captured graph.
        target: The model that is served.
    """

    learnt: Learnt
    sight: Sight
    capture_limit_tokens: float
    target: Target

    @property
    def present(self) -> list[LearntWorkload]:
        """The workloads that are in the mix."""
        return [each for each in self.learnt.workloads if each.drafts >= ABSENT_DRAFTS]

    @property
    def evidences(self) -> list[AcceptanceEvidence]:
        """Of the whole mix, then of each workload in it; none until a position was at risk."""
        whole = self.learnt.evidence
        if whole is None or not whole.at_risk:
            return []
        return [whole, *(each.evidence for each in self.present)]


def answers(asked: Sequence[Question]) -> list[Known]:
    """What can be said from what was learnt, of many engines at once: none is moved by another."""
    step_times = by_kind(
        asked,
        lambda each: (each.sight.drafter, each.capture_limit_tokens, each.target),
        lambda kind, some: fits([each.learnt.table for each in some], *kind),
    )
    evidences = [each.evidences for each in asked]
    acceptances = iter(
        by_kind(
            [(each.sight.drafter, one) for each, some in zip(asked, evidences, strict=True) for one in some],
            lambda each: (each[0], len(each[1].at_risk)),
            lambda kind, some: estimates([evidence for _, evidence in some], kind[0]),
        )
    )
    return [
        _known(each, step_time, [*islice(acceptances, len(some))])
        for each, step_time, some in zip(asked, step_times, evidences, strict=True)
    ]


def _known(asked: Question, step_time: StepTime | None, acceptances: Sequence[Acceptance]) -> Known:
    """From the step time, and the acceptance of the whole mix and of each workload in it."""
    evidence, sight = asked.learnt.evidence, asked.sight
    if evidence is None or not acceptances:
        return Known(None, step_time, None)
    acceptance, *alone = acceptances
    seen = acceptance if evidence.drafts > 0 else None
    if step_time is None:
        return Known(seen, None, None)
    k_max, persistence = len(acceptance.survival), sight.drafter.persistence
    portions, seen_k = _portions(asked.present, alone), _seen_k(evidence, sight, k_max)
    told_apart = portions if sight.now.drafting is Drafting.FIXED else ()
    market = Market(
        acceptance=acceptance,
        step_time=step_time,
        drafting=sight.now.drafting,
        asked_k=seen_k,
        draft_length=evidence.mean_draft_length or float(k_max),
        persistence=persistence,
        prompt_per_token=sight.prompt_per_token,
        composition=composition(told_apart, seen_k, persistence),
    )
    return Known(seen, step_time, market, portions)


def _portions(present: Sequence[LearntWorkload], alone: Sequence[Acceptance]) -> tuple[Portion, ...]:
    total = sum(each.drafts for each in present)
    found = (
        Portion(each.name, each.drafts / total, acceptance) for each, acceptance in zip(present, alone, strict=True)
    )
    return tuple(sorted(found, key=lambda each: (-each.share, each.name)))


def blank(market: Market, sight: Sight) -> Market:
    """The market as it would be if nothing were known of acceptance."""
    nothing = (0.0,) * market.k_max
    acceptance = estimate(AcceptanceEvidence(nothing, nothing), sight.drafter)
    return replace(market, acceptance=acceptance, composition=())


def _seen_k(evidence: AcceptanceEvidence, sight: Sight, k_max: int) -> int:
    """The k at which the acceptance in memory was seen, which may not be the k of this window."""
    if sight.now.drafting is Drafting.FIXED:
        return min(k_max, max(1, round(evidence.mean_draft_length or k_max)))
    return min(k_max, max(1, round(sight.now.k))) if sight.now.k else k_max
