"""The control loop: observe -> model -> decide -> act, once a pass."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from controller.act.actuator import NOTHING_DONE, Acted, Actuator, Order, Outcome
from controller.clock import Clock
from controller.cycle import Control, Cycle, EngineCycle, Failure
from controller.decide import mix, steer
from controller.decide.decision import Action, Decision, Schedule
from controller.decide.policy import PolicyState, Situation, decide, remembered
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Realised
from controller.learn import Known, blank, learn
from controller.memory import EngineMemory, Learnt
from controller.model.drafter import Method
from controller.model.economics import Market
from controller.model.step_table import StepTable
from controller.observe.errors import ObserveError
from controller.observe.plugin import PluginSource
from controller.observe.snapshot import Snapshot
from controller.observe.source import MetricsSource
from controller.observe.speculation import Speculation
from controller.reason import Reason
from controller.sight import Sight, see

JITTER: Final = 0.1
"""Passes come this share of the interval early or late, so that many sidecars do not scrape in step."""
PROBE_SHARE: Final = 0.3
"""A window of a probe lasts this share of the interval."""
STRAYED_WINDOWS: Final = 3
"""So many windows in a row must show another k than scheduled: a change may fall between the two readings of one."""
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Live:
    """What live control needs beside a recommendation.

    Attributes:
        owner: The name under which schedules are held.
        frozen: Whether the operator wants no changes now.
        chance: Draws a number from 0 to 1.
        stand_down_seconds: How long to keep out after somebody else's reset.
        allow_k_without_graph: Whether a k may run for which vLLM captured no CUDA graph.
    """

    owner: str
    frozen: Callable[[], bool]
    chance: Callable[[], float]
    stand_down_seconds: float = 900.0
    allow_k_without_graph: bool = False


class Controller:
    """Watches one server and says, or makes so, what k should be."""

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
        profile: StepTable | None = None,
        plugin: PluginSource | None = None,
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
        """One pass. Everything that the outside world can do wrong becomes part of the cycle; nothing is raised."""
        self._number += 1
        started = self._clock.monotonic_seconds()
        try:
            snapshots = self._source.read()
        except ObserveError as error:
            idled = self._actuator.idle()
            last = (memory.last for memory in self._memory.values() if memory.last is not None)
            good = tuple(  # an old failure was told in its own pass
                replace(engine, failure=None, acted=idled or engine.acted) for engine in last
            )
            return self._cycle(started, started, good, Failure(error.reason, error.message))
        told = self._told(snapshots)
        observed_at = self._clock.monotonic_seconds()
        for key in self._memory.keys() - {snapshot.key for snapshot in snapshots}:
            del self._memory[key]
        return self._cycle(started, observed_at, tuple(self._engine(snapshot, told) for snapshot in snapshots))

    def pause_seconds(self, interval_seconds: float) -> float:
        """Time to the next pass: shorter while a probe runs, since it may cost throughput."""
        probing = any(memory.learnt.course.probe for memory in self._memory.values())
        return interval_seconds * PROBE_SHARE if probing else interval_seconds

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
            return self._plugin.read()
        except ObserveError as error:
            return Failure(error.reason, error.message)

    def _engine(self, snapshot: Snapshot, told: Speculation | Failure | None) -> EngineCycle:
        memory = self._memory.get(snapshot.key, self._fresh)
        if memory.learnt.k_max not in (None, snapshot.k_max):  # another server under the same name
            memory = replace(memory, learnt=self._fresh.learnt, policy=PolicyState())
        speculation = told if isinstance(told, Speculation) else None
        memory = self._found(memory, speculation)
        try:
            memory = self._judge(snapshot, memory, speculation)
        except ObserveError as error:
            last = memory.last
            if last is None or last.window is None or last.k_max != snapshot.k_max:  # nothing good, or outdated
                last = _undecided(snapshot, error.reason, error.message)
            last = replace(last, failure=Failure(error.reason, error.message))
            memory = self._act(replace(memory, last=last), speculation)
        assert memory.last is not None
        if isinstance(told, Failure):
            failed = Acted(Outcome.FAILED, told.reason, told.message)
            memory = replace(memory, last=replace(memory.last, acted=failed))
        self._memory[snapshot.key] = replace(memory, snapshot=snapshot)
        assert memory.last is not None
        return memory.last

    def _judge(self, snapshot: Snapshot, memory: EngineMemory, speculation: Speculation | None) -> EngineMemory:
        if snapshot.k_max is None:
            last = _undecided(snapshot, Reason.NO_SPECULATION, NO_SPECULATION)
            return replace(memory, last=replace(last, acted=self._actuator.idle() or NOTHING_DONE))
        if self._stated_k is not None and self._stated_k > snapshot.k_max:
            raise ObserveError(
                Reason.K_IMPOSSIBLE,
                f"--k {self._stated_k:g} is beyond k_max={snapshot.k_max}, the server's num_speculative_tokens: state "
                "the k in force, or leave --k out.",
            )
        if memory.snapshot is None:
            return self._act(replace(memory, last=_undecided(snapshot, Reason.WARMING_UP, WARMING_UP)), speculation)
        before = memory.snapshot, memory.speculation
        sight = see(before[0], snapshot, before[1], speculation, self._method, self._stated_k)  # observe
        memory = replace(memory, strayed=memory.strayed + 1 if sight.applied is False else 0)
        if sight.window.drafts > 0:
            memory = replace(memory, drafted_at_seconds=self._clock.monotonic_seconds())
        learnt = learn(memory.learnt, sight)  # model
        known = Known.of(learnt, sight, self._capture_limit_tokens)
        memory = replace(memory, learnt=learnt)
        cycle = EngineCycle(
            *snapshot.key, snapshot.k_max, _unready(sight), sight.window, known.acceptance_seen, known.step_time
        )
        market = known.market
        if market is not None and self._can_decide(sight, known):
            memory, decision = self._decide(market, sight, memory, speculation)  # decide
            cycle = replace(cycle, decision=decision, workloads=_workloads(market, sight, learnt, decision))
        return self._act(replace(memory, last=cycle), speculation, sight)  # act

    def _can_decide(self, sight: Sight, known: Known) -> bool:
        """At k=0 nothing is learnt of acceptance: only live control, which can probe, decides on a mere prior."""
        busy = sight.window.request_steps > 0 and sight.window.steps > 0
        return busy and (known.acceptance_seen is not None or self._live is not None)

    def _decide(
        self, market: Market, sight: Sight, memory: EngineMemory, speculation: Speculation | None
    ) -> tuple[EngineMemory, Decision]:
        now = self._clock.monotonic_seconds()
        window, live, course = sight.window, self._live, memory.learnt.course
        settings = replace(self._policy, max_batch=sight.max_num_seqs or self._policy.max_batch)
        situation = Situation(
            batch=max(1.0, window.decode_batch or 1.0),
            k_now=sight.now.k,
            drafted=window.drafts > 0,
            now_seconds=None if window.seconds is None else now,
            tpot_seconds=window.tpot_seconds,
        )
        if live is None or not course.home:
            decision = decide(market, situation, memory.policy, settings)
            return replace(memory, policy=remembered(decision, memory.policy, now)), decision
        impossible = _impossible(speculation, market.k_max, live)
        base = decide(
            market,
            replace(situation, home=course.home),
            PolicyState(changed_at_seconds=course.changed_at_seconds),
            settings,
            course.barred(situation.batch, now, probes=False),
            impossible,
        )
        moment = steer.Moment(
            now_seconds=now,
            realised=_realised(sight, market, now),
            positions_observed=market.acceptance.positions_observed,
            waiting=window.waiting,
            tpot_seconds=window.tpot_seconds,
            chance=live.chance(),
            blind_seconds=now - memory.drafted_at_seconds if memory.drafted_at_seconds is not None else math.inf,
            blank=() if window.drafts > 0 else blank(market, sight).prices([situation.batch], 0.0).scores(0),
        )
        rest = memory.stood_down_until_seconds
        if rest is not None:
            decision = steer.stood_down(base, course, rest - now)
        elif live.frozen():
            decision, course = steer.frozen(base, course)
        else:
            decision, course = steer.steer(base, course, moment, settings, impossible)
        return replace(memory, learnt=replace(memory.learnt, course=course)), decision

    def _found(self, memory: EngineMemory, speculation: Speculation | None) -> EngineMemory:
        """The memory after a look at what is in force: another's hold, or another's reset, is respected."""
        if self._live is None or speculation is None:
            return memory
        now, rest = self._clock.monotonic_seconds(), memory.stood_down_until_seconds
        learnt, owner = memory.learnt, self._live.owner
        if steer.was_reset(memory.speculation, speculation, owner, self._interval(memory, now)):
            learnt = replace(learnt, course=replace(learnt.course, home=(), probe=None, change=None))
            rest = now + self._live.stand_down_seconds
        elif rest is not None and now >= rest:
            rest = None
        if steer.was_released(memory.speculation, speculation, owner):
            learnt = replace(learnt, course=replace(learnt.course, home=()))
        learnt = replace(learnt, course=steer.found(learnt.course, speculation, owner))
        return replace(memory, learnt=learnt, stood_down_until_seconds=rest)

    def _interval(self, memory: EngineMemory, now: float) -> float:
        at = memory.snapshot.at_seconds if memory.snapshot else None
        return now - at if at is not None else math.inf

    def _act(self, memory: EngineMemory, speculation: Speculation | None, sight: Sight | None = None) -> EngineMemory:
        """Carry out, or keep up, what is wanted; the engine forgets a schedule that nobody renews."""
        assert memory.last is not None
        if self._live is None:
            last = memory.last
            if last.failure:  # the decision is an old one: nothing new is done for it
                acted = self._actuator.idle() or NOTHING_DONE
            else:
                acted = self._actuator.act(Order(last.model_name, last.engine, last.decision))
            return replace(memory, last=replace(last, acted=acted), speculation=speculation)
        out, frozen = memory.stood_down_until_seconds is not None, self._live.frozen()
        course = self._settled(memory.learnt.course, frozen)
        limit = speculation.max_num_seqs if speculation else self._policy.max_batch
        wanted: Schedule = () if out or not course.home else course.wanted(limit)
        order = Order(memory.last.model_name, memory.last.engine, memory.last.decision, wanted, speculation)
        acted = self._actuator.act(order)
        told = acted.speculation
        if told is not None and speculation is not None:  # a PUT is not answered with counts
            told = replace(told, measured=speculation.measured)
        control = Control(
            speculation=told or speculation,
            wanted=wanted,
            applied=None if sight is None else sight.applied or (None if memory.strayed < STRAYED_WINDOWS else False),
            frozen=frozen,
            review=course.latest,
        )
        return replace(
            memory,
            learnt=replace(memory.learnt, course=course),
            last=replace(memory.last, acted=replace(acted, speculation=None), control=control),
            speculation=control.speculation,
        )

    def _settled(self, course: steer.Course, frozen: bool) -> steer.Course:
        """The course where this pass decided nothing: a freeze ends a probe, and a rest of the server costs nothing."""
        account = course.account.after(self._clock.monotonic_seconds(), 0.0, self._policy)
        return replace(course, account=account, probe=None if frozen else course.probe)

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


NO_SPECULATION: Final = (
    "The server shows no speculative-decoding counters: it was started without --speculative-config. "
    "Start it with one (see `controller launch-config`); adaptive-k can then tell which k pays."
)
WARMING_UP: Final = "This is the first page of this server; the next one makes a window."
IDLE: Final = "No tokens were decoded in the window: send traffic, or watch for longer."
NOTHING_DRAFTED: Final = (
    "Tokens were decoded, but nothing was drafted: k is 0 now, or the drafter found no match. Acceptance is not known "
    "until something is drafted."
)


def _unready(sight: Sight) -> Decision:
    """What is said unless something can be decided."""
    idle = sight.window.request_steps <= 0 or sight.window.steps <= 0
    if idle:
        return Decision(Action.HOLD, Reason.IDLE, IDLE)
    return Decision(Action.HOLD, Reason.NOTHING_DRAFTED, NOTHING_DRAFTED)


def _impossible(speculation: Speculation | None, k_max: int, live: Live) -> frozenset[int]:
    """The ks that the engine has no CUDA graph for, unless the operator accepts slower steps."""
    graphs = speculation.k_with_graph if speculation else None
    return frozenset() if graphs is None or live.allow_k_without_graph else frozenset(range(k_max + 1)) - set(graphs)


def _realised(sight: Sight, market: Market, now_seconds: float) -> Realised | None:
    """What the window yielded; None when it ran more than one k."""
    rate = sight.log_rate
    if sight.single_k is None or rate is None or sight.single_k > market.k_max:
        return None
    expected = tuple(market.tokens_per_step(k) for k in range(market.k_max + 1))
    return Realised(now_seconds, max(1.0, sight.window.decode_batch or 1.0), sight.single_k, rate, expected)


def _workloads(market: Market, sight: Sight, learnt: Learnt, decision: Decision) -> tuple[mix.WorkloadAnswer, ...]:
    k = decision.k_now if decision.k_now is not None else decision.k
    if k is None or decision.batch is None:
        return ()
    return mix.answers(market, sight.drafter, learnt.workloads, decision.batch, min(float(k), float(market.k_max)))


def _undecided(snapshot: Snapshot, reason: Reason, sentence: str) -> EngineCycle:
    decision = Decision(Action.HOLD, reason, sentence)
    return EngineCycle(snapshot.model_name, snapshot.engine, snapshot.k_max, decision)
