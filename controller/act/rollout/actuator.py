"""Changing k by rolling the Kubernetes workload, for servers without the engine plugin.

A change is one JSON patch: the config, and annotations that record it. Whatever happens to us after that, the next
process reads how far it has come from the workload itself.
"""

from dataclasses import replace
from typing import Any, Final

from controller.act.rollout.api import ApiServer, KubernetesApi
from controller.act.rollout.economics import expectation, realised
from controller.act.rollout.guards import refuse_too_soon, refuse_worthless, wanted_text
from controller.act.rollout.lease import Lease
from controller.act.rollout.place import Place, find_place
from controller.act.rollout.record import Phase, Record, read_record
from controller.act.rollout.result import Edit, RolloutOutcome, RolloutResult, RolloutStop
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.target import Target
from controller.act.rollout.workload import State, other_manager, progress, refuse_unfit, replicas_of
from controller.clock import Clock
from controller.decide.decision import Action, Bounded, Decision
from controller.plain import plain

LOOK_SECONDS: Final = 60.0
"""How often the workload is read while there is nothing to do: another replica may have died in a change."""
PAUSE_SECONDS: Final = 10.0
PAUSE_SECONDS_MAX: Final = 300.0
"""An API server that fails is asked again after 10 s, 20 s, ... 300 s; it is never in the way of a pass for long."""
ENGINE_SECONDS: Final = 300.0
"""An engine that was not heard of for so long is gone."""
SHOWN: Final = 400
"""Characters of a config in a sentence; all of it is in the annotations."""
_OUTAGES: Final = frozenset(
    {
        RolloutOutcome.API_UNREACHABLE,
        RolloutOutcome.API_ERROR,
        RolloutOutcome.RATE_LIMITED,
        RolloutOutcome.UNAUTHENTICATED,
        RolloutOutcome.FORBIDDEN,
        RolloutOutcome.NOT_FOUND,
        RolloutOutcome.REJECTED,
    }
)
_IDLE: Final = RolloutResult(RolloutOutcome.NOTHING_TO_DO, "k is as it should be, and no change is under way.")


