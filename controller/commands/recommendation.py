"""What `controller recommend` says: of one server that it watches, or of a fleet whose window it has."""

import json
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from controller.clock import Clock, SystemClock
from controller.commands.exit_codes import CHANGE, FAILED, NO_EVIDENCE, OK
from controller.commands.old_vllm import warned
from controller.commands.say import say
from controller.commands.wiring import controller
from controller.cycle import Cycle
from controller.decide.decision import Action
from controller.json_text import json_text
from controller.model.drafter import FIXED_K
from controller.observe.source import MetricsSource, ReplaySource
from controller.options.recommend import Output, RecommendOptions
from controller.plain import listed, plain
from controller.reason import Reason
from controller.report.document import document, speculative_config
from controller.report.fleet import fleet_table
from controller.report.row import name
from controller.report.stake import ranked
from controller.report.table import table

if TYPE_CHECKING:
    from controller.observe.prometheus.last_window import LastWindow

WATCH_SECONDS: Final = 30.0
"""How long one server is watched."""
TOLD_MAX: Final = 10
"""Failures that are told beside the answer; a fleet may have many, and its table names them all."""
NAMED_MAX: Final = 3
"""Rows that are named before a warning of all of them."""
NOT_ENOUGH: Final = frozenset(
    {
        Reason.WARMING_UP,
        Reason.NOT_ENOUGH_EVIDENCE,
        Reason.IDLE,
        Reason.NOTHING_DRAFTED,
        Reason.NO_SPECULATION,
    }
)


def judged(options: RecommendOptions, window: "LastWindow | None") -> Cycle:
    """Every row of a fleet's window, or without one the server that the options name; raises `ObserveError`."""
    clock = SystemClock()
    if window is None:
        return _watched(options, _source(options, clock), clock)
    from controller.commands import side_by_side  # noqa: PLC0415  # only where there is a store

    return side_by_side.judged(window, lambda part: controller(options, part, clock))


def told(cycle: Cycle, options: RecommendOptions) -> int:
    """Print it; the exit code."""
    for failure in (*cycle.failures, *cycle.notes)[:TOLD_MAX]:
        say(f"controller recommend: {failure.message}")
    answer = _written(cycle, options)
    if answer:
        print(answer)
    _warn_of_old_vllm(cycle, options)
    if options.output is Output.CONFIG:
        _explain_missing_config(cycle)
        if answer and options.method is None:
            say(
                "controller recommend: without --method this is not safe for every method: a schedule stops vLLM with "
                f"{', '.join(sorted(FIXED_K))}, whose k is fixed."
            )
    return _exit_code(cycle, tell_change=options.exit_code)


def _watched(options: RecommendOptions, source: MetricsSource, clock: Clock) -> Cycle:
    """Pass after pass over one server, or over the pages that were saved of it."""
    loop = controller(options, source, clock)
    cycle = loop.step()
    for _ in range(max(1, len(options.source) - 1)):
        if cycle.failure is not None or _without_speculation(cycle):
            break
        if options.url:
            _watch(options.window_seconds or WATCH_SECONDS, clock)
        cycle = loop.step()
    return cycle


def _source(options: RecommendOptions, clock: Clock) -> MetricsSource:
    if options.source:
        return ReplaySource(options.source, options.seconds, options.page_limit_bytes)
    from controller.commands.connection import http_source  # noqa: PLC0415  # a sixth of the start-up time

    return http_source(options, clock)


def _without_speculation(cycle: Cycle) -> bool:
    return bool(cycle.engines) and all(engine.k_max is None for engine in cycle.engines)


def _watch(seconds: float, clock: Clock) -> None:
    """Wait for the window to fill, with progress where a person watches."""
    never = threading.Event()
    end = clock.monotonic_seconds() + seconds
    shown = sys.stderr.isatty()
    while (left := end - clock.monotonic_seconds()) > 0:
        if shown:
            print(f"\rwatching the server: {left:4.0f} s left ", end="", file=sys.stderr, flush=True)
        clock.wait(min(1.0, left), never)
    if shown:
        print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)


def _written(cycle: Cycle, options: RecommendOptions) -> str:
    match options.output:
        case Output.JSON:
            return json_text(document(_in_order(cycle, options)), indent=2)
        case Output.YAML:
            import yaml  # noqa: PLC0415  # only here

            return yaml.safe_dump(document(_in_order(cycle, options)), sort_keys=False).rstrip()
        case Output.CONFIG:
            configs = (speculative_config(engine, options.method) for engine in cycle.engines)
            return "\n".join(json.dumps(config) for config in configs if config)
        case Output.TABLE if options.prometheus_url:
            return fleet_table(cycle, options.method, explained=options.explain) if cycle.engines else ""
        case Output.TABLE:
            return table(cycle, options.method, explained=options.explain)


def _in_order(cycle: Cycle, options: RecommendOptions) -> Cycle:
    """Of a fleet the most to gain first; the engines of one server as its page has them."""
    return replace(cycle, engines=ranked(cycle.engines)) if options.prometheus_url else cycle


def _warn_of_old_vllm(cycle: Cycle, options: RecommendOptions) -> None:
    """Where schedules were printed to be pasted, and the method may be one that they harm; of a fleet with the rows."""
    if options.output is not Output.CONFIG and not (options.output is Output.TABLE and options.method):
        return
    fleet = bool(options.prometheus_url)
    printed = [each for each in cycle.engines if not fleet or each.decision.action is not Action.HOLD]
    harmed = [each for each in printed if warned([(each.decision.schedule, each.k_max)], options.method)]
    if harmed:
        warning = warned([(each.decision.schedule, each.k_max) for each in harmed], options.method)
        rows = f"{listed([name(each) for each in ranked(harmed)], NAMED_MAX)}: " if fleet else ""
        say(f"controller recommend: {rows}{warning}")


def _explain_missing_config(cycle: Cycle) -> None:
    for engine in cycle.engines:
        if not engine.decision.schedule and not cycle.failures:
            say(f"{plain(engine.model_name)} (engine {plain(engine.engine)}): {engine.decision.sentence}")


def _exit_code(cycle: Cycle, *, tell_change: bool) -> int:
    failed = [engine.failure for engine in cycle.engines if engine.failure]
    fleet = any(engine.replicas for engine in cycle.engines)
    if cycle.failure or not cycle.engines or (len(failed) == len(cycle.engines) if fleet else failed):
        return FAILED
    if all(engine.decision.reason in NOT_ENOUGH for engine in cycle.engines):
        return NO_EVIDENCE
    if tell_change and any(engine.decision.action is not Action.HOLD for engine in cycle.engines):
        return CHANGE
    return OK
