"""The loop turns everything that the outside world does into cycles, and keeps the last good state."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from fakes import ManualClock, Read, RecordingActuator, ScriptedSource
from hypothesis import given
from hypothesis import strategies as st
from pages import BAD_PAGES, BAD_SUCCESSORS, after, page, snapshot

from controller.act.actuator import Acted, Order, Outcome
from controller.cycle import Cycle, Failure
from controller.decide.decision import Action
from controller.decide.policy_settings import PolicySettings
from controller.defect import defect
from controller.learn import Known, Question, answers
from controller.live import Live
from controller.loop import JITTER, Controller
from controller.model.drafter import Method
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation
from controller.reason import Reason

DULL = (0.1, 0.02, 0.0, 0.0)
UNREACHABLE = ObserveError(Reason.SERVER_UNREACHABLE, "No connection.")
FIRST = snapshot()
SECOND = after(FIRST)
THIRD = after(SECOND)


def watched(
    *reads: Read, seconds: float = 10.0, actuator: RecordingActuator | None = None, **options: Any
) -> list[Cycle]:
    """The cycles of a loop over these reads, one a pass."""
    clock = ManualClock()
    loop = Controller(
        ScriptedSource(clock, *reads, before_read=lambda: clock.advance(seconds)),
        clock,
        actuator or RecordingActuator(),
        PolicySettings(),
        **options,
    )
    return [loop.step() for _ in reads]


def test_the_first_page_warms_up_and_the_second_makes_a_window() -> None:
    """One page is a state, two are a window."""
    first, second = watched([FIRST], [SECOND])
    assert (first.number, second.number) == (1, 2)
    assert [each.decision.reason for each in first.engines] == [Reason.WARMING_UP]
    (engine,) = second.engines
    assert engine.window is not None
    assert engine.window.drafts == 4000
    assert engine.decision.scores
    assert second.failures == ()


def test_a_page_is_judged_as_its_snapshots_are() -> None:
    """Text and snapshots take the same path."""
    (_, text), (_, values) = (
        watched(page(FIRST), page(SECOND)),
        watched([replace(FIRST, at_seconds=1010.0)], [replace(SECOND, at_seconds=1020.0)]),
    )
    assert text.engines[0].decision == values.engines[0].decision


@pytest.mark.parametrize(("text", "reason", "words"), BAD_PAGES.values(), ids=BAD_PAGES)
def test_a_bad_page_becomes_a_cycle_that_keeps_the_last_good_state(text: str, reason: Reason, words: str) -> None:
    """The failure by name, the engines as they were; the next good page goes on as if it had not been."""
    cycles = watched(page(FIRST), page(SECOND), text, text, page(THIRD))
    good, bad, still_bad, back = cycles[1:]
    for cycle in (bad, still_bad):
        assert cycle.failure is not None
        assert cycle.failure.reason is reason
        assert words in cycle.failure.message
        assert cycle.failures == (cycle.failure,)
        assert cycle.engines == good.engines
    assert back.failures == ()
    assert back.engines[0].window is not None
    assert back.engines[0].window.seconds == 30.0


@pytest.mark.parametrize(("late", "reason", "words"), BAD_SUCCESSORS.values(), ids=BAD_SUCCESSORS)
def test_a_bad_window_is_told_once_and_the_next_one_starts_from_the_newer_page(
    late: Snapshot, reason: Reason, words: str
) -> None:
    """A restart costs one window, not the engine."""
    cycles = watched([FIRST], [SECOND], [THIRD], [late], [after(late)])
    good, bad, back = cycles[2:]
    (failure,) = bad.failures
    assert failure.reason is reason
    assert words in failure.message
    assert bad.failure is None
    assert bad.engines[0].failure == failure
    if late.k_max == FIRST.k_max:
        assert replace(bad.engines[0], failure=None) == good.engines[0]
    assert back.failures == ()


def test_the_last_decision_is_dropped_with_the_k_max_it_was_made_for() -> None:
    """A server launched anew with another k is another server."""
    bad = watched([FIRST], [SECOND], [after(after(snapshot(3)))])[-1]
    (engine,) = bad.engines
    assert (engine.k_max, engine.decision.schedule, engine.window) == (3, (), None)
    assert engine.decision.reason is Reason.SERVER_RESTARTED


def test_a_restart_before_the_first_window_is_the_decision_itself() -> None:
    """There is no good state to keep yet."""
    (engine,) = watched([SECOND], [FIRST])[-1].engines
    assert engine.decision.reason is Reason.SERVER_RESTARTED
    assert engine.failure == Failure(Reason.SERVER_RESTARTED, engine.decision.sentence)


def test_an_old_failure_is_not_told_again_with_a_new_one() -> None:
    """An unreachable server has one failure a pass, also when its last window was a restart."""
    cycle = watched([FIRST], [SECOND], [FIRST], UNREACHABLE)[-1]
    assert [failure.reason for failure in cycle.failures] == [Reason.SERVER_UNREACHABLE]


def test_a_server_that_is_down_from_the_start_has_no_engines() -> None:
    """Only the failure is known, until it comes up."""
    down, up, on = watched(UNREACHABLE, [FIRST], [SECOND])
    assert down.engines == ()
    assert down.failures == (Failure(Reason.SERVER_UNREACHABLE, "No connection."),)
    assert up.engines[0].decision.reason is Reason.WARMING_UP
    assert on.engines[0].decision.scores


@pytest.mark.parametrize("jump", [0.0, -100.0])
def test_a_clock_that_jumps_back_or_stands_still_costs_one_window(jump: float) -> None:
    """Refused by name, and the next window counts from there."""
    clock = ManualClock()
    source = ScriptedSource(clock, page(FIRST), page(SECOND), page(THIRD), page(after(THIRD)))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    cycles = []
    for seconds in (10.0, 10.0, jump, 10.0):
        clock.advance(seconds)
        cycles.append(loop.step())
    good, bad, back = cycles[1:]
    assert [failure.reason for failure in bad.failures] == [Reason.CLOCK_JUMPED]
    assert bad.engines[0].decision == good.engines[0].decision
    assert back.failures == ()


def test_engines_are_judged_each_by_itself() -> None:
    """One restarts, the other goes on."""
    other = replace(FIRST, engine="1")
    cycle = watched([FIRST, other], [SECOND, after(other)], [FIRST, after(after(other))])[-1]
    assert [engine.failure is None for engine in cycle.engines] == [False, True]
    assert cycle.failure is None


def test_an_engine_that_is_gone_is_forgotten() -> None:
    """And warms up when it returns."""
    other = replace(FIRST, engine="1")
    cycles = watched([FIRST, other], [SECOND, after(other)], [THIRD], [after(THIRD), after(after(other))])
    assert [[engine.engine for engine in cycle.engines] for cycle in cycles] == [
        ["0", "1"],
        ["0", "1"],
        ["0"],
        ["0", "1"],
    ]
    assert cycles[-1].engines[1].decision.reason is Reason.WARMING_UP


def test_a_new_engine_warms_up_beside_the_old() -> None:
    """It does not disturb them."""
    cycle = watched([FIRST], [SECOND, replace(FIRST, engine="1")])[-1]
    assert [engine.decision.reason is Reason.WARMING_UP for engine in cycle.engines] == [False, True]


def test_a_server_without_speculation_is_a_finding_not_a_failure() -> None:
    """And when it is started again with some, windows follow."""
    plain = snapshot(None)
    cycles = watched([plain], [after(plain)], [FIRST], [SECOND])
    assert [cycle.engines[0].decision.reason for cycle in cycles[:2]] == [Reason.NO_SPECULATION] * 2
    assert [failure.reason for failure in cycles[2].failures] == [Reason.SERVER_RESTARTED]
    assert cycles[3].engines[0].decision.scores


def test_an_idle_window_holds_and_keeps_what_was_learned() -> None:
    """No traffic is no evidence of anything."""
    cycles = watched([FIRST], [SECOND], [SECOND])
    (engine,) = cycles[-1].engines
    assert (engine.decision.action, engine.decision.reason) == (Action.HOLD, Reason.IDLE)
    assert engine.acceptance is not None
    assert engine.acceptance == cycles[1].engines[0].acceptance


def test_decoding_without_drafts_says_so() -> None:
    """Nothing is known of acceptance until something is drafted."""
    undrafted = replace(
        after(FIRST), drafts=0.0, draft_tokens=0.0, accepted_tokens=0.0, accepted_by_position=(0.0,) * 4
    )
    (engine,) = watched([FIRST], [undrafted])[-1].engines
    assert (engine.decision.action, engine.decision.reason) == (Action.HOLD, Reason.NOTHING_DRAFTED)


def test_the_actuator_is_asked_once_for_each_decision() -> None:
    """And its outcome is in the cycle."""
    recorder = RecordingActuator()
    dull = after(FIRST, survival=DULL, batch=64, request_steps=64_000)
    cycles = watched([FIRST], [dull], actuator=recorder, method=Method.DRAFT_MODEL)
    (engine,) = cycles[-1].engines
    assert [order.decision for order in recorder.orders] == [each.engines[0].decision for each in cycles]
    assert recorder.orders[-1] == Order("m", "0", engine.decision)
    held = engine.decision.action is Action.HOLD
    assert engine.acted.outcome is (Outcome.NOTHING_TO_DO if held else Outcome.RECOMMENDED)


@pytest.mark.parametrize(
    ("last", "asked"),
    [(UNREACHABLE, False), ([FIRST], False), ([snapshot(None)], False), ([THIRD], True)],
    ids=["no page", "a restart", "no speculation", "a good window"],
)
def test_a_pass_without_a_fresh_decision_lets_the_actuator_see_to_what_is_under_way(last: Read, *, asked: bool) -> None:
    """An old decision is not carried out again: the server may have become another one."""
    recorder = RecordingActuator()
    watched([FIRST], [SECOND], last, actuator=recorder)
    assert (len(recorder.orders), recorder.idled) == ((3, 0) if asked else (2, 1))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000),
            st.lists(st.floats(0, 1), min_size=4, max_size=4),
            st.floats(1, 512),
            st.floats(1e-6, 10),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([None, *Method]),
)
def test_no_traffic_whatever_makes_a_pass_raise(
    history: list[tuple[int, list[float], float, float]], method: Method | None
) -> None:
    """Any counters that fit together end in decisions with finite numbers."""
    reads = [FIRST]
    for steps, shares, batch, seconds in history:
        survival = tuple(sorted(shares, reverse=True))
        reads.append(after(reads[-1], request_steps=steps, survival=survival, batch=batch, step_seconds=seconds))
    for cycle in watched(*([read] for read in reads), method=method):
        for engine in cycle.engines:
            assert engine.failure is None
            assert engine.decision.sentence.endswith(".")
            assert all(0 < score.tokens_per_second < float("inf") for score in engine.decision.scores)


def test_passes_come_an_interval_apart_give_or_take_the_jitter() -> None:
    """Each due time counts from the one before, so that jitter does not add up to drift beyond itself."""
    waits = run_with([0.0, 1.0, -1.0, 0.5])
    assert waits == pytest.approx([10.0, 10 * (1 + JITTER), 10 * (1 - JITTER), 10 * (1 + JITTER / 2)])


def test_a_slow_pass_takes_from_the_wait_and_not_from_the_next_interval() -> None:
    """A pass of 4 s leaves 6 s of 10."""
    assert run_with([0.0, 0.0], pass_seconds=4.0) == pytest.approx([6.0, 6.0])


def test_passes_that_were_missed_are_not_made_up_for() -> None:
    """A pass longer than the interval is followed by the next after half an interval, and by no burst."""
    assert run_with([0.0] * 3, pass_seconds=25.0) == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("reads", "pauses"),
    [
        pytest.param(([FIRST], [SECOND], [THIRD]), [3.0, 10.0, 10.0], id="a server that is met"),
        pytest.param(([FIRST], [SECOND], [FIRST], [SECOND]), [3.0, 10.0, 3.0, 10.0], id="one that starts anew"),
        pytest.param(([FIRST], [SECOND], UNREACHABLE), [3.0, 10.0, 10.0], id="one that is gone"),
        pytest.param(([snapshot(None)], [after(snapshot(None))]), [10.0, 10.0], id="one without speculation"),
    ],
)
def test_live_control_looks_soon_at_a_server_that_has_just_begun(reads: tuple[Read, ...], pauses: list[float]) -> None:
    """The k of its launch may be a bad one; a recommendation is in no hurry."""
    live = Live("the-sidecar", frozen=lambda: False, chance=lambda: 0.0)
    for controls, expected in ((live, pauses), (None, [10.0] * len(pauses))):
        clock = ManualClock()
        source = ScriptedSource(clock, *reads, before_read=partial(clock.advance, 10.0))
        loop = Controller(source, clock, RecordingActuator(), PolicySettings(), live=controls)
        found = []
        for _ in reads:
            loop.step()
            found.append(loop.pause_seconds(10.0))
        assert found == expected


class Broken(RecordingActuator):
    """Has a fault of ours, as long as it is told to."""

    broken = True

    def act(self, order: Order) -> Acted:
        """See `Actuator`."""
        if self.broken and order.engine == "0":
            raise IndexError("a text that may quote a secret")
        return super().act(order)


def test_a_fault_of_ours_costs_one_engine_a_pass_and_what_was_learnt_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named by its place, the other engine goes on, and the next pass begins anew with what is on the page."""
    monkeypatch.setattr("controller.loop.defect", defect)
    other = replace(FIRST, engine="1")
    reads = [[FIRST, other]]
    for _ in range(4):
        reads.append([after(each) for each in reads[-1]])
    clock, actuator = ManualClock(), Broken()
    source = ScriptedSource(clock, *reads, before_read=partial(clock.advance, 10.0))
    loop = Controller(source, clock, actuator, PolicySettings())
    actuator.broken = False
    loop.step()
    loop.step()
    actuator.broken = True
    cycle = loop.step()
    bad, good = cycle.engines
    assert bad.failure is not None
    assert bad.failure.reason is Reason.DEFECT
    assert "IndexError (test_loop.py, line " in bad.failure.message
    assert "secret" not in bad.failure.message
    assert bad.decision.scores, "the last good decision is still shown"
    assert good.failure is None
    assert {key[1]: learnt.evidence is None for key, learnt in loop.learnt.items()} == {"0": True, "1": False}
    actuator.broken = False
    back = loop.step().engines[0]
    assert back.failure is None
    assert back.decision.scores