class RolloutActuator:
    """Edits the workload's speculative config when that pays for the restarts, and sees the change through."""

    def __init__(self, settings: RolloutSettings, server: ApiServer, clock: Clock) -> None:
        """Asks for nothing yet."""
        self._settings = settings
        self._clock = clock
        api = KubernetesApi(clock, server)
        self._target = Target(api, clock, settings)
        self._lease = Lease(
            api,
            clock,
            namespace=settings.namespace,
            name=settings.lease,
            identity=settings.identity,
            duration_seconds=settings.lease_seconds,
        )
        self._record: Record | None = None
        self._uid: str | None = None
        self._looked_at_seconds: float | None = None
        self._engines: dict[tuple[str, str], float] = {}
        self._outages = 0
        self._silent_until_seconds = 0.0
        self._stopped: RolloutStop | None = None
        self._warnings: list[str] = []

    def act(self, model_name: str, engine: str, decision: Decision) -> RolloutResult:
        """Carry out one decision for one engine, or see to the change that is under way. Nothing is raised."""
        now = self._clock.monotonic_seconds()
        heard_of = {each: seen for each, seen in self._engines.items() if now - seen < ENGINE_SECONDS}
        self._engines = heard_of | {(model_name, engine): now}
        if len(self._engines) > 1:
            return RolloutResult(
                RolloutOutcome.NOT_POSSIBLE,
                "The server has several engines, and one config for all of them: k is not changed by rolling it.",
            )
        return self._pass(decision)

    def tend(self) -> RolloutResult:
        """See to the change that is under way, in a pass that has no decision: the server may be down for it."""
        return self._pass(None)

    def _pass(self, decision: Decision | None) -> RolloutResult:
        now = self._clock.monotonic_seconds()
        if self._stopped is not None and now < self._silent_until_seconds:
            return RolloutResult(self._stopped.outcome, self._stopped.sentence)
        if not _wants_change(decision) and not self._due(now):
            return _IDLE
        self._warnings = []
        try:
            result = self._judge(decision)
        except RolloutStop as stop:
            self._pause(stop)
            result = RolloutResult(stop.outcome, stop.sentence)
        else:
            self._outages, self._stopped = 0, None
            self._looked_at_seconds = now
        return replace(result, warnings=(*result.warnings, *self._warnings))

    def _due(self, now_seconds: float) -> bool:
        looked = self._looked_at_seconds
        in_flight = self._record is not None and self._record.phase.in_flight
        return in_flight or looked is None or now_seconds - looked >= LOOK_SECONDS

    def _pause(self, stop: RolloutStop) -> None:
        if stop.outcome not in _OUTAGES:
            self._outages, self._stopped = 0, None
            return
        seconds = stop.retry_seconds or min(PAUSE_SECONDS * 2 ** min(self._outages, 10), PAUSE_SECONDS_MAX)
        self._outages += 1
        self._stopped = stop
        self._silent_until_seconds = self._clock.monotonic_seconds() + seconds

    def _judge(self, decision: Decision | None) -> RolloutResult:
        workload = self._target.read()
        record = self._recall(workload)
        if record is not None and record.phase.in_flight:
            if self._settings.dry_run:
                return RolloutResult(RolloutOutcome.DRY_RUN, f"A change is under way ({record.phase.value}).")
            self._lease.hold()
            return self._follow(workload, record, decision)
        if decision is None or not _wants_change(decision):
            return _IDLE
        return self._change(workload, record, decision)

    def _recall(self, workload: dict[str, Any]) -> Record | None:
        """The record in the annotations; ours in memory where somebody removed them, or put older ones back.

        `kubectl rollout undo` does so: it restores the annotations together with the template.
        """
        if workload["metadata"]["uid"] != self._uid:
            self._uid, self._record = workload["metadata"]["uid"], None
        try:
            found = read_record(workload)
        except RolloutStop:
            self._record = None
            raise
        if found is not None and not found.older_than(self._record):
            self._record = found
        return self._record

    def _find(self, workload: dict[str, Any]) -> Place:
        return find_place(workload, self._settings.container, self._settings.variable)

    def _text(self, workload: dict[str, Any]) -> str | None:
        """The config; None where somebody changed the workload so that it is not known which one."""
        try:
            return self._find(workload).text
        except RolloutStop:
            return None

    def _change(self, workload: dict[str, Any], record: Record | None, decision: Decision) -> RolloutResult:
        settings, now = self._settings, self._clock.unix_seconds()
        place = self._find(workload)
        if record is not None and record.phase is Phase.SETTLED and place.text != record.applied:
            return self._reverted(workload, record)
        text = wanted_text(place, decision, settings)
        if text == place.text:
            return RolloutResult(
                RolloutOutcome.NOTHING_TO_DO,
                f"The workload {settings.workload} has this config already, but the server runs another k: look at its "
                "log for the config that it took.",
            )
        refuse_too_soon(record, settings, now)
        refuse_unfit(workload, settings.startup_seconds, settings.rollout_timeout_seconds)
        expected = expectation(decision)
        if expected is None:
            return RolloutResult(RolloutOutcome.NOTHING_TO_DO, "The decision has no prices to judge a restart by.")
        refuse_worthless(decision, expected, replicas_of(workload), settings)
        fresh = Record(
            changed_unix_seconds=now,
            changes_that_day=1 + (record.changes_on(now) if record else 0),
            previous=place.text,
            applied=text,
            phase=Phase.ROLLING,
            phase_unix_seconds=now,
            setbacks=record.setbacks if record else 0,
            expected=expected,
        )
        patch = self._target.edit(workload, place, text, fresh)
        edit = Edit(place.pointer, place.text, text)
        if settings.dry_run:
            self._target.send(patch, dry_run=True)
            return RolloutResult(
                RolloutOutcome.DRY_RUN, f"The API server accepts this patch of {settings.workload}.", edit, patch
            )
        self._lease.hold()
        self._target.send(patch)
        self._record = fresh
        sentence = f"{settings.workload} rolls to {plain(text, SHOWN)}: {decision.sentence}"
        self._report(workload, "SpeculationRolloutStarted", sentence)
        return RolloutResult(RolloutOutcome.STARTED, sentence, edit, patch)

    def _follow(self, workload: dict[str, Any], record: Record, decision: Decision | None) -> RolloutResult:
        """One step of the change that is under way."""
        back = record.phase is Phase.ROLLING_BACK
        if record.phase is not Phase.SETTLING:
            workload = self._target.news(workload)
        if self._text(workload) != (record.previous if back else record.applied):
            return self._reverted(workload, record)
        if record.phase is Phase.SETTLING:
            return self._settle(workload, record, decision)
        now = progress(workload, self._seconds_in(record))
        if now.state is State.DONE:
            return self._rolled_back(workload, record) if back else self._rolled(workload, record)
        late = self._seconds_in(record) > self._settings.rollout_timeout_seconds
        if now.state is State.GOING and not late:
            outcome = RolloutOutcome.ROLLING_BACK if back else RolloutOutcome.ROLLING
            return RolloutResult(outcome, f"{self._settings.workload}: {now.sentence}.")
        why = "it takes too long: " + now.sentence if late else now.sentence
        return self._stuck(workload, record, why) if back else self._roll_back(workload, record, f"It failed: {why}.")

    def _rolled(self, workload: dict[str, Any], record: Record) -> RolloutResult:
        sentence = f"{self._settings.workload} runs the new config; its gain is measured next."
        return self._enter(workload, record, Phase.SETTLING, RolloutOutcome.SETTLING, sentence)

    def _settle(self, workload: dict[str, Any], record: Record, decision: Decision | None) -> RolloutResult:
        waited = self._seconds_in(record)
        measured = None if decision is None else realised(record.expected, decision)
        if waited < self._settings.settle_seconds or (
            measured is None and waited < self._settings.settle_seconds + self._settings.judge_within_seconds
        ):
            return RolloutResult(RolloutOutcome.SETTLING, f"{self._settings.workload}: the gain is being measured.")
        if measured is not None and measured.high < 1:
            return self._roll_back(workload, record, f"It lost: {_against(measured, record.expected.gain)}.")
        brought = (
            "its gain could not be measured: no load like that before it was seen"
            if measured is None
            else _against(measured, record.expected.gain)
        )
        kept = record if measured is None else replace(record, setbacks=0)
        sentence = f"{self._settings.workload} keeps its new config: {brought}."
        return self._enter(workload, kept, Phase.SETTLED, RolloutOutcome.SETTLED, sentence, "SpeculationRolloutSettled")

    def _roll_back(self, workload: dict[str, Any], record: Record, why: str) -> RolloutResult:
        place, now = self._find(workload), self._clock.unix_seconds()
        back = replace(
            record,
            changed_unix_seconds=now,
            changes_that_day=record.changes_on(now) + 1,
            phase=Phase.ROLLING_BACK,
            phase_unix_seconds=now,
            setbacks=record.setbacks + 1,
        )
        patch = self._target.edit(workload, place, record.previous, back)
        self._target.send(patch)
        self._record = back
        sentence = f"{self._settings.workload} rolls back to {plain(record.previous, SHOWN)}. {why}"
        self._report(workload, "SpeculationRolloutRolledBack", sentence, warning=True)
        edit = Edit(place.pointer, place.text, record.previous)
        return RolloutResult(RolloutOutcome.ROLLING_BACK, sentence, edit, patch)

    def _rolled_back(self, workload: dict[str, Any], record: Record) -> RolloutResult:
        sentence = f"{self._settings.workload} runs its former config again."
        return self._enter(workload, record, Phase.ROLLED_BACK, RolloutOutcome.ROLLED_BACK, sentence)

    def _stuck(self, workload: dict[str, Any], record: Record, why: str) -> RolloutResult:
        sentence = (
            f"{self._settings.workload} has its former config, but does not come up ({why}): look at its pods. A "
            "StatefulSet's pod that never became ready has to be deleted by hand."
        )
        return self._enter(
            workload, record, Phase.ROLLED_BACK, RolloutOutcome.ROLLBACK_FAILED, sentence, "SpeculationRollbackFailed"
        )

    def _reverted(self, workload: dict[str, Any], record: Record) -> RolloutResult:
        who = other_manager(workload, "adaptive-k")
        sentence = (
            f"The speculative config of {self._settings.workload} is not the one that was put there; "
            f"{who or 'somebody'} wrote it since. It is left as it is, and the next change waits longer: change it at "
            "its source (Git), exclude the field from its sync, or switch the rollout off."
        )
        if self._settings.dry_run:
            return RolloutResult(RolloutOutcome.REVERTED, sentence)
        self._lease.hold()
        more = replace(record, setbacks=record.setbacks + 1)
        return self._enter(
            workload, more, Phase.REVERTED, RolloutOutcome.REVERTED, sentence, "SpeculationRolloutReverted"
        )

    def _enter(
        self,
        workload: dict[str, Any],
        record: Record,
        phase: Phase,
        outcome: RolloutOutcome,
        sentence: str,
        reason: str = "SpeculationRolloutProgressed",
    ) -> RolloutResult:
        """Write down that the change has come to this phase, tell it, and give the Lease back at the end of it."""
        fresh = replace(record, phase=phase, phase_unix_seconds=self._clock.unix_seconds())
        self._target.note(workload, fresh)
        self._record = fresh
        warning = outcome in (RolloutOutcome.REVERTED, RolloutOutcome.ROLLBACK_FAILED)
        self._report(workload, reason, sentence, warning=warning)
        if not phase.in_flight:
            self._release()
        return RolloutResult(outcome, sentence)

    def _report(self, workload: dict[str, Any], reason: str, sentence: str, *, warning: bool = False) -> None:
        wrong = self._target.report(workload, reason, sentence, warning=warning)
        if wrong is not None:
            self._warnings.append(wrong)

    def _release(self) -> None:
        try:
            self._lease.release()
        except RolloutStop as stop:
            self._warnings.append(f"The Lease was not given back and runs out by itself: {stop.sentence}")

    def _seconds_in(self, record: Record) -> float:
        return self._clock.unix_seconds() - record.phase_unix_seconds


def _wants_change(decision: Decision | None) -> bool:
    return decision is not None and decision.action in (Action.CHANGE, Action.DISABLE)


def _against(measured: Bounded, expected: float) -> str:
    return (
        f"{measured.value - 1:+.1%} ({measured.low - 1:+.1%} to {measured.high - 1:+.1%}) was measured, "
        f"{expected - 1:+.1%} expected"
    )
