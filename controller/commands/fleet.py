"""A fleet that is watched: its rows, the labels they are exported under, and what the store teaches at the start."""

import threading
from collections.abc import Callable
from typing import Final

from controller.clock import Clock
from controller.commands.store import grouping, history
from controller.commands.wiring import controller
from controller.cycle import Failure
from controller.decide.policy_settings import PolicySettings
from controller.memory import Learnt
from controller.observe.errors import ObserveError
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.source import LiveSource, PastSource
from controller.observe.snapshot import Key
from controller.options.base import SettingsError
from controller.options.run import RunOptions
from controller.serve.telemetry_table import LABELS

WARM_UP_CHUNK_SECONDS: Final = 300.0
"""The past is fetched in pieces of this length, so that memory does not grow with it."""
WARM_UP_STEP_SECONDS: Final = 30.0
"""Shorter windows of the past would often hold no new scrape."""


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
    options: RunOptions,
    policy: PolicySettings,
    clock: Clock,
    stop: threading.Event,
    tell: Callable[[Failure], None],
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
    loop = controller(options, PastSource(store, fleet, instants, WARM_UP_CHUNK_SECONDS), clock, policy=policy)
    for _ in instants:
        cycle = loop.step()
        if cycle.failure is not None:
            tell(cycle.failure)
        if cycle.failure is not None or stop.is_set():
            break
    return loop.learnt
