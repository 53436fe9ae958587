"""The control loop: observe -> model -> decide -> act, once a pass."""

import math
import re
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from controller import live
from controller.act.actuator import NOTHING_DONE, Acted, Actuator, Order, Outcome
from controller.clock import Clock
from controller.cycle import Cycle, EngineCycle, Failure
from controller.decide import mix
from controller.decide.decision import Decision
from controller.decide.policy import PolicyState, Situation, decide, remembered
from controller.decide.policy_settings import PolicySettings
from controller.defect import defect
from controller.learn import Known, Question, answers, learn
from controller.live import Live
from controller.memory import EngineMemory, Learnt
from controller.model.composition import Portion
from controller.model.drafter import Method
from controller.model.economics import Market
from controller.model.step_table import StepTable
from controller.model.target import NAMES_OF_MIXTURES, target_of
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Key, Snapshot
from controller.observe.source import MetricsSource, SpeculationSource
from controller.observe.speculation import Speculation, refuse_foreign
from controller.observe.window import refuse_unread
from controller.reason import Reason
from controller.sight import Sight, refuse_impossible_k, see
from controller.together import together
from controller.undecided import NO_SPECULATION, WARMING_UP, undecided, unready

T = TypeVar("T")
Asking = Generator[Question, Known, T]
"""A work that asks the model in the middle of what it does."""
JITTER: Final = 0.1
"""Passes come this share of the interval early or late, so that many sidecars do not scrape in step."""
SHORT_SHARE: Final = 0.3
"""A window of a probe, and the first one of a server under live control, lasts this share of the interval."""


