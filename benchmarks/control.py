"""Does the controller pay? Simulated traces, against every fixed k, a table, another policy, and the best there is.

    python benchmarks/control.py [--quick | --seeds N] [--scenarios FILE] [--only NAME] [--json] [--check]

Each trace is played by the controller, which sees what it would see of a real server, by every fixed k (k=0 is no
speculation on the same server), by the best static table in hindsight, by an acceptance average as SGLang ships it,
and by an oracle that knows the truth at every step; all with the same texts and arrivals. Scenarios are data
(`benchmarks/scenarios`, schema in `benchmarks/scenario.schema.json`). The score is tokens per busy second where clients
wait for one another (closed loop), and tokens per second of a request (1 / mean TPOT) where they come as they please;
the whole trace counts, learning included. `--quick` plays what the targets are about, one seed of it: no table, no
server without speculation, and of the fixed ks only 0 and those that could be the best by the physics.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from control_forecast import may_be_best
from control_play import CONTROLLER, EMA, ORACLE, TABLE, WITHOUT, Played, Task, fixed, play
from control_score import Summary, best_table, missed, row, summary

from controller.simulator.scenario_file import ScenarioFileError, read_traces
from controller.simulator.trace import Trace

SCENARIOS: Final = Path(__file__).parent / "scenarios"
SEEDS: Final = 5
_Key = tuple[str, int]


def main() -> int:
    """Print the table, or the JSON."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes end too
    try:
        traces = _traces(options.scenarios, options.only)
    except ScenarioFileError as error:
        print(error, file=sys.stderr)
        return 2
    summaries = judge(traces, 1 if options.quick else options.seeds, options.processes, quick=options.quick)
    print(json.dumps(_document(summaries), indent=2) if options.json else "\n".join(_table(summaries)))
    misses = missed(summaries)
    for words in misses:
        print(f"missed: {words}", file=sys.stderr)
    return 1 if options.check and misses else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="machine-readable results")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one seed of each scenario, in a minute; without columns that have no target",
    )
    parser.add_argument("--seeds", type=_at_least_one, default=SEEDS, metavar="N", help=f"default {SEEDS}")
    parser.add_argument("--scenarios", type=Path, action="append", default=[], metavar="FILE", help="add scenarios")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="play this scenario only")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--processes", type=_at_least_one, default=len(os.sched_getaffinity(0)), metavar="N")
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _traces(files: Iterable[Path], only: Sequence[str]) -> list[Trace]:
    found: dict[str, Trace] = {}
    for path in (*sorted(SCENARIOS.glob("*.json")), *files):
        for trace in read_traces(path):
            if trace.scenario.name in found:
                raise ScenarioFileError(f"{path}: a scenario {trace.scenario.name!r} is there already: rename it.")
            found[trace.scenario.name] = trace
    unknown = [name for name in only if name not in found]
    if unknown:
        raise ScenarioFileError(f"--only {unknown[0]}: no such scenario; there are: {', '.join(found)}.")
    return [trace for name, trace in found.items() if not only or name in only]


def judge(traces: Sequence[Trace], seeds: int, processes: int, *, quick: bool = False) -> list[Summary]:
    """Play every trace with every contestant and seed, and sum up; if `quick`, with those that the targets need."""
    runs: dict[_Key, dict[str, Played]] = {(trace.scenario.name, seed): {} for trace in traces for seed in range(seeds)}
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        for played in _play_all(pool, traces, seeds, runs, quick=quick):
            runs[_key(played)][played.task.contestant] = played
    finally:
        pool.shutdown(cancel_futures=True)  # when stopped, only the runs under way are waited for
    return [summary(trace, [row(runs[trace.scenario.name, seed]) for seed in range(seeds)]) for trace in traces]


