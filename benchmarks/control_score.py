"""What the runs of one scenario amount to."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, mode, stdev
from typing import Final

from control_play import CONTROLLER, EMA, ORACLE, TABLE, WITHOUT, Look, Played, Sample, fixed

from controller.simulator.schedule import Schedule
from controller.simulator.trace import Trace

WARM_UP_SECONDS: Final = 300.0
WINDOW_SECONDS: Final = 600.0
STRIDE_SECONDS: Final = 60.0
REQUESTS_OF_A_WINDOW: Final = 20
"""A window in which fewer requests finished says nothing about their TPOT."""
SETTLED_LOOKS: Final = 3
"""k has followed when so many looks in a row are within one of the oracle's."""
LEAD_WORTH_KEEPING: Final = 0.03

Speed = Callable[[Sample, Sample], float]


def tokens_per_busy_second(start: Sample, end: Sample) -> float:
    """Of a server that is never without work, where a better k makes more tokens."""
    seconds = end.busy_seconds - start.busy_seconds
    return (end.tokens - start.tokens) / seconds if seconds > 0 else math.nan


def tokens_per_request_second(start: Sample, end: Sample) -> float:
    """1 / mean TPOT of the requests that finished: where they arrive anyway, a better k serves each one faster."""
    requests, seconds = end.requests - start.requests, end.request_tpot_seconds - start.request_tpot_seconds
    return requests / seconds if seconds > 0 and requests >= REQUESTS_OF_A_WINDOW else math.nan


def speed_of(trace: Trace) -> Speed:
    """The score of a trace, higher is better."""
    return tokens_per_request_second if trace.open_loop else tokens_per_busy_second


def best_table(fixed_runs: Iterable[Played], max_num_seqs: int) -> Schedule:
    """The static schedule that hindsight picks: for each class of batches the k that made most tokens a second there.

    Batches of 1 to 16 are classes of their own, then four classes to a doubling; one that no run saw takes the k of the
    class below it.
    """
    made: dict[int, dict[int, tuple[float, float]]] = defaultdict(dict)
    for run in fixed_runs:
        for (batch, k), (tokens, seconds) in run.cells.items():
            if batch:
                total = made[_class(batch)].get(k, (0.0, 0.0))
                made[_class(batch)][k] = (total[0] + tokens, total[1] + seconds)
    enough = {batches: _long_enough(by_k) for batches, by_k in made.items()}
    best = {batches: max(by_k, key=lambda k: by_k[k][0] / by_k[k][1]) for batches, by_k in enough.items()}
    k = best[min(best)]
    ranges: list[tuple[int, int, int]] = []
    for batch in range(1, max_num_seqs + 1):
        k = best.get(_class(batch), k)
        if ranges and ranges[-1][2] == k:
            ranges[-1] = (ranges[-1][0], batch, k)
        else:
            ranges.append((batch, batch, k))
    return tuple(ranges)


def _class(batch: int) -> int:
    return batch if batch <= 16 else 16 + round(4 * math.log2(batch / 16))


