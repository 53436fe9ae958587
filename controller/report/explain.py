"""Where each number comes from: observed, extrapolated, measured, modelled, or a prior."""

import math
from collections.abc import Mapping
from typing import Final

from controller.cycle import EngineCycle
from controller.model.economics import Score
from controller.model.step_time import Parameter, StepTime

_Z90: Final = 1.6448536269514722
"""Normal quantile of two-sided 90% bounds."""
_SAME_DRAFTS: Final = 0.5
_SAME_BATCH: Final = 1.5
NAMES: Final = {
    "fixed_seconds": "fixed part of a step, ms",
    "saturation_tokens": "tokens at which a step saturates",
    "corner": "sharpness of that corner",
    "draft_weight": "weight of a draft token in verification",
    "overhead": "overhead of drafting, share of a step",
    "per_draft": "cost of one draft, share of a step",
    "kv_per_request": "KV cache per request, share of a step",
    "rejection_per_request": "rejecting drafts, per request, share of a step",
    "cliff": "cliff beyond the capture limit, share of a step",
}


def explain(engine: EngineCycle) -> list[str]:
    """The origin of every number of one engine, line by line; empty where nothing was judged."""
    if engine.acceptance is None or engine.step_time is None or not engine.decision.scores:
        return []
    drafts, loads = engine.acceptance.evidence_drafts, len(engine.step_time.table.cells)
    return [
        "where the numbers come from",
        *(_score(score) for score in engine.decision.scores),
        f"  acceptance rests on {drafts:,.0f} drafts, step times on {loads} measured loads:",
        *parameters(engine.step_time),
    ]


def parameters(step_time: StepTime) -> list[str]:
    """The curve's parameters with 90% bounds, each with its origin."""
    found = step_time.parameters()
    lines = [_parameter(name, found[name]) for name in NAMES]
    return [
        *lines,
        *_never_varied(step_time),
        f"  the drafter, implied: {_milliseconds(*drafter_seconds(found))} for each draft token",
    ]


def _never_varied(step_time: StepTime) -> list[str]:
    """What could not be told from the measured loads, however many windows there were."""
    drafts = [cell.drafts for cell in step_time.table.cells]
    batches = [cell.batch for cell in step_time.table.cells]
    found = []
    if max(drafts) - min(drafts) < _SAME_DRAFTS:
        priors = f"{step_time.drafter.name} and {step_time.target.name}"
        found.append(f"  k never varied, so the cost of a draft rests on the priors for {priors}")
    if max(batches) < _SAME_BATCH * min(batches):
        found.append(f"  the load hardly varied, so saturation rests on the prior for {step_time.target.name}")
    return found


def drafter_seconds(found: Mapping[str, Parameter]) -> tuple[float, float, float]:
    """What one more draft token takes of the drafter, in seconds: value and 90% bounds."""
    value = found["fixed_seconds"].median * found["per_draft"].median
    spread = math.exp(_Z90 * found["per_draft"].spread)
    return value, value / spread, value * spread


def step_origin(score: Score) -> str:
    """Where a score's step time comes from."""
    return "measured" if score.step_measured else "modelled"


def tokens_origin(score: Score) -> str:
    """Where a score's tokens per step come from."""
    return "observed" if score.tokens_observed else "extrapolated"


def _score(score: Score) -> str:
    return f"  k={score.k:<3} tokens per step {tokens_origin(score)}, step time {step_origin(score)}"


def _parameter(name: str, found: Parameter) -> str:
    scale = 1e3 if name == "fixed_seconds" else 1.0
    spread = math.exp(_Z90 * found.spread)
    value, low, high = (scale * each for each in (found.median, found.median / spread, found.median * spread))
    origin = "measured" if found.identified else "prior"
    return f"  {NAMES[name]:48} {value:8.3g} ({low:.3g} to {high:.3g})  {origin}"


def _milliseconds(value: float, low: float, high: float) -> str:
    return f"{1e3 * value:.3g} ms ({1e3 * low:.3g} to {1e3 * high:.3g})"