def _play_all(
    pool: ProcessPoolExecutor, traces: Sequence[Trace], seeds: int, runs: dict[_Key, dict[str, Played]], *, quick: bool
) -> Iterator[Played]:
    """Runs as they end; the table of a scenario is played once all its fixed ks are known."""
    waiting: set[Future[Played]] = {pool.submit(play, task) for task in _tasks(traces, seeds, quick=quick)}
    total, done = len(waiting) + (0 if quick else len(traces) * seeds), 0
    while waiting:
        for future in as_completed(tuple(waiting)):
            waiting.remove(future)
            played = future.result()
            yield played
            done += 1
            _progress(done, total)
            fixed_runs = [run for name, run in runs[_key(played)].items() if name.startswith("k=")]
            scenario = played.task.trace.scenario
            if not quick and played.task.contestant.startswith("k=") and len(fixed_runs) == scenario.k_max + 1:
                table = best_table(fixed_runs, scenario.max_num_seqs)
                waiting.add(pool.submit(play, Task(played.task.trace, played.task.seed, TABLE, table)))


def _progress(done: int, total: int) -> None:
    """On a terminal a count that moves, elsewhere a line at each tenth."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total} runs", end="" if done < total else "\n", file=sys.stderr, flush=True)
    elif done * 10 // total > (done - 1) * 10 // total:
        print(f"{done} of {total} runs", file=sys.stderr, flush=True)


def _tasks(traces: Iterable[Trace], seeds: int, *, quick: bool) -> Iterator[Task]:
    """All runs but those of the tables; while those of one scenario are found, those of the one before run."""
    for trace in traces:
        ks = sorted({0, *may_be_best(trace)}) if quick else range(trace.scenario.k_max + 1)
        names = [CONTROLLER, ORACLE, EMA, *([] if quick else [WITHOUT]), *map(fixed, ks)]
        yield from (Task(trace, seed, name) for seed in range(seeds) for name in names)


def _key(played: Played) -> _Key:
    return played.task.trace.scenario.name, played.task.seed


def _document(summaries: Sequence[Summary]) -> dict[str, Any]:
    return {
        "scenarios": [asdict(each) for each in summaries],
        "regret_mean": fmean(each.regret for each in summaries),
        "regret_max": max(each.regret for each in summaries),
        "vs_ema_mean": fmean(each.vs_ema for each in summaries),
        "oracle_vs_ema_mean": fmean(each.oracle_vs_ema for each in summaries),
        "missed": missed(summaries),
    }


_COLUMNS: Final = (
    ("regret", "regret", "{:.1%}"),
    ("best k", "best_fixed_k", "{:d}"),
    ("vs best k", "vs_best_fixed", "{:.3f}"),
    ("vs table", "vs_table", "{:.3f}"),
    ("vs EMA", "vs_ema", "{:.3f}"),
    ("vs none", "vs_without_speculation", "{:.3f}"),
    ("worst vs k=0", "worst_window_vs_off", "{:.3f}"),
    ("lead kept", "lead_kept", "{:.0%}"),
    ("changes/h", "changes_per_hour", "{:.1f}"),
    ("probes/h", "probes_per_hour", "{:.1f}"),
    ("follows", "windows_to_follow", "{:d}"),
    ("oracle/EMA", "oracle_vs_ema", "{:.3f}"),
    ("oracle/rival", "oracle_vs_best_rival", "{:.3f}"),
)


def _table(summaries: Sequence[Summary]) -> Iterator[str]:
    width = max(len(each.name) for each in summaries)
    yield " ".join([" " * width, *(title.rjust(len(title) + 1) for title, _, _ in _COLUMNS)])
    for each in summaries:
        cells = []
        for title, name, form in _COLUMNS:
            value = getattr(each, name)
            cells.append(("-" if value is None else form.format(value)).rjust(len(title) + 1))
        yield " ".join([each.name.ljust(width), *cells])
    document = _document(summaries)
    yield ""
    yield (
        f"regret {document['regret_mean']:.1%} mean, {document['regret_max']:.1%} max; "
        f"{document['vs_ema_mean']:.3f} of the acceptance average (the oracle: {document['oracle_vs_ema_mean']:.3f}); "
        f"{len(document['missed']) or 'no'} targets missed"
    )
    yield (
        "regret: 1 - speed / the oracle's. vs: speed as a multiple of the best fixed k, the best static table, the "
        "acceptance average (EMA), a server launched without speculation; worst: ten minutes, against k=0. "
        "lead kept: of the oracle's lead over the best fixed k, where it exceeds 3%. follows: passes after a switch. "
        "oracle/rival: below 1 the oracle was beaten."
    )


if __name__ == "__main__":
    raise SystemExit(main())
