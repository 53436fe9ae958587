"""What the benchmark on a real server prints."""

import json
from typing import Any

from real_vllm_load import Load
from real_vllm_score import PhaseScore, Ratio, Score

FAILURES_SHOWN = 5


def document(found: Score, load: Load) -> str:
    """As JSON; throughputs in tokens per second, each ratio with its 95% interval."""
    return json.dumps(
        {
            "phases": [_phase(phase) for phase in found.phases],
            "vs_best_per_phase": found.vs_best_per_phase.value,
            "vs_best_per_phase_interval": _interval(found.vs_best_per_phase),
            "vs_best_fixed": found.vs_best_fixed.value,
            "vs_best_fixed_interval": _interval(found.vs_best_fixed),
            "best_fixed_k": found.best_fixed_k,
            "failed_requests": len(load.failed),
            "answered_requests": load.answered,
        },
        indent=2,
    )


def table(found: Score, load: Load) -> str:
    """For a person; a star marks the best fixed k of a phase."""
    ks = "".join(f"{f'k={k}':>7} " for k in found.phases[0].fixed)
    lines = [f"{'tokens per second':31}{'adaptive':>9}{ks}   {'against the best k':>20}{'settling':>10}"]
    for phase in found.phases:
        fixed = "".join(f"{value:7.0f}{'*' if k == phase.best_k else ' '}" for k, value in phase.fixed.items())
        lines.append(f"{phase.name:31}{phase.adaptive:9.0f}{fixed}   {_shown(phase.vs_best):>20}{phase.settling:10.2f}")
    sent = load.answered + len(load.failed)
    for name, value, target in (
        ("against the best fixed k of each phase", _shown(found.vs_best_per_phase), "at least 0.95"),
        (f"against k={found.best_fixed_k} throughout", _shown(found.vs_best_fixed), "the interval above 1"),
        ("failed requests", f"{len(load.failed)} of {sent}", "0"),
    ):
        lines.append(f"{name:40}{value:>20}   target: {target}")
    return "\n".join([*lines, *(f"  {failure}" for failure in load.failed[:FAILURES_SHOWN])])


def _phase(phase: PhaseScore) -> dict[str, Any]:
    return {
        "name": phase.name,
        "adaptive": phase.adaptive,
        "fixed": {str(k): value for k, value in phase.fixed.items()},
        "vs_best": phase.vs_best.value,
        "vs_best_interval": _interval(phase.vs_best),
        "settling": phase.settling,
    }


def _interval(ratio: Ratio) -> list[float]:
    return [ratio.low, ratio.high]


def _shown(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f} - {ratio.high:.2f})"