class Controller:
    """Watches one server, or the groups of a fleet, and says, or makes so, what k should be."""

    def __init__(
        self,
        source: MetricsSource,
        clock: Clock,
        actuator: Actuator,
        policy: PolicySettings,
        *,
        method: Method | None = None,
        stated_k: float | None = None,
        capture_limit_tokens: float = math.inf,
        mixtures: re.Pattern[str] = NAMES_OF_MIXTURES,
        profile: StepTable | None = None,
        plugin: SpeculationSource | None = None,
        live: Live | None = None,
        restored: Mapping[Key, Learnt] | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            source: Where snapshots come from.
            clock: Where time comes from.
            actuator: What carries decisions out.
            policy: When to act.
            method: vLLM's own name of the drafting method; None when it is not known.
            stated_k: The k in force; None to infer it.
            capture_limit_tokens: Steps of more tokens have no captured graph.
            mixtures: What the names of models that are mixtures of experts have in them.
            profile: Step times known before the first page.
            plugin: The server's engine plugin; None where there is none to ask.
            live: Live control; None to recommend only.
            restored: What was learnt before a restart, by engine.
        """
        self._source = source
        self._clock = clock
        self._actuator = actuator
        self._policy = policy
        self._method = method
        self._stated_k = stated_k
        self._capture_limit_tokens = capture_limit_tokens
        self._mixtures = mixtures
        self._plugin = plugin
        self._live = live
        self._fresh = EngineMemory(Learnt(table=profile or StepTable()))
        self._memory: dict[Key, EngineMemory] = {key: EngineMemory(learnt) for key, learnt in (restored or {}).items()}
        self._number = 0

    @property
    def learnt(self) -> dict[Key, Learnt]:
        """What is worth keeping across a restart, by engine."""
        return {key: memory.learnt for key, memory in self._memory.items()}

    def step(self) -> Cycle:
        """One pass. Everything that can go wrong becomes part of the cycle, even a fault of ours; nothing is raised."""
        self._number += 1
        started = self._clock.monotonic_seconds()
        try:
            return self._pass(started)
        except Exception as error:  # noqa: BLE001  (a process that ends would meet it again)
            return self._cycle(started, started, self._last_good(), defect(error))

    def _pass(self, started: float) -> Cycle:
        try:
            snapshots = self._source.read()
        except ObserveError as error:
            idled = self._actuator.idle()
            good = tuple(replace(engine, acted=idled or engine.acted) for engine in self._last_good())
            return self._cycle(started, started, good, Failure(error.reason, error.message))
        told = self._told(snapshots)
        observed_at = self._clock.monotonic_seconds()
        for key in self._memory.keys() - {snapshot.key for snapshot in snapshots}:
            del self._memory[key]
        engines = together([self._engine(snapshot, told) for snapshot in snapshots], answers)
        return self._cycle(started, observed_at, tuple(engines))

    def _last_good(self) -> tuple[EngineCycle, ...]:
        """What was last known of each engine; an old failure was told in its own pass."""
        last = (memory.last for memory in self._memory.values() if memory.last is not None)
        return tuple(replace(engine, failure=None) for engine in last)

    def pause_seconds(self, interval_seconds: float) -> float:
        """Time to the next pass: shorter while a k runs that may cost throughput, be it a probe's or the launch's."""
        hurried = any(memory.learnt.course.probe or (self._live and memory.begins) for memory in self._memory.values())
        return interval_seconds * SHORT_SHARE if hurried else interval_seconds

    def run(
        self,
        stop: threading.Event,
        interval_seconds: float,
        publish: Callable[[Cycle], None],
        jitter: Callable[[], float],
    ) -> None:
        """Passes every `interval_seconds` until `stop` is set; `jitter` yields -1..1.

        A pass that takes longer than the interval delays the next one: missed passes are not made up for, and a window
        lasts at least half the interval.
        """
        due = self._clock.monotonic_seconds()
        while True:
            publish(self.step())
            now = self._clock.monotonic_seconds()
            pause = self.pause_seconds(interval_seconds) * (1 + JITTER * jitter())
            due = max(due + pause, now + pause / 2)
            if self._clock.wait(due - now, stop):
                return

    def _told(self, snapshots: tuple[Snapshot, ...]) -> Speculation | Failure | None:
        """The plugin's state. It speaks for one engine; with several, or without speculation, nobody asks it."""
        if self._plugin is None or len(snapshots) != 1 or snapshots[0].k_max is None:
            return None
        try:
            told = self._plugin.read()
            refuse_foreign(told, snapshots[0].k_max)
        except ObserveError as error:
            return Failure(error.reason, error.message)
        return told

    def _engine(self, snapshot: Snapshot, told: Speculation | Failure | None) -> Asking[EngineCycle]:
        """One engine's part of a pass. A fault of ours leaves the others alone, and does not stay in what is learnt."""
        try:
            return (yield from self._followed(snapshot, told))
        except Exception as error:  # noqa: BLE001  (as in `step`)
            had = self._memory.get(snapshot.key, self._fresh)
            anew = replace(self._fresh, last=had.last, stood_down_until_seconds=had.stood_down_until_seconds)
            memory = _failed(anew, snapshot, defect(error))
            assert memory.last is not None
            last = replace(memory.last, acted=NOTHING_DONE)
            self._memory[snapshot.key] = replace(memory, snapshot=snapshot, last=last)
            return last

    def _followed(self, snapshot: Snapshot, told: Speculation | Failure | None) -> Asking[EngineCycle]:
        memory = self._memory.get(snapshot.key, self._fresh)
        if memory.learnt.k_max not in (None, snapshot.k_max):  # another server under the same name
            memory = replace(memory, learnt=self._fresh.learnt, policy=PolicyState())
        speculation = told if isinstance(told, Speculation) else None
        if self._live is not None and speculation is not None:
            memory = live.found(self._live, memory, speculation, self._clock.monotonic_seconds())
        try:
            memory = yield from self._judged(snapshot, memory, speculation)
        except ObserveError as error:
            memory = self._acted(_failed(memory, snapshot, Failure(error.reason, error.message)), speculation)
        assert memory.last is not None
        if isinstance(told, Failure):
            failed = Acted(Outcome.FAILED, told.reason, told.message)
            memory = replace(memory, last=replace(memory.last, acted=failed))
        self._memory[snapshot.key] = replace(memory, snapshot=snapshot)
        assert memory.last is not None
        return memory.last

    def _judged(
        self, snapshot: Snapshot, memory: EngineMemory, speculation: Speculation | None
    ) -> Asking[EngineMemory]:
        """The line: observe -> model -> decide -> act. The model is asked for all engines at once."""
        refuse_unread(snapshot)
        if snapshot.k_max is None:
            last = undecided(snapshot, Reason.NO_SPECULATION, NO_SPECULATION)
            return replace(memory, last=replace(last, acted=self._actuator.idle() or NOTHING_DONE))
        refuse_impossible_k(self._stated_k, snapshot.k_max)
        if memory.snapshot is None:
            last = undecided(snapshot, Reason.WARMING_UP, WARMING_UP)
            return self._acted(replace(memory, last=last), speculation)
        # observe
        sight = see(memory.snapshot, snapshot, memory.speculation, speculation, self._method, self._stated_k)
        memory = memory.after(sight, self._clock.monotonic_seconds())
        # model
        memory = replace(memory, learnt=learn(memory.learnt, sight))
        target = target_of(snapshot.model_name, self._mixtures)
        found = yield Question(memory.learnt, sight, self._capture_limit_tokens, target)
        cycle = replace(
            undecided(snapshot, *unready(sight)),
            window=sight.window,
            acceptance=found.acceptance_seen,
            step_time=found.step_time,
        )
        # decide
        market = found.market
        if market is not None and self._can_decide(sight, found):
            memory, decision = self._decided(market, sight, memory, speculation)
            workloads = _workloads(market, found.portions, decision)
            cycle = replace(cycle, decision=decision, workloads=workloads)
        # act
        return self._acted(replace(memory, last=cycle), speculation, sight)

    def _can_decide(self, sight: Sight, found: Known) -> bool:
        """At k=0 nothing is learnt of acceptance: only live control, which can probe, decides on a mere prior."""
        return sight.busy and (found.acceptance_seen is not None or self._live is not None)

    def _decided(
        self, market: Market, sight: Sight, memory: EngineMemory, speculation: Speculation | None
    ) -> tuple[EngineMemory, Decision]:
        now = self._clock.monotonic_seconds()
        settings = replace(self._policy, max_batch=sight.max_num_seqs) if sight.max_num_seqs else self._policy
        situation = Situation(
            batch=sight.batch,
            k_now=sight.now.k,
            drafted=sight.window.drafts > 0,
            now_seconds=None if sight.window.seconds is None else now,
            tpot_seconds=sight.window.tpot_seconds,
        )
        if self._live is None or not memory.learnt.course.home:
            decision = decide(market, situation, memory.policy, settings)
            return replace(memory, policy=remembered(decision, memory.policy, now)), decision
        decision, course = live.decided(self._live, memory, market, sight, situation, now, speculation, settings)
        return replace(memory, learnt=replace(memory.learnt, course=course)), decision

    def _acted(self, memory: EngineMemory, speculation: Speculation | None, sight: Sight | None = None) -> EngineMemory:
        """Carry out, or keep up, what is wanted; the engine forgets a schedule that nobody renews."""
        assert memory.last is not None
        last = memory.last
        order = Order(last.model_name, last.engine, last.decision)
        if self._live is not None:
            memory = live.settled(self._live, memory, self._clock.monotonic_seconds(), self._policy)
            limit = speculation.max_num_seqs if speculation else self._policy.max_batch
            wanted = live.wanted(memory, limit)
            acted = self._actuator.act(replace(order, wanted=wanted, speculation=speculation))
            return live.held(self._live, memory, wanted, acted, speculation, sight)
        old = last.failure is not None  # nothing new is done for a decision of an earlier pass
        acted = (self._actuator.idle() or NOTHING_DONE) if old else self._actuator.act(order)
        return replace(memory, last=replace(last, acted=acted), speculation=speculation)

    def _cycle(
        self,
        started: float,
        observed_at: float,
        engines: tuple[EngineCycle, ...],
        failure: Failure | None = None,
    ) -> Cycle:
        return Cycle(
            number=self._number,
            at_unix_seconds=self._clock.unix_seconds(),
            engines=engines,
            failure=failure,
            observe_seconds=observed_at - started,
            seconds=self._clock.monotonic_seconds() - started,
        )


def _failed(memory: EngineMemory, snapshot: Snapshot, failure: Failure) -> EngineMemory:
    """The latest good cycle with what went wrong now; one without a window where there is none, or it is outdated."""
    last = memory.last
    if last is None or last.window is None or last.k_max != snapshot.k_max:
        last = undecided(snapshot, failure.reason, failure.message)
    return replace(memory, last=replace(last, failure=failure, replicas=snapshot.replicas))


def _workloads(market: Market, portions: tuple[Portion, ...], decision: Decision) -> tuple[mix.WorkloadAnswer, ...]:
    k = decision.k_now if decision.k_now is not None else decision.k
    if k is None or decision.batch is None:
        return ()
    return mix.answers(market, portions, decision.batch, min(float(k), float(market.k_max)))