def test_an_engine_that_the_model_cannot_answer_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked about together, and each by itself once that fails."""
    monkeypatch.setattr("controller.loop.defect", defect)
    asked: list[int] = []

    def answer(questions: Sequence[Question]) -> list[Known]:
        asked.append(len(questions))
        if any(each.sight.window.engine == "1" for each in questions):
            raise ArithmeticError("of the model")
        return answers(questions)

    monkeypatch.setattr("controller.loop.answers", answer)
    reads = [[replace(FIRST, engine=engine) for engine in "012"]]
    reads.append([after(each) for each in reads[-1]])
    clock = ManualClock()
    source = ScriptedSource(clock, *reads, before_read=partial(clock.advance, 10.0))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    loop.step()
    first, second, third = loop.step().engines
    assert asked == [3, 1, 1, 1]
    assert second.failure is not None
    assert "ArithmeticError (test_loop.py, line " in second.failure.message
    assert first.failure is third.failure is None
    assert first.decision.scores == third.decision.scores != ()


def test_a_fault_of_ours_where_pages_are_read_is_told_like_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good state stays, and the next page is read."""
    monkeypatch.setattr("controller.loop.defect", defect)
    clock = ManualClock()
    reads = iter([[FIRST], [SECOND], None, [THIRD]])

    class Source:
        def read(self) -> tuple[Snapshot, ...]:
            clock.advance(10.0)
            return tuple(next(reads))  # type: ignore[arg-type]  # None cannot be: that is the fault

    loop = Controller(Source(), clock, RecordingActuator(), PolicySettings())
    _, good, bad, back = [loop.step() for _ in range(4)]
    assert [each.reason for each in bad.failures] == [Reason.DEFECT]
    assert bad.engines == good.engines
    assert back.failures == ()


