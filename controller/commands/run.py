"""`controller run`: the loop for ever, its log and its port."""

import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Final, TypedDict

from controller.act.actuator import Actuator
from controller.act.live import LiveActuator, LiveSettings, owner_name
from controller.checkpoint import Checkpoint
from controller.clock import Clock, SystemClock
from controller.commands.connection import http_source, plugin_fetcher
from controller.commands.exit_codes import FAILED, OK
from controller.commands.say import say
from controller.commands.wiring import RECOMMENDED_GAIN, controller, recommending
from controller.cycle import Cycle, Failure
from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.memory import Learnt
from controller.observe.errors import ObserveError, cause
from controller.observe.plugin import PluginSource
from controller.observe.snapshot import Key
from controller.observe.source import MetricsSource
from controller.options.run import RunOptions
from controller.serve.log import configure, event, log_cycle
from controller.serve.page_view import About
from controller.serve.server import Server

APPLIED_GAIN: Final = 0.01
"""Least gain of a change that costs nothing to make and is taken back when it fails."""


def run(options: RunOptions) -> int:
    """Watch until SIGTERM or SIGINT, which let the pass in progress end; then exit with 0."""
    with set_by_signals() as stop:
        return watch(options, SystemClock(), stop)


def watch(options: RunOptions, clock: Clock, stop: threading.Event) -> int:
    """Watch until `stop` is set, in the time of `clock`; the exit code."""
    control, policy = _control(options, clock), _policy(options)
    try:
        server = Server(options.listen, clock, options.interval_seconds, _about(options))
    except (OSError, ValueError) as error:
        say(f"controller run: cannot listen on {options.listen} ({cause(error)}): choose another with --listen.")
        return FAILED
    configure()
    asked = options.prometheus_url or options.url
    event("start", clock.unix_seconds(), server=asked, listen=options.listen, mode=options.mode)
    kept = Checkpoint(options.checkpoint, options.url, clock) if options.checkpoint else None
    keeper = _Keeper(kept, clock, server.checkpoint_failed)

    def publish(cycle: Cycle) -> None:
        server.publish(cycle)
        log_cycle(cycle)
        keeper.keep(loop.learnt)

    server.start()
    try:
        source, restored = (
            _fleet(options, policy, clock, stop) if options.prometheus_url else _one(options, clock, kept)
        )
        loop = controller(options, source, clock, policy=policy, **control, restored=restored)
        loop.run(stop, options.interval_seconds, publish, jitter=lambda: random.uniform(-1.0, 1.0))  # noqa: S311
    finally:
        server.close()
    event("stop", clock.unix_seconds())
    return OK


def _about(options: RunOptions) -> About:
    """What the status page says of this process; who rolls dry only recommends."""
    mode = "recommend" if options.mode == "rollout" and options.rollout_dry_run else options.mode
    if options.prometheus_url is None:
        return About(options.url, mode, checkpoint=str(options.checkpoint or ""))
    from controller.commands.fleet import group_labels  # noqa: PLC0415  # only where there is a store

    return About(options.prometheus_url, mode, labels=group_labels(options), fleet=True)


def _one(options: RunOptions, clock: Clock, kept: Checkpoint | None) -> tuple[MetricsSource, dict[Key, Learnt]]:
    """One server, and what was learnt of it before a restart."""
    return http_source(options, clock), _restored(kept, clock)


def _fleet(
    options: RunOptions, policy: PolicySettings, clock: Clock, stop: threading.Event
) -> tuple[MetricsSource, dict[Key, Learnt]]:
    """Many servers, and what the store teaches of them."""
    from controller.commands.fleet import learnt_before, watched  # noqa: PLC0415  # only where there is a store

    def tell(failure: Failure) -> None:
        event("failure", clock.unix_seconds(), reason=failure.reason.value, message=failure.message)

    restored = learnt_before(options, policy, clock, stop, tell)
    if restored:
        event("warmed_up", clock.unix_seconds(), groups=len(restored), seconds=options.warm_up_seconds)
    return watched(options), restored


def _policy(options: RunOptions) -> PolicySettings:
    """When to act."""
    target = None if options.tpot_target_ms is None else options.tpot_target_ms / 1e3
    return replace(
        recommending(options, APPLIED_GAIN if options.mode == "apply" else RECOMMENDED_GAIN),
        cooldown_seconds=options.cooldown_seconds,
        tpot_target_seconds=target if options.objective == "tpot" else None,
        exploration_budget=options.exploration_budget,
        pressure_seconds=target,
        interval_seconds=options.interval_seconds,
    )


class _Parts(TypedDict, total=False):
    """What the mode adds to the loop."""

    actuator: Actuator
    plugin: PluginSource
    live: Live


def _control(options: RunOptions, clock: Clock) -> _Parts:
    """The parts that read the engine plugin, where there is a token for it, and that change k in the mode's way."""

    def frozen() -> bool:
        try:
            return options.freeze or (options.freeze_file is not None and options.freeze_file.exists())
        except OSError:  # whether it is there is not known, so that nothing is changed
            return True

    parts: _Parts = {}
    if options.mode == "rollout":
        from controller.commands.rollout import rollout_actuator  # noqa: PLC0415  # only where a workload is rolled

        parts["actuator"] = rollout_actuator(options, clock, frozen)
    if options.plugin_token_file is None:
        return parts
    fetcher = plugin_fetcher(options, options.plugin_token_file)
    parts["plugin"] = PluginSource(options.url, fetcher)
    if options.mode != "apply":
        return parts
    owner = options.owner or owner_name(socket.gethostname())
    settings = LiveSettings(owner, options.ttl_seconds, options.allow_k_without_graph, options.interval_seconds)
    parts["actuator"] = LiveActuator(options.url, fetcher, settings)
    parts["live"] = Live(
        owner=owner,
        frozen=frozen,
        chance=random.random,
        stand_down_seconds=options.stand_down_seconds,
        allow_k_without_graph=options.allow_k_without_graph,
    )
    return parts


def _restored(kept: Checkpoint | None, clock: Clock) -> dict[Key, Learnt]:
    """What was learnt before a restart; a file that cannot be used is told, and nothing is taken from it."""
    if kept is None:
        return {}
    try:
        found = kept.read()
    except ObserveError as error:
        event("failure", clock.unix_seconds(), reason=error.reason.value, message=error.message)
        return {}
    if found:
        event("restored", clock.unix_seconds(), engines=len(found))
    return found


class _Keeper:
    """Saves what was learnt after each pass; a full disk is logged once, and shown for as long as it lasts."""

    def __init__(self, kept: Checkpoint | None, clock: Clock, show: Callable[[str], None]) -> None:
        self._kept = kept
        self._clock = clock
        self._show = show
        self._told = False

    def keep(self, learnt: dict[Key, Learnt]) -> None:
        """Save, and say so when it failed or works again."""
        if self._kept is None:
            return
        try:
            self._kept.save(learnt)
        except ObserveError as error:
            self._show(error.message)
            if not self._told:
                event("failure", self._clock.unix_seconds(), reason=error.reason.value, message=error.message)
            self._told = True
        else:
            self._show("")
            if self._told:
                event("checkpoint_saved", self._clock.unix_seconds())
            self._told = False


@contextmanager
def set_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for each, former in before.items():
            signal.signal(each, former)
