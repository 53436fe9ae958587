"""The workloads of a mix, each as its owner wants to know it: its own best k, and what sharing a schedule costs it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.decide.decision import Bounded
from controller.decide.policy import margin_of
from controller.model.acceptance import Acceptance, estimate
from controller.model.drafter import Drafter
from controller.model.economics import Market
from controller.model.evidence import AcceptanceEvidence


@dataclass(frozen=True, slots=True)
class WorkloadAnswer:
    """One workload of the mix.

    Attributes:
        name: Of the workload.
        share: Its share of the verified drafts in memory.
        acceptance: By position.
        k_best: The k that would serve it best if it were alone, at the present load.
        margin: Its throughput at the mix's k over k=0, minus 1.
        cost_of_mix: Its throughput at its own best k over that at the mix's k, minus 1; 0 where they agree.
    """

    name: str
    share: float
    acceptance: Acceptance
    k_best: int
    margin: Bounded
    cost_of_mix: float


def answers(
    market: Market, drafter: Drafter, evidence: Sequence[tuple[str, AcceptanceEvidence]], batch: float, mix_k: float
) -> tuple[WorkloadAnswer, ...]:
    """Each workload priced alone, at the step times of the mix; the largest first.

    Args:
        market: What prices the mix.
        drafter: Priors of the method.
        evidence: By workload.
        batch: The present load.
        mix_k: The k that the mix runs there.
    """
    total = sum(each.drafts for _, each in evidence)
    found = (
        _answer(market, name, each.drafts / total, estimate(each, drafter), batch, mix_k)
        for name, each in evidence
        if each.drafts > 0
    )
    return tuple(sorted(found, key=lambda each: (-each.share, each.name)))


def _answer(
    market: Market, name: str, share: float, acceptance: Acceptance, batch: float, mix_k: float
) -> WorkloadAnswer:
    coverage = market.acceptance.coverage  # the engine tells whose drafts were verified, not who was asked for some
    prices = replace(market, acceptance=replace(acceptance, coverage=coverage)).prices([batch], mix_k)
    log_gain = prices.log_gain[0]
    best = int(np.argmax(log_gain >= log_gain.max() - 1e-9))
    return WorkloadAnswer(
        name=name,
        share=share,
        acceptance=acceptance,
        k_best=best,
        margin=margin_of(prices.scores(0)[0]),
        cost_of_mix=max(0.0, float(np.expm1(log_gain[best]))),
    )
