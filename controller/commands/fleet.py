"""From settings to a fleet: the store, the rows that are made of what it holds, and what it teaches at the start."""

import threading
from collections.abc import Callable
from typing import Final

from controller.clock import Clock
from controller.commands.wiring import controller
from controller.cycle import Failure
from controller.memory import Learnt
from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.prometheus.client import PROMETHEUS, Access, Client
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.grouping import GROUPS_MAX, Grouping
from controller.observe.prometheus.history import History
from controller.observe.prometheus.source import LiveSource, PastSource
from controller.observe.snapshot import Key
from controller.options.backtest import BacktestOptions
from controller.options.base import SettingsError
from controller.options.fleet import FleetOptions
from controller.options.recommend import RecommendOptions
from controller.options.run import RunOptions
from controller.serve.telemetry_table import LABELS

WARM_UP_CHUNK_SECONDS: Final = 300.0
"""The past is fetched in pieces of this length, so that memory does not grow with it."""
WARM_UP_STEP_SECONDS: Final = 30.0
"""Shorter windows of the past would often hold no new scrape."""


def history(options: RecommendOptions | RunOptions | BacktestOptions) -> History:
    """What the store holds of the servers that match."""
    assert options.prometheus_url is not None
    fetcher = Fetcher(
        timeout_seconds=options.query_timeout_seconds,
        limit_bytes=options.answer_limit_bytes,
        token_file=options.token_file,
        peer=PROMETHEUS,
        ca_file=options.ca_file,
    )
    access = Access(options.username_file, options.password_file, options.org_id)
    client = Client(options.prometheus_url, fetcher, access, options.query_timeout_seconds)
    return History(client, options.match)


def last_window(options: RecommendOptions, seconds: float) -> PastSource:
    """Two instants of the store: the beginning and the end of the window. Raises `ObserveError`."""
    store = history(options)
    now = store.now()
    return PastSource(store, Fleet(grouping(options)), (now - seconds, now))


def watched(options: RunOptions) -> LiveSource:
    """The fleet now, group by group; to roll a workload there must be one."""
    only = options.mode == "rollout"
    return LiveSource(history(options), Fleet(grouping(options, options.groups_max, only=only)))


def group_labels(options: RunOptions) -> tuple[str, ...]:
    """The labels of own metrics that tell the groups apart.

    Raises:
        SettingsError: One of them means something else in our own metrics.
    """
    wanted = grouping(options).names
    taken = [each for each in wanted if each in LABELS]
    if taken:
        raise SettingsError(
            f"--group-by {taken[0]}: our own metrics use that label for something else; group by another, or have "
            "Prometheus relabel it."
        )
    return wanted


def learnt_before(
    options: RunOptions, clock: Clock, stop: threading.Event, tell: Callable[[Failure], None]
) -> dict[Key, Learnt]:
    """What the last `warm_up_seconds` teach, window by window as if they were watched; nothing is acted on.

    A store that does not answer teaches nothing, which is told.
    """
    store = history(options)
    try:
        now = store.now()
    except ObserveError as error:
        tell(Failure(error.reason, error.message))
        return {}
    step = max(options.interval_seconds, WARM_UP_STEP_SECONDS)
    windows = int(options.warm_up_seconds / step)
    if not windows:
        return {}
    instants = [now - back * step for back in range(windows, -1, -1)]
    fleet = Fleet(grouping(options, options.groups_max))
    loop = controller(options, PastSource(store, fleet, instants, WARM_UP_CHUNK_SECONDS), clock)
    for _ in instants:
        cycle = loop.step()
        if cycle.failure is not None:
            tell(cycle.failure)
        if cycle.failure is not None or stop.is_set():
            break
    return loop.learnt


def grouping(options: FleetOptions, groups_max: int = GROUPS_MAX, *, only: bool = False) -> Grouping:
    """What makes a row."""
    labels = None if options.group_by is None else tuple(options.group_by.split(","))
    return Grouping(labels, groups_max, only)
