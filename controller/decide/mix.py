"""The workloads of a mix, each as its owner wants to know it: its own best k, and what sharing a schedule costs it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.decide.decision import Bounded
from controller.decide.policy import margin_of
from controller.model.acceptance import Acceptance
from controller.model.composition import Portion
from controller.model.economics import Floats, Market


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


def answers(market: Market, portions: Sequence[Portion], batch: float, mix_k: float) -> tuple[WorkloadAnswer, ...]:
    """Each workload priced alone, at the step times of the mix; in the order of the portions.

    Args:
        market: What prices the mix.
        portions: The workloads.
        batch: The present load.
        mix_k: The k that the mix runs there.
    """
    if not portions:
        return ()
    # the engine tells whose drafts were verified, not who was asked for some: coverage is that of the mix
    gains = replace(market, composition=()).gains_alone([each.acceptance for each in portions], batch, mix_k)
    of_no_drafts = (each[:, 0].tolist() for each in (gains.gain, gains.gain_low, gains.gain_high))
    return tuple(map(_answer, portions, gains.log_gain, map(Bounded, *of_no_drafts)))


def _answer(portion: Portion, log_gain: Floats, of_no_drafts: Bounded) -> WorkloadAnswer:
    best = int(np.argmax(log_gain >= log_gain.max() - 1e-9))
    return WorkloadAnswer(
        name=portion.name,
        share=portion.share,
        acceptance=portion.acceptance,
        k_best=best,
        margin=margin_of(of_no_drafts),
        cost_of_mix=max(0.0, float(np.expm1(log_gain[best]))),
    )
