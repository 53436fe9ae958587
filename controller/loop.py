"""The control loop: observe -> model -> decide -> act, once a pass."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from controller.act.actuator import Actuator
from controller.clock import Clock
from controller.cycle import Cycle, EngineCycle, Failure
from controller.decide.decision import Action, Decision
from controller.decide.policy import PolicySettings, PolicyState, Situation, decide, remembered
from controller.decide.present import Present, present
from controller.model.acceptance import Acceptance, AcceptanceEvidence, estimate, observed
from controller.model.drafter import METHODS, UNKNOWN, Drafter, Drafting, Method
from controller.model.economics import Market
from controller.model.step_table import StepTable
from controller.model.step_time import fit
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.source import MetricsSource
from controller.observe.window import Window, between
from controller.reason import Reason

JITTER: Final = 0.1
"""Passes come this share of the interval early or late, so that many sidecars do not scrape in step."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What is kept of one engine from pass to pass; all of it small, frozen and made of numbers."""

    snapshot: Snapshot | None = None
    evidence: AcceptanceEvidence | None = None
    table: StepTable = StepTable()
    policy: PolicyState = PolicyState()
    last: EngineCycle | None = None


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
        """
        self._source = source
        self._clock = clock
        self._actuator = actuator
        self._policy = policy
        self._known_drafter: Drafter | None = METHODS[method] if method else None
        self._stated_k = stated_k
        self._capture_limit_tokens = capture_limit_tokens
        self._fresh = EngineMemory(table=profile or StepTable())
        self._memory: dict[tuple[str, str], EngineMemory] = {}
        self._number = 0

    def step(self) -> Cycle:
        """One pass. Everything that the outside world can do wrong becomes part of the cycle; nothing is raised."""
        self._number += 1
        started = self._clock.monotonic_seconds()
        try:
            snapshots = self._source.read()
        except ObserveError as error:
            last = (memory.last for memory in self._memory.values() if memory.last is not None)
            good = tuple(replace(engine, failure=None) for engine in last)  # an old failure was told in its own pass
            return self._cycle(started, started, good, Failure(error.reason, error.message))
        observed_at = self._clock.monotonic_seconds()
        gone = self._memory.keys() - {snapshot.key for snapshot in snapshots}
        for key in gone:
            del self._memory[key]
        return self._cycle(started, observed_at, tuple(self._engine(snapshot) for snapshot in snapshots))

    def run(
        self,
        stop: threading.Event,
        interval_seconds: float,
        publish: Callable[[Cycle], None],
        jitter: Callable[[], float],
    ) -> None:
        """Passes every `interval_seconds` until `stop` is set; `jitter` yields -1..1.

        A pass that takes longer than the interval delays the next one; missed passes are not made up for.
        """
        due = self._clock.monotonic_seconds()
        while True:
            publish(self.step())
            now = self._clock.monotonic_seconds()
            due = max(due + interval_seconds * (1 + JITTER * jitter()), now)
            if self._clock.wait(due - now, stop):
                return

    def _engine(self, snapshot: Snapshot) -> EngineCycle:
        memory = self._memory.get(snapshot.key, self._fresh)
        try:
            memory = self._judge(snapshot, memory)
        except ObserveError as error:
            last = memory.last
            if last is None or last.window is None or last.k_max != snapshot.k_max:  # nothing good, or outdated
                last = _undecided(snapshot, error.reason, error.message)
            memory = replace(memory, last=replace(last, failure=Failure(error.reason, error.message)))
        self._memory[snapshot.key] = replace(memory, snapshot=snapshot)
        assert memory.last is not None
        return memory.last

    def _judge(self, snapshot: Snapshot, memory: EngineMemory) -> EngineMemory:
        if snapshot.k_max is None:
            return replace(memory, last=_undecided(snapshot, Reason.NO_SPECULATION, NO_SPECULATION))
        if self._stated_k is not None and self._stated_k > snapshot.k_max:
            raise ObserveError(
                Reason.K_IMPOSSIBLE,
                f"--k {self._stated_k:g} is beyond k_max={snapshot.k_max}, the server's num_speculative_tokens: state "
                "the k in force, or leave --k out.",
            )
        if memory.snapshot is None:
            return replace(memory, last=_undecided(snapshot, Reason.WARMING_UP, WARMING_UP))
        window = between(memory.snapshot, snapshot)  # observe
        now = present(window, self._known_drafter, self._stated_k)
        evidence = observed(memory.evidence, window, now.drafting, now.k)  # model
        table = memory.table.with_window(window)
        step_time = fit(table, self._drafter, self._capture_limit_tokens)
        acceptance = estimate(evidence, self._drafter) if evidence.drafts > 0 else None
        partial = replace(memory, evidence=evidence, table=table)
        unready = _unready(window, acceptance)
        if unready is not None or acceptance is None or step_time is None:
            decision = unready or Decision(Action.HOLD, Reason.IDLE, IDLE)
            cycle = EngineCycle(*snapshot.key, snapshot.k_max, decision, window, acceptance, step_time)
            return replace(partial, last=cycle)
        seen_k = _seen_k(evidence, now, snapshot.k_max)
        market = Market(
            acceptance, step_time, now.drafting, seen_k, evidence.mean_draft_length, self._drafter.persistence
        )
        decision = decide(market, self._situation(window, now), memory.policy, self._policy)  # decide
        outcome = self._actuator.act(*snapshot.key, decision)  # act
        return replace(
            partial,
            policy=remembered(decision, memory.policy, self._clock.monotonic_seconds()),
            last=EngineCycle(*snapshot.key, snapshot.k_max, decision, window, acceptance, step_time, outcome),
        )

    @property
    def _drafter(self) -> Drafter:
        return self._known_drafter or UNKNOWN

    def _situation(self, window: Window, now: Present) -> Situation:
        return Situation(
            batch=max(1.0, window.decode_batch or 1.0),
            k_now=now.k,
            drafted=window.drafts > 0,
            now_seconds=None if window.seconds is None else self._clock.monotonic_seconds(),
        )

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


def _unready(window: Window, acceptance: Acceptance | None) -> Decision | None:
    if window.request_steps <= 0 or window.steps <= 0:
        return Decision(Action.HOLD, Reason.IDLE, IDLE)
    if acceptance is None:
        return Decision(Action.HOLD, Reason.NOTHING_DRAFTED, NOTHING_DRAFTED)
    return None


def _seen_k(evidence: AcceptanceEvidence, now: Present, k_max: int) -> int:
    """The k at which the acceptance in memory was seen, which may not be the k of this window."""
    if now.drafting is Drafting.FIXED:
        return min(k_max, max(1, round(evidence.mean_draft_length)))
    return min(k_max, max(1, round(now.k))) if now.k else k_max


def _undecided(snapshot: Snapshot, reason: Reason, sentence: str) -> EngineCycle:
    decision = Decision(Action.HOLD, reason, sentence)
    return EngineCycle(snapshot.model_name, snapshot.engine, snapshot.k_max, decision)
