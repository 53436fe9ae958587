"""Every k priced from a few stated numbers: no server, no evidence, no bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.model.speedup import Floats, crossover_batch_of, saturation

COST_MAX: Final = 1e9
"""No draft takes so many target steps."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """A step at each k over the step at k=0: drafting + lambda(B) k, with the lambda of `saturation`.

    Attributes:
        drafting: For k = 0, 1, ...: 1 plus what drafting adds, verification apart; begins with 1.
        half_batch: As in `saturation`; None where verifying a draft is taken to cost nothing, or is in `drafting`.
    """

    drafting: tuple[float, ...]
    half_batch: float | None = None

    @staticmethod
    def of_ratio(c: float, k_max: int, overhead: float = 0.0, half_batch: float | None = None) -> "StepCost":
        """1 + overhead [k>0] + c k: the seed form, c = draft step / target step.

        >>> StepCost.of_ratio(0.1, 2, overhead=0.05).drafting
        (1.0, 1.15, 1.25)
        """
        if not (0 <= c <= COST_MAX and 0 <= overhead <= COST_MAX):
            raise ValueError(f"impossible cost: c {c:.4g}, overhead {overhead:.4g}")
        return StepCost(tuple(1.0 + (overhead + c * k) * (k > 0) for k in range(k_max + 1)), half_batch)

    @staticmethod
    def of_steps(step_seconds: Sequence[float], batch: float, half_batch: float | None = None) -> "StepCost":
        """From steps timed at one batch, k = 0, 1, ...; the verification in them is lambda(batch) k.

        Raises:
            ValueError: A step without length; or a half batch so small that verification alone would cost more.

        >>> StepCost.of_steps((0.010, 0.012), batch=8).drafting
        (1.0, 1.2)
        """
        seconds = np.asarray(step_seconds, float)
        if seconds.size == 0 or not np.all(seconds > 0):
            raise ValueError(f"impossible steps: {step_seconds} seconds")
        verified = _verified(batch, half_batch) * np.arange(seconds.size)
        drafting = seconds / seconds[0] - verified
        if np.any(drafting < 1 - 1e-9):
            k = int(np.argmin(drafting))
            raise ValueError(
                f"at half_batch {half_batch:g} verifying {k} drafts at batch {batch:g} costs {verified[k]:.2f} of a "
                f"step, but the step at k={k} was only {seconds[k] / seconds[0] - 1:.2f} longer: half_batch is larger"
            )
        return StepCost(tuple(np.maximum(1.0, drafting).tolist()), half_batch)

    def at(self, batch: float) -> Floats:
        """Relative cost at a batch, shape (k_max + 1,)."""
        verified = _verified(batch, self.half_batch) * np.arange(len(self.drafting))
        return np.asarray(np.asarray(self.drafting) + verified, float)


@dataclass(frozen=True, slots=True)
class PricedK:
    """One k.

    Attributes:
        k: Draft tokens per step.
        tokens_per_step: E(k).
        step_cost: Step at k / step at 0.
        speedup: E(k) / step_cost: throughput over that at k=0.
        draft_worth: Tokens that draft k adds: E(k) - E(k-1), its survival S_k; None at k=0.
        draft_price: Tokens that its time would have yielded: (cost(k) - cost(k-1)) speedup(k-1); None at k=0.
    """

    k: int
    tokens_per_step: float
    step_cost: float
    speedup: float
    draft_worth: float | None
    draft_price: float | None

    @property
    def pays(self) -> bool | None:
        """Whether draft k is worth more than its price; None at k=0."""
        if self.draft_worth is None or self.draft_price is None:
            return None
        return self.draft_worth > self.draft_price * (1 + 1e-12)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer.

    Attributes:
        batch: Decoding requests.
        rows: One for each k = 0..k_max.
        best_k: The k of the largest speedup; ties go to the smaller k.
        crossover_batch: The batch from which k=0 is best; infinite if never, None where cost does not depend on batch.
    """

    batch: float
    rows: tuple[PricedK, ...]
    best_k: int
    crossover_batch: float | None


