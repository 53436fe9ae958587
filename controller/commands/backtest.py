"""`controller backtest`: what the loop would have made of history."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from controller.backtest.decider import Shared
from controller.backtest.document import document
from controller.backtest.outcome import Backtest
from controller.backtest.past import Instants, Past, PastClock
from controller.backtest.replay import replay
from controller.backtest.table import table
from controller.clock import SystemClock, utc_text
from controller.commands.drawing import refuse_picture
from controller.commands.exit_codes import FAILED, NO_EVIDENCE, OK
from controller.commands.say import say
from controller.commands.store import grouping, history
from controller.commands.wiring import controller, recommending
from controller.json_text import json_text
from controller.loop import Controller
from controller.observe.errors import ObserveError, cause
from controller.observe.prometheus.fleet import Fleet
from controller.observe.source import MetricsSource
from controller.options.backtest import BacktestOptions
from controller.options.base import seconds_of

TOLD_TIMES: Final = 10
"""How often progress is told where nobody watches it."""
PROCESSES_MAX: Final = 4
"""Fetching keeps up with no more."""
WORTH_IT_PASSES: Final = 500
"""Fewer are made before other processes have started."""


def backtest(options: BacktestOptions) -> int:
    """Replay, and print what came of it; what was replayed before a failure is printed, too."""
    if options.picture is not None:
        refuse_picture(options.picture, "--picture")
    clock, step = SystemClock(), seconds_of(options.step)
    try:
        store = history(options)
        until = store.now()
        instants = Instants(until - seconds_of(options.since), until, step)
        past = Past(store, Fleet(grouping(options)), instants, clock, _progress(instants))
        found = replay(past, instants, Shared.among(_processes(options), _loop(options), step))
        if not found.outcomes and found.failure is None:
            raise store.why_nothing(until)
    except ObserveError as error:
        say(f"controller backtest: {error.message}")
        return FAILED
    if found.failure is not None:
        say(f"controller backtest: {found.failure.message}")
        say(f"What follows ends at {utc_text(found.reached_unix_seconds)}, where that happened.")
    for warning in found.warnings:
        say(f"controller backtest: {warning}")
    print(json_text(document(found), indent=2) if options.output == "json" else table(found))
    return _code(found, _drawn(options.picture, found))


def _loop(options: BacktestOptions) -> Callable[[MetricsSource, PastClock], Controller]:
    policy = replace(
        recommending(options),
        cooldown_seconds=options.cooldown_seconds,
        interval_seconds=seconds_of(options.step),
    )

    def made(source: MetricsSource, clock: PastClock) -> Controller:
        return controller(options, source, clock, policy=policy)

    made(_Nothing(), PastClock())  # a profile that cannot be used is told before the work

    return made


class _Nothing:
    """A source without servers."""

    def read(self) -> tuple[()]:
        """See `MetricsSource`."""
        return ()


def _processes(options: BacktestOptions) -> int:
    """One for each processor, where there is enough to do: workloads are decided beside one another."""
    enough = seconds_of(options.since) / seconds_of(options.step) >= WORTH_IT_PASSES
    return min(PROCESSES_MAX, len(os.sched_getaffinity(0))) if enough else 1


def _progress(instants: Instants) -> Callable[[float], None]:
    """Tells how much of history has been fetched: on one line where a person watches, else now and then."""
    whole = instants.until_unix_seconds - instants.since_unix_seconds
    watched, told = sys.stderr.isatty(), 0

    def tell(reached_unix_seconds: float) -> None:
        nonlocal told
        share = max(0.0, (reached_unix_seconds - instants.since_unix_seconds) / whole)
        text = f"replayed up to {utc_text(reached_unix_seconds)}: {share:.0%}"
        if watched:
            print(f"\r{text} ", end="" if share < 1 else "\n", file=sys.stderr, flush=True)
        elif int(share * TOLD_TIMES) > told:
            told = int(share * TOLD_TIMES)
            say(text)

    return tell


def _drawn(path: Path | None, found: Backtest) -> bool:
    """Whether the picture, if one is wanted, could be written."""
    if path is None:
        return True
    from controller.backtest.picture import picture  # noqa: PLC0415  # loads matplotlib
    from controller.report.plots import save  # noqa: PLC0415

    try:
        save(picture(found), path)
    except OSError as error:
        say(f"controller backtest: cannot write {path} ({cause(error)})")
        return False
    say(f"drawn into {path}")
    return True


def _code(found: Backtest, drawn: bool) -> int:
    if found.failure is not None or not drawn:
        return FAILED
    return OK if any(each.total.fixed is not None for each in found.outcomes) else NO_EVIDENCE