def test_a_plugin_of_another_server_than_the_page_is_not_believed() -> None:
    """It would tell of ks that the page has no draft positions for."""
    ranges = ((1, 256, 9),)
    told = Speculation(1, "b", 0, None, "eagle", 4, 256, ranges, ranges, None, writable=True, read_only_because=None)

    class Plugin:
        def read(self) -> Speculation:
            return told

    live = Live("the-sidecar", frozen=lambda: False, chance=lambda: 0.0)
    for cycle in watched([FIRST], [SECOND], plugin=Plugin(), live=live):
        (engine,) = cycle.engines
        assert (engine.acted.outcome, engine.acted.reason) == (Outcome.FAILED, Reason.PLUGIN_ANSWER_BAD)
        assert "k=9" in engine.acted.message
        assert engine.failure is None, "what the page says is judged all the same"


def test_stop_ends_the_run_after_the_pass_in_progress() -> None:
    """The pass is published, then nothing more."""
    stop = threading.Event()
    clock = ManualClock()
    loop = Controller(ScriptedSource(clock, [FIRST]), clock, RecordingActuator(), PolicySettings())
    published: list[int] = []

    def publish(cycle: Cycle) -> None:
        published.append(cycle.number)
        if cycle.number == 3:
            stop.set()

    loop.run(stop, 10.0, publish, jitter=lambda: 0.0)
    assert published == [1, 2, 3]


