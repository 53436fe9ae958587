"""A batch of several workloads: at another k the faster ones leave sooner, so that the steps belong to others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.model.acceptance import Acceptance
from controller.model.other_k import renewal


@dataclass(frozen=True, slots=True)
class Portion:
    """One workload of a mix.

    Attributes:
        name: Of the workload.
        share: Its share of the request-steps that drafted, in recent windows; those of all portions add up to 1.
        acceptance: By position, of its drafts alone.
    """

    name: str
    share: float
    acceptance: Acceptance


def composition(portions: Sequence[Portion], seen_k: int, persistence: float) -> tuple[float, ...]:
    """By k from 0: the mix's tokens per step, over what they would be with the shares of steps as they were seen.

    Clients want so many tokens of each workload, whatever k is. With E_w(k) the tokens per step of workload w and s_w
    its share of the steps at `seen_k`, its share of the tokens is T_w ~ s_w E_w(seen_k), and at another k all yield

        E(k) = sum T_w / sum(T_w / E_w(k))      rather than      sum s_w E_w(k)

    Fewer drafts slow the easy workload most, which therefore fills more of the batch, and keep more of E than the steps
    of before would say; more drafts bring less. 1 at `seen_k`, and where there are not several workloads.

    Args:
        portions: The workloads; of a method that always drafts k, since only there the engine tells whose steps they
            were.
        seen_k: The k at which the shares and the survivals were seen.
        persistence: See `Drafter`.

    Returns:
        The factor by k; empty where there are not several workloads.
    """
    if len(portions) < 2:
        return ()
    shares = np.array([each.share for each in portions])
    survival = np.array([each.acceptance.survival for each in portions])
    ks = np.arange(survival.shape[1] + 1)
    first = renewal(survival, seen_k, ks, persistence)
    kept = np.concatenate([np.zeros((len(portions), 1)), np.cumsum(survival, axis=1)], axis=1)
    tokens = 1 + first * kept
    wanted = shares * tokens[:, seen_k]
    factor = wanted.sum() / (wanted[:, None] / tokens).sum(axis=0) / (shares @ tokens)
    return tuple(factor.tolist())
