"""The answer of `controller whatif`: what was assumed, every k, the best one, and where speculation ends."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from controller.model.draft_model import seconds_per_token
from controller.model.whatif import PricedK, StepCost, WhatIf, whatif

VERSION: Final = 1
"""Raised when a key changes its meaning or disappears; new keys do not raise it."""


@dataclass(frozen=True, slots=True)
class Implied:
    """What an observed time per token says of the cost of a draft.

    Attributes:
        cost: With the draft time that the observation implies.
        draft_ms: That draft time.
        observed_ms: The observation, at the question's `k_now`.
        alone_ms: The drafter's own time where it is known.
    """

    cost: StepCost
    draft_ms: float
    observed_ms: float
    alone_ms: float | None


@dataclass(frozen=True, slots=True)
class Question:
    """Everything assumed.

    Attributes:
        tokens_per_step: E(k) for k = 0..k_max.
        acceptance_words: Where it comes from.
        cost: Relative cost of a step, for the same k.
        cost_words: Where it comes from.
        batch: Decoding requests.
        target_ms: A step without drafts at this batch; None where only ratios are known.
        k_now: The k in force.
        implied: What an observation says; None without one.
    """

    tokens_per_step: tuple[float, ...]
    acceptance_words: str
    cost: StepCost
    cost_words: str
    batch: float
    target_ms: float | None = None
    k_now: int | None = None
    implied: Implied | None = None

    @property
    def answer(self) -> WhatIf:
        """Every k at the stated cost."""
        return whatif(self.tokens_per_step, self.cost, self.batch)

    @property
    def current(self) -> WhatIf | None:
        """Every k at the implied cost; None without an observation."""
        return whatif(self.tokens_per_step, self.implied.cost, self.batch) if self.implied else None


def token_ms(target_ms: float, answer: WhatIf) -> tuple[float, ...]:
    """Time per output token by k: the step at k / E(k)."""
    return tuple(
        float(seconds_per_token(target_ms * row.step_cost, 0.0, row.tokens_per_step, row.k)) for row in answer.rows
    )


def whatif_document(question: Question) -> dict[str, Any]:
    """As plain values, ready for JSON; what is not known is null."""
    answer, current = question.answer, question.current
    return {
        "schema": VERSION,
        "acceptance": question.acceptance_words,
        "cost": question.cost_words,
        "batch": question.batch,
        "k": question.k_now,
        **_priced(question, answer),
        "current": None if current is None else _priced(question, current),
        "implied_draft_ms": question.implied.draft_ms if question.implied else None,
        "implied_slowdown_ratio": _slowdown(question.implied),
    }


def whatif_text(question: Question) -> str:
    """As people read it."""
    answer = question.answer
    best = answer.rows[answer.best_k]
    lines = [f"accepted  {question.acceptance_words}", f"cost      {question.cost_words}"]
    if question.cost.half_batch is not None:
        lines.append(f"batch     {question.batch:.4g}, half batch {question.cost.half_batch:.4g}")
    if question.implied is not None:
        lines.append(f"observed  {_observation(question, question.implied)}")
    lines.append(f"answer    {_answer(best)}")
    if answer.crossover_batch is not None:
        lines.append(f"crossover {_crossover(answer.crossover_batch)}")
    return "\n".join([*lines, "", *_table(question), "", *_legend(question)])


def _priced(question: Question, answer: WhatIf) -> dict[str, Any]:
    times = None if question.target_ms is None else token_ms(question.target_ms, answer)
    crossover = answer.crossover_batch
    return {
        "best_k": answer.best_k,
        # null where cost does not depend on batch, and where no batch ends it: JSON has no infinity
        "crossover_batch": None if crossover is None or math.isinf(crossover) else crossover,
        "pays_at_any_batch": None if crossover is None else math.isinf(crossover),
        "rows": [
            asdict(row) | {"draft_pays": row.pays, "tpot_ms": None if times is None else times[row.k]}
            for row in answer.rows
        ],
    }


def _slowdown(implied: Implied | None) -> float | None:
    return None if implied is None or implied.alone_ms is None else implied.draft_ms / implied.alone_ms


def _observation(question: Question, implied: Implied) -> str:
    words = f"{implied.observed_ms:.4g} ms a token at k={question.k_now}: a draft costs {implied.draft_ms:.3g} ms"
    if (slowdown := _slowdown(implied)) is not None:
        words += f", {abs(slowdown - 1):.0%} {'more' if slowdown > 1 else 'less'} than the drafter alone"
    current = question.current
    assert current is not None
    return f"{words}; at that cost the best k is {current.best_k}"


def _answer(best: PricedK) -> str:
    if best.k == 0:
        return "k=0: no draft is worth its time"
    return f"k={best.k}, {best.speedup:.2f} times the throughput of k=0"


def _crossover(batch: float) -> str:
    if batch == 0:
        return "none: k=0 is best at every batch"
    return "none: drafting pays at any batch" if math.isinf(batch) else f"k=0 is best from a batch of {batch:.3g}"


def _table(question: Question) -> list[str]:
    answer, current = question.answer, question.current
    columns: list[tuple[str, list[str]]] = [
        ("k", [str(row.k) for row in answer.rows]),
        ("tokens/step", [f"{row.tokens_per_step:.2f}" for row in answer.rows]),
        ("step cost", [f"{row.step_cost:.3f}" for row in answer.rows]),
        ("speedup", [f"{row.speedup:.3f}" for row in answer.rows]),
    ]
    if question.target_ms is not None:
        columns.append(("ms/token", [f"{each:.2f}" for each in token_ms(question.target_ms, answer)]))
        if current is not None:
            columns.append(("observed cost", [f"{each:.2f}" for each in token_ms(question.target_ms, current)]))
    columns.append(("draft adds", [_cell(row.draft_worth) for row in answer.rows]))
    columns.append(("its price", [_cell(row.draft_price) for row in answer.rows]))
    widths = [max(map(len, [name, *cells])) for name, cells in columns]
    header = "   ".join(name.rjust(width) for (name, _), width in zip(columns, widths, strict=True))
    rows = [
        "   ".join(cells[k].rjust(width) for (_, cells), width in zip(columns, widths, strict=True))
        + f"   {_mark(question, answer, current, k)}"
        for k in range(len(answer.rows))
    ]
    return [f"    {line}".rstrip() for line in (header, *rows)]


def _mark(question: Question, answer: WhatIf, current: WhatIf | None, k: int) -> str:
    marks = ["now"] * (question.k_now == k)
    if answer.best_k == k:
        marks.append("<- best")
    if current is not None and current.best_k == k:
        marks.append("<- best at the observed cost")
    return " ".join(marks)


def _legend(question: Question) -> list[str]:
    lines = [
        "A draft pays while the tokens that it adds exceed its price: the tokens that the same time yields without it."
    ]
    if question.implied is not None:
        lines.append("'observed cost' is ms/token with the draft time that the observed TPOT implies.")
    if question.cost.half_batch is None:
        lines.append("Without --half-batch the answer holds only for the batch at which the cost was measured.")
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