def whatif(tokens_per_step: Sequence[float], cost: StepCost, batch: float = 1.0) -> WhatIf:
    """Price every k.

    Draft i pays while S_i > (cost(i) - cost(i-1)) speedup(i-1). An overhead for drafting at all is part of the first
    draft's price, so the first may lose where a few together win: the best k is the largest speedup, not the last
    draft before one that does not pay.

    Args:
        tokens_per_step: E(k) for k = 0..k_max; 1 to k + 1, the first is 1.
        cost: For the same k.
        batch: Decoding requests, 0 or more.

    Raises:
        ValueError: Lengths that differ, or tokens outside 1..k+1.

    >>> answer = whatif((1.0, 1.7, 2.19), StepCost.of_ratio(0.1, 2, half_batch=64), batch=16)
    >>> answer.best_k, round(answer.rows[1].speedup, 3), round(answer.crossover_batch, 1)
    (2, 1.308, 96.0)
    """
    tokens, costs = np.asarray(tokens_per_step, float), cost.at(batch)
    if tokens.shape != costs.shape:
        raise ValueError(f"tokens per step are given for {tokens.size} values of k, cost for {costs.size}")
    for k, value in enumerate(tokens):
        if not 1.0 - 1e-9 <= value <= k + 1.0 + 1e-9:  # NaN fails too
            raise ValueError(f"{value:g} tokens per step at k={k} are outside 1..{k + 1}, bonus token included")
    ratios = tokens / costs
    worth = np.diff(tokens)
    price = np.diff(costs) * ratios[:-1]
    rows = [PricedK(0, float(tokens[0]), float(costs[0]), float(ratios[0]), None, None)]
    rows += [
        PricedK(k, *map(float, (tokens[k], costs[k], ratios[k], worth[k - 1], price[k - 1])))
        for k in range(1, tokens.size)
    ]
    crossover = None
    if cost.half_batch is not None and tokens.size > 1:
        crossover = crossover_batch_of(tokens, cost.at)
    return WhatIf(batch, tuple(rows), _first_largest(ratios), crossover)


def best_k_by_batch(tokens_per_step: Sequence[float], cost: StepCost, batches: Sequence[float]) -> tuple[int, ...]:
    """The best k at each batch.

    >>> best_k_by_batch((1.0, 1.7, 2.19), StepCost.of_ratio(0.1, 2, half_batch=64), (1, 64, 128))
    (2, 1, 0)
    """
    tokens = np.asarray(tokens_per_step, float)
    return tuple(_first_largest(tokens / cost.at(batch)) for batch in batches)


def tokens_of_survival(survival: Sequence[float]) -> tuple[float, ...]:
    """E(k) = 1 + S_1 + ... + S_k for k = 0..len(survival).

    Args:
        survival: S_j = P(the first j drafts are all accepted): unconditional, as vLLM logs it by position.

    Raises:
        ValueError: Nothing given; a value outside 0..1; or one above its predecessor, which is no survival: j drafts
            are accepted only where j-1 were.

    >>> tokens_of_survival((0.5, 0.25))
    (1.0, 1.5, 1.75)
    """
    if not survival:
        raise ValueError("no acceptance is given: at least one position is needed")
    for position, value in enumerate(survival, 1):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"acceptance {value:g} at position {position} is outside 0..1")
        if position > 1 and value > survival[position - 2]:
            raise ValueError(
                f"acceptance rises from {survival[position - 2]:g} to {value:g} at position {position}, which the "
                "unconditional rate cannot: these may be conditional rates; multiply each by all before it"
            )
    return (1.0, *(1.0 + math.fsum(survival[:k]) for k in range(1, len(survival) + 1)))


def _verified(batch: float, half_batch: float | None) -> float:
    return 0.0 if half_batch is None else float(saturation(batch, half_batch))


def _first_largest(ratios: Floats) -> int:
    """A difference in the last digits is a tie, and goes to the smaller k."""
    return int(np.argmax(ratios >= ratios.max() * (1 - 1e-12)))
