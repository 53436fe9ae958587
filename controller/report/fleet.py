"""Many servers in a terminal: one line each, the most to gain first, the totals, and what to run where it pays."""

import json
from typing import Final

from controller.cycle import Cycle, EngineCycle
from controller.decide.decision import Action, Bounded
from controller.report.document import speculative_config
from controller.report.row import name
from controller.report.stake import Stake, ranked, stake, totals
from controller.report.table import engine_text, merging

DETAILS_MAX: Final = 20
"""So many changes are told in full; the JSON document has them all."""
_NAME_MAX: Final = 36
_HEADER: Final = (
    f"{'server or group':{_NAME_MAX}} engines  batch  k now  best  tokens/s      to gain (90% bounds)   margin  answer"
)


def fleet_table(cycle: Cycle, method: str | None = None, *, explained: bool = False) -> str:
    """A cycle over many servers or groups; with `explained`, every change with where its numbers come from."""
    engines = ranked(cycle.engines)
    changes = [each for each in engines if each.failure is None and each.decision.action is not Action.HOLD]
    lines = [_HEADER, *map(_line, engines), "", *_totals(cycle)]
    use = ""
    for each in changes[:DETAILS_MAX]:
        if explained:
            lines += ["", engine_text(each, name(each), method, explained=True)]
        else:
            lines += ["", f"{name(each)}: {each.decision.sentence} [{each.decision.reason.value}]"]
            if config := speculative_config(each, method):
                lines.append(f"  --speculative-config '{json.dumps(config)}'")
                use = merging(config, many=True)
    lines += ["", use] if use else []
    if len(changes) > DETAILS_MAX:
        lines += ["", f"{len(changes) - DETAILS_MAX} more changes are in the JSON document (-o json)."]
    return "\n".join(lines)


def _line(engine: EngineCycle) -> str:
    decision, replicas = engine.decision, engine.replicas
    shown = name(engine)
    shown = shown if len(shown) <= _NAME_MAX else f"...{shown[3 - _NAME_MAX :]}"
    counts = f"{replicas.counted}/{replicas.known}" if replicas else "1"
    at = stake(engine) if engine.failure is None else None
    if at is None or not decision.scores:
        why = engine.failure.reason if engine.failure else decision.reason
        rate = f"{at.tokens_per_second:8,.0f}" if at else f"{'-':>8}"
        return (
            f"{shown:{_NAME_MAX}} {counts:>7}  {'-':>5}  {'-':>5}  {'-':>4}  {rate}  {'-':>24}  {'-':>7}  {why.value}"
        )
    margin = f"{decision.margin.value:+7.1%}" if decision.margin else f"{'-':>7}"
    k_now = "?" if decision.k_now is None else f"{decision.k_now:.3g}"
    answer = "hold" if decision.action is Action.HOLD else f"run k={decision.k}"
    return (
        f"{shown:{_NAME_MAX}} {counts:>7}  {decision.batch or 0:5.1f}  {k_now:>5}  {decision.k_best!s:>4}  "
        f"{at.tokens_per_second:8,.0f}  {_gain(at):>24}  {margin}  {answer}  {decision.reason.value}"
    )


def _gain(at: Stake) -> str:
    gain = at.to_gain
    return "0" if gain.value <= 0 else f"{gain.value:+,.0f} {_range(gain)}"


def _range(bounds: Bounded) -> str:
    return f"({bounds.low:+,.0f} to {bounds.high:+,.0f})"


def _totals(cycle: Cycle) -> list[str]:
    all_of = totals(cycle.engines)
    unknown = len(cycle.engines) - all_of.rows
    lines = [
        f"{all_of.rows} rows, {all_of.engines} engines, {all_of.tokens_per_second:,.0f} tokens/s decoded"
        + (f"; {unknown} rows without a window" if unknown else "")
    ]
    if all_of.losing:
        lines.append(
            f"{all_of.losing} with a negative margin: k=0 would bring {all_of.lost.value:+,.0f} tokens/s "
            f"{_range(all_of.lost)} there"
        )
    if all_of.changes:
        lines.append(
            f"{all_of.changes} changes recommended: {all_of.to_gain.value:+,.0f} tokens/s {_range(all_of.to_gain)}"
        )
    else:
        lines.append("no change recommended")
    if all_of.uncertain >= 0.5:
        lines.append(f"{all_of.uncertain:+,.0f} tokens/s more look possible, but are not certain enough")
    return lines