def run_with(jitters: list[float], pass_seconds: float = 0.0) -> list[float]:
    """The waits of a run whose passes take so long, one for each jitter."""
    stop = threading.Event()
    clock = ManualClock()
    source = ScriptedSource(clock, [FIRST], before_read=lambda: clock.advance(pass_seconds))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    left = iter(jitters)

    def publish(cycle: Cycle) -> None:
        if cycle.number == len(jitters):
            stop.set()

    loop.run(stop, 10.0, publish, jitter=lambda: next(left))
    return clock.waits


def test_at_k0_the_acceptance_in_memory_still_prices_a_return() -> None:
    """After windows at k=4 one with nothing drafted: k is 0 now, and k=4 is priced with what was learnt at k=4."""
    drafting = after(SECOND, request_steps=20_000)
    silent = replace(
        drafting,
        latency_samples=drafting.latency_samples + 4000,
        latency_seconds=drafting.latency_seconds + 4000 * 0.008,
        steps=drafting.steps + 1000,
        generated_tokens=drafting.generated_tokens + 4000,
    )
    *_, learnt, off = watched([SECOND], [drafting], [silent], method=Method.EAGLE)
    assert off.engines[0].decision.k_now == 0.0
    ours, before = (cycle.engines[0].decision.scores[4].tokens_per_step for cycle in (off, learnt))
    assert ours == pytest.approx(before, rel=1e-3)  # a window of silence ages the evidence a little
    assert off.engines[0].decision.action is Action.CHANGE
