"""What one window teaches: counts of drafts by position, by workload, and step times."""

from dataclasses import dataclass, replace
from typing import Final

from controller.memory import Learnt
from controller.model.acceptance import Acceptance, estimate
from controller.model.drafter import Drafting
from controller.model.economics import Market
from controller.model.evidence import AcceptanceEvidence, counts_of, exact_counts_of, observed
from controller.model.step_table import StepTable
from controller.model.step_time import StepTime, fit
from controller.sight import Sight

WORKLOADS_KEPT: Final = 128
"""Those seen last: twice the slots of the plugin, and clients choose the names."""


def learn(known: Learnt, sight: Sight) -> Learnt:
    """What is known after one more window. The plugin's counts are taken where there are any, being exact."""
    window, measured, drafting = sight.window, sight.measured, sight.now.drafting
    if measured is None:
        evidence = observed(known.evidence, counts_of(window, drafting, sight.now.k))
        table = known.table.with_window(window)
    else:
        k_max, decoded = window.k_max or 0, window.request_steps
        counts = exact_counts_of(measured.workloads, measured.steps, drafting, k_max, decoded)
        evidence = observed(known.evidence, counts)
        per_workload = dict(known.workloads)
        for each in measured.workloads:
            fresh = exact_counts_of((each,), measured.steps, drafting, k_max, decoded)
            per_workload[each.name] = observed(per_workload.pop(each.name, None), fresh)
        known = replace(known, workloads=tuple(per_workload.items())[-WORKLOADS_KEPT:])
        table = _with_steps(known.table, sight, counts) if measured.steps else known.table.with_window(window)
    if window.drafts <= 0 and window.request_steps > 0:
        evidence = evidence.aged()
        known = replace(known, workloads=tuple((name, each.aged()) for name, each in known.workloads))
    return replace(known, k_max=window.k_max, evidence=evidence, table=table)


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
    """

    acceptance_seen: Acceptance | None
    step_time: StepTime | None
    market: Market | None

    @staticmethod
    def of(learnt: Learnt, sight: Sight, capture_limit_tokens: float) -> "Known":
        """What can be said from what was learnt."""
        evidence, drafter = learnt.evidence, sight.drafter
        step_time = fit(learnt.table, drafter, capture_limit_tokens)
        if evidence is None or not evidence.at_risk:
            return Known(None, step_time, None)
        acceptance = estimate(evidence, drafter)
        k_max = len(acceptance.survival)
        if step_time is None:
            return Known(acceptance if evidence.drafts > 0 else None, None, None)
        market = Market(
            acceptance=acceptance,
            step_time=step_time,
            drafting=sight.now.drafting,
            asked_k=_seen_k(evidence, sight, k_max),
            draft_length=evidence.mean_draft_length or float(k_max),
            persistence=drafter.persistence,
            prompt_per_token=sight.prompt_per_token,
        )
        return Known(acceptance if evidence.drafts > 0 else None, step_time, market)


def blank(market: Market, sight: Sight) -> Market:
    """The market as it would be if nothing were known of acceptance."""
    nothing = (0.0,) * market.k_max
    return replace(market, acceptance=estimate(AcceptanceEvidence(nothing, nothing), sight.drafter))


def _seen_k(evidence: AcceptanceEvidence, sight: Sight, k_max: int) -> int:
    """The k at which the acceptance in memory was seen, which may not be the k of this window."""
    if sight.now.drafting is Drafting.FIXED:
        return min(k_max, max(1, round(evidence.mean_draft_length or k_max)))
    return min(k_max, max(1, round(sight.now.k))) if sight.now.k else k_max