def _long_enough(by_k: Mapping[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """The ks that ran for a tenth as long as the longest: the rest met this batch by accident."""
    longest = max(seconds for _, seconds in by_k.values())
    return {k: total for k, total in by_k.items() if total[1] >= longest / 10}


@dataclass(frozen=True)
class Row:
    """One scenario with one seed; ratios of speeds, None where there is nothing to tell or the other was not played."""

    best_fixed_k: int
    regret: float
    vs_best_fixed: float
    vs_ema: float
    vs_table: float | None
    vs_without_speculation: float | None
    oracle_vs_best_fixed: float
    oracle_vs_ema: float
    oracle_vs_best_rival: float
    windows_vs_off: tuple[float, ...]
    changes_per_hour: float
    probes_per_hour: float
    windows_to_follow: int | None


def row(runs: Mapping[str, Played]) -> Row:
    """Compare the runs of one scenario with one seed."""
    ours = runs[CONTROLLER]
    trace = ours.task.trace
    speed = speed_of(trace)
    scores = {name: speed(run.samples[0], run.samples[-1]) for name, run in runs.items()}
    by_k = {k: scores[fixed(k)] for k in range(trace.scenario.k_max + 1) if fixed(k) in scores}
    best_fixed = max(by_k.values())
    table = max(scores[TABLE], best_fixed) if TABLE in scores else None  # one k is a table too
    oracle = scores[ORACLE]
    hours = trace.seconds / 3600
    return Row(
        best_fixed_k=max(by_k, key=lambda k: by_k[k]),
        regret=1 - scores[CONTROLLER] / oracle,
        vs_best_fixed=scores[CONTROLLER] / best_fixed,
        vs_ema=scores[CONTROLLER] / scores[EMA],
        vs_table=None if table is None else scores[CONTROLLER] / table,
        vs_without_speculation=scores[CONTROLLER] / scores[WITHOUT] if WITHOUT in scores else None,
        oracle_vs_best_fixed=oracle / best_fixed,
        oracle_vs_ema=oracle / scores[EMA],
        oracle_vs_best_rival=oracle / max(table or best_fixed, scores[EMA], scores[CONTROLLER]),
        windows_vs_off=windows_vs_off(ours.samples, runs[fixed(0)].samples, speed),
        changes_per_hour=ours.changes / hours,
        probes_per_hour=ours.probes / hours,
        windows_to_follow=None if trace.switch_seconds is None else windows_to_follow(ours.looks),
    )


def windows_vs_off(ours: Sequence[Sample], off: Sequence[Sample], speed: Speed) -> tuple[float, ...]:
    """Ratio of speeds in each window of ten minutes, one a minute, after the warm-up; NaN where nothing was done."""
    return tuple(
        speed(ours[start], ours[end]) / speed(off[start], off[end])
        for start, end in _windows([sample.at_seconds for sample in ours])
    )


def worst_window(windows: Iterable[Sequence[float]]) -> float | None:
    """The least of all windows, each averaged over the seeds that tell of it: what chance does once is not a loss."""
    means = [fmean(told) for each in zip(*windows, strict=True) if (told := [r for r in each if not math.isnan(r)])]
    return min(means, default=None)


def _windows(times: Sequence[float]) -> Iterable[tuple[int, int]]:
    index = {time: i for i, time in enumerate(times)}
    start = WARM_UP_SECONDS
    while start + WINDOW_SECONDS <= times[-1]:
        yield index[start], index[start + WINDOW_SECONDS]
        start += STRIDE_SECONDS


def windows_to_follow(looks: Sequence[Look]) -> int:
    """Passes until k is within one of the oracle's and stays so; all of them if it never is."""
    near = [abs(look.k - look.best_k) <= 1 for look in looks]
    for i in range(len(near) - SETTLED_LOOKS + 1):
        if all(near[i : i + SETTLED_LOOKS]):
            return i + 1
    return len(near)


@dataclass(frozen=True)
class Summary:
    """One scenario over all seeds: means, the worst windows, and the slowest following."""

    name: str
    steady: bool
    best_fixed_k: int
    regret: float
    vs_best_fixed: float
    vs_ema: float
    vs_ema_error: float
    vs_table: float | None
    vs_without_speculation: float | None
    oracle_vs_best_fixed: float
    oracle_vs_ema: float
    oracle_vs_best_rival: float
    lead_kept: float | None
    worst_window_vs_off: float | None
    worst_window_of_any_seed: float | None
    changes_per_hour: float
    probes_per_hour: float
    windows_to_follow: int | None


def summary(trace: Trace, rows: Sequence[Row]) -> Summary:
    """All seeds of a scenario in one line."""

    def mean(name: str) -> float:
        return fmean(getattr(each, name) for each in rows)

    def mean_if_played(name: str) -> float | None:
        return None if any(getattr(each, name) is None for each in rows) else mean(name)

    followed = [each.windows_to_follow for each in rows if each.windows_to_follow is not None]
    windows = [each.windows_vs_off for each in rows]
    lead, kept = mean("oracle_vs_best_fixed") - 1, mean("vs_best_fixed") - 1
    return Summary(
        name=trace.scenario.name,
        steady=trace.steady,
        best_fixed_k=mode(each.best_fixed_k for each in rows),
        regret=mean("regret"),
        vs_best_fixed=mean("vs_best_fixed"),
        vs_ema=mean("vs_ema"),
        vs_ema_error=stdev(each.vs_ema for each in rows) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0,
        vs_table=mean_if_played("vs_table"),
        vs_without_speculation=mean_if_played("vs_without_speculation"),
        oracle_vs_best_fixed=lead + 1,
        oracle_vs_ema=mean("oracle_vs_ema"),
        oracle_vs_best_rival=mean("oracle_vs_best_rival"),
        lead_kept=kept / lead if lead > LEAD_WORTH_KEEPING else None,
        worst_window_vs_off=worst_window(windows),
        worst_window_of_any_seed=min((r for each in windows for r in each if not math.isnan(r)), default=None),
        changes_per_hour=mean("changes_per_hour"),
        probes_per_hour=mean("probes_per_hour"),
        windows_to_follow=max(followed, default=None),
    )


NOISE: Final = 0.01
"""Two runs of one policy differ by this much."""


def missed(summaries: Sequence[Summary]) -> list[str]:
    """The targets that were missed, in words."""
    found = []
    regret, ahead = fmean(each.regret for each in summaries), fmean(each.vs_ema for each in summaries)
    if regret > 0.03:
        found.append(f"mean regret {regret:.1%}, at most 3% is wanted")
    if ahead < 1.05:
        found.append(f"ahead of the acceptance average by {ahead - 1:.1%} on average, 5% is wanted")
    for each in summaries:
        found.extend(f"{each.name}: {words}" for words in _missed(each))
    return found


def _missed(each: Summary) -> Iterable[str]:
    if each.regret > 0.06:
        yield f"regret {each.regret:.1%}, at most 6% is wanted"
    if each.lead_kept is not None and each.lead_kept < 0.7:
        yield f"keeps {each.lead_kept:.0%} of the oracle's lead over the best fixed k, 70% is wanted"
    if each.vs_ema < 1 - max(NOISE, 2 * each.vs_ema_error):
        yield f"behind the acceptance average, at {each.vs_ema:.3f} of it"
    if each.worst_window_vs_off is not None and each.worst_window_vs_off < 0.98:
        yield f"its worst ten minutes reach {each.worst_window_vs_off:.3f} of no speculation, 0.98 is wanted"
    if each.steady and each.changes_per_hour > 6:
        yield f"{each.changes_per_hour:.1f} changes an hour in steady traffic, at most 6 are wanted"
    if each.windows_to_follow is not None and each.windows_to_follow > 5:
        yield f"a sudden switch is followed after {each.windows_to_follow} windows, at most 5 are wanted"
