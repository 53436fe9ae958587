"""The backtest for people: what following the loop would have brought, by workload and hour, and what would change."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from controller.backtest.outcome import Backtest, Change, Outcome, Span, Untold, Yield, together
from controller.clock import utc_text
from controller.decide.decision import Bounded
from controller.plain import plain

DETAILED: Final = 5
"""Workloads that are shown in full, those with the largest gain."""
HOURS_SHOWN: Final = 48
"""A longer history is shown by the hour of the day, over all days."""
CHANGES_SHOWN: Final = 12
MODELLED: Final = 0.5
"""Below this share of measured prices a gain is called modelled."""
ALL_MEASURED: Final = 0.995


def table(found: Backtest) -> str:
    """All of it, or as much as a person reads; `-o json` has the rest."""
    parts = ["\n".join(_head(found))]
    if found.outcomes:
        parts.append("\n".join(_summary(found)))
    parts += ["\n".join(_workload(each, found)) for each in found.outcomes[:DETAILED] if each.hours]
    left = sum(1 for each in found.outcomes[DETAILED:] if each.hours)
    if left:
        parts.append(f"{left} more in full: -o json.")
    return "\n\n".join(parts)


def name(outcome: Outcome) -> str:
    """A workload in words."""
    model, engine, labels = outcome.key
    more = [f"{key}={value}" for key, value in labels] + ([f"engine {engine}"] if engine else [])
    return plain(f"{model} ({', '.join(more)})" if more else model, 120)


def _head(found: Backtest) -> list[str]:
    end = "" if found.failure is None else " (not to the end: see above)"
    since, until = utc_text(found.since_unix_seconds), utc_text(found.reached_unix_seconds)
    asked = f"{found.queries:,} queries, {found.size_bytes / 1e6:,.1f} MB"
    return [
        f"From {since} to {until}{end}, a pass every {found.step_seconds:g} s.",
        f"{found.engine_hours:,.1f} engine hours, {found.passes:,} decisions; {asked}.",
        "Tokens that ran are measured; gains are against them, in the same busy time, with 90% bounds.",
    ]


def _summary(found: Backtest) -> list[str]:
    shown = [(name(each), each) for each in found.outcomes]
    width = max(8, *(len(text) for text, _ in shown), len("all"))
    lines = [
        f"{'workload':{width}}  {'tokens/s':>10}  k ran  {'loop followed':28}  {'best fixed k':33}  no speculation"
    ]
    lines += [_row(text, each, found, width) for text, each in shown]
    some = [each for each in found.outcomes if each.hours]
    if len(some) > 1:
        lines.append(_all(some, found, width))
    return lines


def _row(text: str, outcome: Outcome, found: Backtest, width: int) -> str:
    if not outcome.hours:
        reason = outcome.reasons[0][0].value if outcome.reasons else "never seen"
        return f"{text:{width}}  nothing to decide: {reason}"
    total = outcome.total
    best = total.best_fixed_k
    if best is None or total.fixed is None:
        reason = outcome.reasons[0][0].value
        return f"{text:{width}}  {_rate(total, found):>10}  nothing could be priced: {reason}"
    return (
        f"{text:{width}}  {_rate(total, found):>10}  {_number(total.k_ran):>5}  {_gain(total.would, total):28}  "
        f"{f'k={best}  {_gain(total.fixed[best], total)}':33}  {_gain(total.fixed[0], total):28}"
    ).rstrip()


def _all(outcomes: Sequence[Outcome], found: Backtest, width: int) -> str:
    """All workloads together, each with its own best fixed k; one that could not be priced counts as it ran."""
    totals = [each.total for each in outcomes]
    ran = sum(each.tokens for each in totals)
    would, best, off = Yield(), Yield(), Yield()
    for each in totals:
        as_ran = Yield(Bounded(each.tokens, each.tokens, each.tokens))
        k = each.best_fixed_k
        would += each.would
        best += as_ran if each.fixed is None or k is None else each.fixed[k]
        off += as_ran if each.fixed is None else each.fixed[0]
    everything = Span(0.0, tokens=ran)
    return (
        f"{'all':{width}}  {_rate(everything, found):>10}  {'':5}  {_gain(would, everything):28}  "
        f"{f'each its own  {_gain(best, everything)}':33}  {_gain(off, everything):28}"
    ).rstrip()


def _workload(outcome: Outcome, found: Backtest) -> list[str]:
    title = name(outcome)
    lines = [title, "=" * len(title)]
    total = outcome.total
    if total.fixed is not None:
        lines += _contenders(outcome, found)
        lines += ["", *_hours(outcome.hours)]
        lines += ["", *_changes(outcome.changes)]
    why = ", ".join(f"{reason.value} {count:,}" for reason, count in outcome.reasons)
    lines += ["", f"passes   {why}"]
    if outcome.left_out:
        left = ", ".join(f"{reason.value} {count:,}" for reason, count in outcome.left_out)
        lines.append(f"not used (windows of single engines) {left}")
    return lines + ([f"untold   {text}" for text in untold(outcome.untold)] if outcome.untold else [])


def _contenders(outcome: Outcome, found: Backtest) -> list[str]:
    total = outcome.total
    assert total.fixed is not None
    count = len(outcome.changes)
    ran = f"ran, k {_number(total.k_ran)} at a batch of {_number(total.batch)}"
    rows = [
        f"{'contender':34}{'tokens/s':>10}   {'against what ran':30}from",
        f"{ran:34}{_rate(total, found):>10}   {'':30}measured",
        _contender(f"loop followed, {count} change{'s' * (count != 1)}", total.would, total, found),
    ]
    for k, made in enumerate(total.fixed):
        best = " (best, in hindsight)" if k == total.best_fixed_k else ""
        rows.append(_contender(f"k={k}{best}{', no speculation' * (k == 0)}", made, total, found))
    return rows


def _contender(text: str, made: Yield, total: Span, found: Backtest) -> str:
    rate = _per_second(made.tokens.value, found)
    return f"{text:34}{rate:>10}   {_gain(made, total):30}{origin(made)}"


def origin(made: Yield) -> str:
    """Where a gain comes from.

    >>> origin(Yield(Bounded(100.0, 90.0, 110.0), measured_tokens=25.0))
    'modelled (25% measured)'
    """
    share = made.measured_share
    if share >= ALL_MEASURED:
        return "measured"
    word = "modelled" if share < MODELLED else "mostly measured"
    return word if round(share, 2) == 0 else f"{word} ({share:.0%} measured)"


def _hours(hours: Sequence[Span]) -> list[str]:
    by_day = len(hours) > HOURS_SHOWN
    title = "hour of day, UTC" if by_day else "hour, UTC"
    rows = [f"{title:18}{'tokens':>14}  {'batch':>6}  {'k ran':>5}  {'k followed':>10}  {'k best':>6}   gain followed"]
    spans = _by_hour_of_day(hours) if by_day else [(_hour_text(each), each) for each in hours]
    for text, span in spans:
        gain = _gain(span.would, span) if span.busy_windows else "nothing to decide"
        rows.append(
            f"{text:18}{span.tokens:>14,.0f}  {_number(span.batch):>6}  {_number(span.k_ran):>5}  "
            f"{_number(span.k_would):>10}  {_number(span.k_best):>6}   {gain}"
        )
    return rows


def _by_hour_of_day(hours: Iterable[Span]) -> list[tuple[str, Span]]:
    by_hour: dict[int, list[Span]] = defaultdict(list)
    for each in hours:
        by_hour[int(each.start_unix_seconds // 3600 % 24)].append(each)
    return [(f"{hour:02}:00", together(by_hour[hour])) for hour in sorted(by_hour)]


def _hour_text(span: Span) -> str:
    return datetime.fromtimestamp(span.start_unix_seconds, tz=UTC).strftime("%Y-%m-%d %H:00")


def _changes(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return ["Nothing would have been changed."]
    lines = [_change(each) for each in changes[:CHANGES_SHOWN]]
    left = len(changes) - CHANGES_SHOWN
    return [*lines, f"... and {left} more: -o json"] if left > 0 else lines


def _change(change: Change) -> str:
    to = "what ran" if change.gain is None else f"k={_number(change.k_to)}"
    at, reason = utc_text(change.at_unix_seconds), change.reason.value
    return f"{at}  k={_number(change.k_from)} -> {to}  {reason}: {change.sentence}"


def untold(found: Untold) -> list[str]:
    """What no length of history would tell, as sentences.

    >>> untold(Untold(k_max=5, positions_seen=3, ks_never_run=(0, 4, 5)))[0]
    'drafts beyond position 3 were never made: acceptance there is extrapolated, which k=4 and above rest on.'
    """
    lines = []
    if found.positions_seen < found.k_max:
        lines.append(
            f"drafts beyond position {found.positions_seen} were never made: acceptance there is extrapolated, which "
            f"k={found.positions_seen + 1} and above rest on."
        )
    if found.ks_never_run:
        ks = ", ".join(map(str, found.ks_never_run))
        lines.append(f"k={ks} never ran at these loads: their step times are modelled, and their bounds say how well.")
    return lines


def _gain(made: Yield, span: Span) -> str:
    gain = made.against(span.tokens)
    if gain is not None and gain.low == gain.high == 0.0:
        return "as it ran"
    return "-" if gain is None else f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})"


def _rate(span: Span, found: Backtest) -> str:
    return _per_second(span.tokens, found)


def _per_second(tokens: float, found: Backtest) -> str:
    """Over the whole time in which any server was seen."""
    return f"{tokens / found.seconds:,.0f}" if found.seconds > 0 else "-"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"
