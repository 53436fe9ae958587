"""Steering does one thing a pass, in a fixed order, and never leaves what it cannot take back."""

from dataclasses import replace
from typing import Any

import pytest
from courses import HOME, LOAD, NOW, RICH, SETTINGS, changing, course_of, holding, moment_of, realised
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.course import FIRST_BAR_INTERVALS, LONGEST_BAR_INTERVALS, PROBE_REACH, Course, Probe
from controller.decide.decision import Action, Bounded, Decision, Schedule
from controller.decide.explore import Account
from controller.decide.moment import QUIET_REQUESTS
from controller.decide.ownership import found, was_reset
from controller.decide.probe import LONGEST_WINDOWS, PROBE_WINDOWS, PROVING_WINDOWS
from controller.decide.review import ENOUGH_WINDOWS, RECENT_WINDOWS, Change, Realised, Verdict
from controller.decide.schedule import k_at
from controller.decide.steer import frozen, steer, stood_down
from controller.observe.speculation import Speculation
from controller.reason import Reason

FIRST_BAR_SECONDS = FIRST_BAR_INTERVALS * SETTINGS.interval_seconds
LONGEST_BAR_SECONDS = LONGEST_BAR_INTERVALS * SETTINGS.interval_seconds
PROMISING = (1.1, 0.9, 1.3)
"""A gain that might be a loss."""
PROVEN = (1.1, 1.0, 1.2)
REFINED: Schedule = ((1, 31, 4), (32, 64, 1))
FASTER: Schedule = ((1, 7, 4), (8, 15, 2), (16, 64, 4))
CHANGE = Change(NOW - 100.0, LOAD, 4, 2, Bounded(1.2, 1.15, 1.25))


def windows(after: int, rate_after: float, before: int = 6) -> tuple[Realised, ...]:
    """Windows at k=4 before the change, then at k=2 of another rate."""
    old = tuple(realised(NOW - 200.0 + 5.0 * each, 4) for each in range(before))
    return (*old, *(realised(NOW - 90.0 + 5.0 * each, 2, rate_after) for each in range(after)))


def under_review(after: int = ENOUGH_WINDOWS, rate_after: float = 70.0, **known: Any) -> Course:
    """A change from k=4 to k=2 that brought what it brought."""
    fields: dict[str, Any] = {"home": FASTER, "before": HOME, "change": CHANGE, "account": RICH}
    fields |= {"changed_at_seconds": CHANGE.at_seconds, "windows": windows(after, rate_after)}
    return course_of(**(fields | known))


def probing(k: int = 5, windows_run: int = 0, **known: Any) -> Course:
    """A course with a probe that runs."""
    return course_of(probe=Probe(k, LOAD, windows_run), **known)


def steered(base: Decision, course: Course, **seen: Any) -> tuple[Decision, Course]:
    """One quiet pass."""
    return steer(base, course, moment_of(**seen), SETTINGS)


# in what order


def test_what_proved_worse_is_taken_back_even_if_another_change_looks_clear() -> None:
    """A roll-back comes before anything else."""
    course = under_review()
    decision, after = steered(changing(course, 3, ((1, 64, 3),)), course)
    assert (decision.action, decision.reason, decision.k) == (Action.ROLL_BACK, Reason.REALISED_WORSE, 4)
    assert after.home == HOME


def test_a_clear_change_ends_a_probe_and_begins_a_review() -> None:
    """The change needs no probe any more; the schedule before it is kept for the way back."""
    course = probing()
    base = changing(course, 2, FASTER)
    decision, after = steered(base, course)
    assert decision is base
    assert (after.home, after.before, after.probe) == (FASTER, HOME, None)
    assert base.gain is not None
    assert after.change == Change(NOW, LOAD, 4, 2, base.gain)
    assert after.changed_at_seconds == NOW
    assert after.latest is not None
    assert after.latest.verdict is Verdict.PENDING


def test_a_running_probe_comes_before_other_batch_sizes() -> None:
    """A schedule that changes under a probe would blur what it measures."""
    course = probing()
    decision, after = steered(holding(course, {5: PROMISING}, schedule=REFINED), course)
    assert decision.action is Action.PROBE
    assert after.home == HOME


def test_a_new_probe_comes_before_other_batch_sizes() -> None:
    """The present load is what costs now; the rest is done in the first pass that measures nothing."""
    course = course_of()
    base = holding(course, {5: PROMISING}, schedule=REFINED)
    decision, after = steered(base, course)
    assert (decision.action, decision.reason, after.probe) == (Action.PROBE, Reason.EXPLORING, Probe(5, LOAD))
    assert after.home == HOME
    decision, after = steered(holding(course, schedule=REFINED), course)
    assert (decision.action, decision.reason, decision.schedule) == (Action.CHANGE, Reason.OTHER_BATCHES, REFINED)
    assert (after.home, after.probe, after.change) == (REFINED, None, None)
    assert after.changed_at_seconds is None
    assert after.refined_at_seconds == NOW


def test_a_probe_leaves_the_lasting_schedule_alone() -> None:
    """It lies on top."""
    course = course_of()
    decision, after = steered(holding(course, {5: PROMISING}), course)
    assert (decision.action, decision.reason, decision.k) == (Action.PROBE, Reason.EXPLORING, 5)
    assert decision.schedule == after.home == HOME
    assert after.probe == Probe(5, LOAD)


def test_with_nothing_to_do_everything_stays() -> None:
    """The answer itself, at the schedule that holds."""
    course = course_of()
    base = holding(course)
    assert steered(base, course)[0] == base
    assert steered(base, course)[1] == course


# other batch sizes


@pytest.mark.parametrize(("passed", "action"), [(0.99, Action.HOLD), (1.0, Action.CHANGE)])
def test_other_batch_sizes_change_once_a_cooldown(passed: float, action: Action) -> None:
    """Within it the schedule that holds is the answer, not the wanted one."""
    course = course_of(refined_at_seconds=NOW - passed * SETTINGS.cooldown_seconds)
    decision, after = steered(holding(course, schedule=REFINED), course)
    assert decision.action is action
    assert decision.schedule == after.home == (REFINED if action is Action.CHANGE else HOME)


def test_an_answer_without_a_schedule_refines_nothing() -> None:
    """Too little evidence: the schedule stays."""
    course = course_of()
    decision, after = steered(holding(course, schedule=(), reason=Reason.NOT_ENOUGH_EVIDENCE), course)
    assert (decision.action, decision.schedule, after.home) == (Action.HOLD, HOME, HOME)


# reviews


def test_a_roll_back_restores_the_schedule_before_the_change_and_all_of_it() -> None:
    """Whatever was refined since is part of what proved worse."""
    course = under_review(home=REFINED)
    decision, after = steered(holding(course), course)
    assert decision.schedule == after.home == HOME
    assert after.wanted(64) == HOME
    assert (after.change, after.probe, after.changed_at_seconds) == (None, None, NOW)


def test_a_roll_back_is_made_once() -> None:
    """The next pass has nothing left to take back."""
    course = under_review()
    _, once = steered(holding(course), course)
    decision, twice = steered(holding(once), once, now=NOW + 5.0)
    assert decision.action is Action.HOLD
    assert twice.home == HOME


def test_a_k_that_was_rolled_back_is_barred_at_like_loads_only() -> None:
    """Neither chosen nor probed there; far away it may be the best."""
    course = under_review()
    _, after = steered(holding(course), course)
    for probes in (False, True):
        assert after.barred(LOAD, NOW + 1.0, probes=probes) == {2}
        assert after.barred(LOAD * 1.9, NOW + 1.0, probes=probes) == {2}
        assert after.barred(LOAD * 2.1, NOW + 1.0, probes=probes) == frozenset()
        assert after.barred(LOAD / 2.1, NOW + 1.0, probes=probes) == frozenset()


def test_each_roll_back_of_the_same_k_bars_it_twice_as_long_up_to_a_limit() -> None:
    """A k that fails again and again is tried ever more rarely."""
    course, lengths = under_review(), []
    for _ in range(9):
        decision, after = steered(holding(course), course)
        assert decision.action is Action.ROLL_BACK
        (bar,) = after.bars
        assert bar.seconds <= bar.until_seconds - NOW <= 1.5 * bar.seconds
        lengths.append(bar.seconds)
        course = under_review(bars=after.bars)
    doubled = [FIRST_BAR_SECONDS * 2**each for each in range(9)]
    assert lengths == [min(each, LONGEST_BAR_SECONDS) for each in doubled]
    assert lengths[-1] == lengths[-2] == LONGEST_BAR_SECONDS


def test_a_bar_ends_and_is_remembered_for_as_long_again() -> None:
    """Within its own length after its end it still doubles; later the k starts afresh."""
    course = under_review()
    _, after = steered(holding(course), course)
    (bar,) = after.bars
    assert after.barred(LOAD, bar.until_seconds - 1.0, probes=True) == {2}
    assert after.barred(LOAD, bar.until_seconds + 1.0, probes=True) == frozenset()
    for now, kept in ((bar.until_seconds + bar.seconds - 1.0, (bar,)), (bar.until_seconds + bar.seconds + 1.0, ())):
        assert steered(holding(after), after, now=now)[1].bars == kept


def test_bars_of_other_ks_and_other_loads_stay() -> None:
    """Each is about one k at one load."""
    course = under_review()
    _, first = steered(holding(course), course)
    far = replace(first.bars[0], batch=LOAD * 8)
    other = replace(first.bars[0], k=6)
    _, after = steered(holding(course), replace(course, bars=(far, other)))
    assert after.bars[:2] == (far, other)
    assert after.bars[2].seconds == FIRST_BAR_SECONDS


def test_a_change_that_proved_itself_leaves_the_review() -> None:
    """It cannot be rolled back any more, and its review can still be looked at."""
    course = under_review(RECENT_WINDOWS, 110.0)
    decision, after = steered(holding(course), course)
    assert decision.action is Action.HOLD
    assert (after.home, after.change) == (FASTER, None)
    assert after.latest is not None
    assert after.latest.verdict is Verdict.KEPT


def test_the_window_of_this_pass_counts_into_the_review() -> None:
    """One window short of enough before, worse with it."""
    course = under_review(ENOUGH_WINDOWS - 1)
    assert steered(holding(course), course)[0].action is Action.HOLD
    fresh = realised(NOW, 2, 70.0)
    assert steered(holding(course), course, realised=fresh)[0].action is Action.ROLL_BACK


def test_the_sentence_of_a_roll_back_names_both_ks_and_both_gains() -> None:
    """What was expected, what was measured, and for how long the k rests."""
    course = under_review()
    sentence = steered(holding(course), course)[0].sentence
    assert sentence.startswith("k=2 was expected to bring +20.0% over k=4 and brought -")
    assert sentence.endswith(f"k=2 rests for {FIRST_BAR_SECONDS / 60:.0f} minutes.")


# probes: what begins one


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({"chance": 0.2}, id="it is not its turn"),
        pytest.param({"waiting": QUIET_REQUESTS + 0.1}, id="requests wait"),
        pytest.param({"tpot_seconds": 0.031}, id="the latency limit is missed"),
    ],
)
def test_nothing_is_explored_when(seen: dict[str, Any]) -> None:
    """Otherwise the same pass begins a probe."""
    course, settings = course_of(), replace(SETTINGS, pressure_seconds=0.03)
    base = holding(course, {5: PROMISING})
    assert steer(base, course, moment_of(), settings)[0].action is Action.PROBE
    decision, after = steer(base, course, moment_of(**seen), settings)
    assert (decision.action, after.probe) == (Action.HOLD, None)


def test_a_latency_at_its_limit_and_a_latency_that_is_not_known_are_no_pressure() -> None:
    """Only a limit that is missed counts."""
    course, settings = course_of(), replace(SETTINGS, pressure_seconds=0.03)
    for tpot in (0.03, None):
        decision, _ = steer(holding(course, {5: PROMISING}), course, moment_of(tpot_seconds=tpot), settings)
        assert decision.action is Action.PROBE


def test_too_little_evidence_waits_for_traffic_rather_than_probe() -> None:
    """At k > 0 traffic teaches by itself."""
    course = course_of()
    decision, _ = steered(holding(course, {5: PROMISING}, reason=Reason.NOT_ENOUGH_EVIDENCE), course)
    assert decision.action is Action.HOLD


def test_at_k0_too_little_evidence_is_the_reason_to_probe() -> None:
    """Nothing is learnt there without a probe."""
    course = course_of(((1, 64, 0),))
    base = holding(course, reason=Reason.NOT_ENOUGH_EVIDENCE)
    decision, after = steered(base, course, blind_seconds=1e6, blank=holding(course, {2: PROMISING}).scores)
    assert (decision.action, decision.reason, decision.k) == (Action.PROBE, Reason.PROBING_OUT_OF_K0, 1)
    assert after.probe == Probe(1, LOAD)


def test_at_k0_what_is_known_to_promise_is_probed_at_once() -> None:
    """The best of it; nothing needs to be overdue."""
    course = course_of(((1, 64, 0),))
    decision, after = steered(holding(course, {3: PROMISING, 2: (1.0, 0.9, 1.1)}), course)
    assert (decision.action, decision.reason, decision.k) == (Action.PROBE, Reason.PROBING_OUT_OF_K0, 3)
    assert after.probe == Probe(3, LOAD)


def test_at_k0_a_probe_without_a_promise_waits_for_its_time() -> None:
    """What is known promises nothing; what unknown traffic might bring makes a probe due in time."""
    course = course_of(((1, 64, 0),))
    base = holding(course)
    blank = holding(course, {2: PROMISING}).scores
    assert steered(base, course, blind_seconds=0.0, blank=blank)[0].action is Action.HOLD
    assert steered(base, course, blind_seconds=1e6, blank=blank)[0].action is Action.PROBE


def test_at_k_above_0_nothing_is_ever_overdue() -> None:
    """Traffic teaches by itself."""
    course = course_of()
    blank = holding(course, {2: PROMISING}).scores
    assert steered(holding(course), course, blind_seconds=1e6, blank=blank)[0].action is Action.HOLD


def test_a_k_that_the_engine_cannot_run_is_never_probed() -> None:
    """The next best is."""
    course = course_of()
    base = holding(course, {5: PROMISING, 3: (1.05, 0.9, 1.2)})
    decision, _ = steer(base, course, moment_of(), SETTINGS, frozenset({5}))
    assert (decision.action, decision.k) == (Action.PROBE, 3)


def test_out_of_k0_the_smallest_k_that_the_engine_can_run_is_probed() -> None:
    """An engine with graphs for k=3 only would stay at k=0 for ever if k=1 alone were tried."""
    course = course_of(((1, 64, 0),))
    base, blank = holding(course), holding(course, {3: PROMISING}).scores
    moment = moment_of(blind_seconds=1e6, blank=blank)
    decision, _ = steer(base, course, moment, SETTINGS, frozenset({1, 2}))
    assert (decision.action, decision.k) == (Action.PROBE, 3)
    assert steer(base, course, moment, SETTINGS, frozenset(range(1, 7)))[0].action is Action.HOLD


# probes: what runs, and what ends one


def test_a_probe_runs_near_its_load_and_nowhere_else() -> None:
    """On top of the schedule that holds."""
    course = probing()
    assert course.home == HOME
    wanted = course.wanted(64)
    for batch in range(1, 65):
        if int(LOAD / PROBE_REACH) <= batch <= LOAD * PROBE_REACH:
            assert k_at(wanted, batch) == 5
        elif not LOAD / PROBE_REACH - 1 < batch < LOAD * PROBE_REACH + 1:
            assert k_at(wanted, batch) == 4


def test_an_undecided_probe_goes_on_and_counts_its_windows() -> None:
    """Until enough windows were run."""
    course = probing()
    for count in range(1, PROBE_WINDOWS):
        decision, course = steered(holding(course, {5: (1.01, 0.9, 1.1)}), course)
        assert decision.action is Action.PROBE
        assert course.probe == Probe(5, LOAD, count)
    decision, course = steered(holding(course, {5: (1.01, 0.9, 1.1)}), course)
    assert (decision.action, decision.reason, course.probe) == (Action.HOLD, Reason.PROBE_ENDED, None)


def test_a_probe_that_is_expected_to_gain_may_go_on() -> None:
    """To stay where more is expected costs nothing."""
    course = probing(windows_run=PROBE_WINDOWS)
    decision, after = steered(holding(course, {5: (1.1, 0.8, 1.4)}), course)
    assert decision.action is Action.PROBE
    assert after.probe == Probe(5, LOAD, PROBE_WINDOWS + 1)


def test_a_probe_that_stays_unclear_ends_for_what_it_is_compared_with_and_may_begin_again() -> None:
    """The k at home ran too little to be compared with: more windows of the other one would not help."""
    course = probing(windows_run=LONGEST_WINDOWS - 1)
    promise = {5: (1.1, 0.8, 1.4)}
    decision, after = steered(holding(course, promise), course)
    assert (decision.action, decision.reason, after.probe, after.bars) == (Action.HOLD, Reason.PROBE_ENDED, None, ())
    assert "not clear yet" in decision.sentence
    decision, again = steered(holding(after, promise), after)
    assert (decision.action, again.probe) == (Action.PROBE, Probe(5, LOAD))


def test_a_probe_that_the_engine_does_not_run_is_not_begun_anew_for_being_unclear() -> None:
    """Its step was never measured: that the schedule is not applied stays told, without a break."""
    course = probing(windows_run=LONGEST_WINDOWS * 3)
    base = holding(course, {5: (1.1, 0.8, 1.4)})
    base = replace(base, scores=tuple(replace(score, step_measured=False) for score in base.scores))
    decision, after = steered(base, course)
    assert (decision.action, after.probe) == (Action.PROBE, Probe(5, LOAD, LONGEST_WINDOWS * 3 + 1))


HOPELESS = {"cannot clear the minimum": (1.0, 0.98, 1.02), "is expected to lose": (0.99, 0.9, 1.2)}


@pytest.mark.parametrize("gain", HOPELESS.values(), ids=HOPELESS)
def test_a_hopeless_probe_ends_at_once_and_its_k_is_not_measured_again_for_a_while(
    gain: tuple[float, float, float],
) -> None:
    """It may still be chosen, should the traffic change."""
    course = probing()
    decision, after = steered(holding(course, {5: gain}), course)
    assert (decision.action, decision.reason, decision.schedule) == (Action.HOLD, Reason.PROBE_ENDED, HOME)
    assert after.wanted(64) == HOME
    assert after.barred(LOAD, NOW + 1.0, probes=True) == {5}
    assert after.barred(LOAD, NOW + 1.0, probes=False) == frozenset()
    assert steered(holding(after, {5: (1.02, 0.9, 1.2)}), after, now=NOW + 1.0)[0].action is Action.HOLD


def test_a_k_that_was_measured_in_vain_is_measured_again_when_it_promises_a_gain_but_not_one_taken_back() -> None:
    """The traffic may have changed; what was rolled back in earnest rests to the end."""
    course = probing()
    _, in_vain = steered(holding(course, {5: (0.95, 0.9, 1.0)}), course)
    assert steered(holding(in_vain, {5: PROMISING}), in_vain, now=NOW + 1.0)[0].action is Action.PROBE
    course = under_review()
    _, taken_back = steered(holding(course), course)
    assert steered(holding(taken_back, {2: PROMISING}), taken_back, now=NOW + 1.0)[0].action is Action.HOLD


@pytest.mark.parametrize("batch", [LOAD * 1.6, LOAD / 1.6])
def test_a_probe_ends_when_the_load_moves_away_and_speaks_against_nothing(batch: float) -> None:
    """It would not measure what it was meant to; within its reach it goes on."""
    course = probing()
    decision, after = steered(holding(course, {5: PROMISING}, batch), course)
    assert (decision.reason, after.probe, after.bars) == (Reason.PROBE_ENDED, None, ())
    near = LOAD * 1.4 if batch > LOAD else LOAD / 1.4
    assert steered(holding(course, {5: PROMISING}, near), course)[0].action is Action.PROBE


def test_a_probe_ends_under_pressure_and_speaks_against_nothing() -> None:
    """Requests that wait did not come from its k alone."""
    course = probing()
    decision, after = steered(holding(course, {5: PROMISING}), course, waiting=QUIET_REQUESTS + 0.1)
    assert (decision.reason, after.probe, after.bars) == (Reason.PROBE_ENDED, None, ())


def test_a_probe_ends_when_the_account_is_empty_though_it_looks_good() -> None:
    """The budget is a promise."""
    for left, action in ((-0.1, Action.HOLD), (0.1, Action.PROBE)):
        course = probing(account=Account(left, NOW))
        assert steered(holding(course, {5: PROMISING}), course)[0].action is action


def test_the_account_falls_while_a_probe_loses_by_what_it_loses() -> None:
    """Ten seconds at 20% less throughput cost two seconds of it, less what the budget brings meanwhile."""
    course = probing()
    _, after = steered(holding(course, {5: (0.8, 0.6, 1.1)}), course, now=NOW + 10.0)
    assert after.account.seconds == pytest.approx(50.0 - 10.0 * (0.2 - SETTINGS.exploration_budget))
    _, better = steered(holding(course, {5: PROMISING}), course, now=NOW + 10.0)
    assert better.account.seconds is not None
    assert better.account.seconds > 50.0


@given(
    st.integers(0, 12),
    st.floats(0.8, 1.3),
    st.floats(0.0, 0.3),
    st.floats(LOAD / 1.4, LOAD * 1.4),
)
def test_a_probe_becomes_a_change_only_after_enough_windows_of_a_gain_without_a_likely_loss(
    windows_run: int, gain: float, reach: float, batch: float
) -> None:
    """And then at once."""
    course = probing(windows_run=windows_run)
    decision, after = steered(holding(course, {5: (gain, gain - reach, gain + reach)}, batch), course)
    least = SETTINGS.minimum_gain
    proven = windows_run + 1 >= PROVING_WINDOWS and gain >= 1 + least and gain - reach >= 1 - least
    assert (decision.action is Action.CHANGE) == proven
    assert (after.change is not None) == proven
    assert (k_at(after.home, round(batch)) == 5) == proven


def test_a_proven_probe_is_a_change_under_review_at_the_load_it_was_measured_at() -> None:
    """With what other batch sizes want, and the way back kept."""
    course = probing(windows_run=PROVING_WINDOWS)
    decision, after = steered(holding(course, {5: PROVEN}, schedule=REFINED), course)
    assert (decision.action, decision.reason, decision.k) == (Action.CHANGE, Reason.FASTER_K, 5)
    assert decision.schedule == after.home == after.wanted(64)
    assert (k_at(after.home, 8), k_at(after.home, 2), k_at(after.home, 40)) == (5, 4, 1)
    assert (after.before, after.probe) == (HOME, None)
    assert after.change == Change(NOW, LOAD, 4, 5, Bounded(*PROVEN))


def test_a_probe_of_k0_that_proved_faster_turns_speculation_off() -> None:
    """By that name."""
    course = probing(0, PROVING_WINDOWS)
    decision, _ = steered(holding(course, {0: PROVEN}), course)
    assert (decision.action, decision.reason, decision.k) == (Action.DISABLE, Reason.SPECULATION_LOSES, 0)


def test_a_failed_probe_never_shortens_the_rest_of_a_k_that_was_rolled_back() -> None:
    """At a load where both speak, the k stays out of choice, too."""
    course = under_review()
    _, rolled = steered(holding(course), course)
    far = LOAD * 2.2  # not barred here, but within reach of a load that is
    probe = replace(rolled, probe=Probe(2, far))
    _, after = steered(holding(probe, {2: (0.9, 0.8, 1.0)}, LOAD * 1.6), probe, now=NOW + 5.0)
    assert after.probe is None
    assert after.barred(LOAD, NOW + 10.0, probes=False) == {2}


def test_a_k_whose_rest_is_over_may_be_chosen_though_a_probe_of_it_fails() -> None:
    """What was taken back long ago is not taken back again by a measurement."""
    course = under_review()
    _, rolled = steered(holding(course), course)
    over = rolled.bars[0].until_seconds + 1.0
    probe = replace(rolled, probe=Probe(2, LOAD), account=Account(50.0, over))
    _, after = steered(holding(probe, {2: (0.9, 0.8, 1.0)}), probe, now=over)
    assert after.barred(LOAD, over + 1.0, probes=True) == {2}
    assert after.barred(LOAD, over + 1.0, probes=False) == frozenset()


# a latency target


def test_fewer_drafts_for_a_latency_target_are_not_taken_back_for_being_slower_as_foreseen() -> None:
    """20% less throughput was foreseen; twice the loss was not."""
    slower = replace(CHANGE, predicted=Bounded(0.8, 0.75, 0.85))
    foreseen, not_foreseen = (under_review(RECENT_WINDOWS, rate, change=slower) for rate in (80.0, 60.0))
    assert steered(holding(foreseen), foreseen)[0].action is Action.HOLD
    assert steered(holding(not_foreseen), not_foreseen)[0].action is Action.ROLL_BACK


def test_with_a_latency_target_that_is_met_nothing_is_probed_for_throughput() -> None:
    """It would be taken for the fewest drafts again a pass later."""
    course, settings = course_of(), replace(SETTINGS, tpot_target_seconds=0.03)
    base = holding(course, {5: PROMISING})
    for tpot, action in ((0.02, Action.HOLD), (0.04, Action.PROBE)):
        assert steer(base, course, moment_of(tpot_seconds=tpot), settings)[0].action is action


# the operator, and others


def test_frozen_holds_the_schedule_and_ends_the_probe() -> None:
    """And says what would have been done."""
    course = probing()
    base = changing(course, 2, FASTER)
    decision, after = frozen(base, course)
    assert (decision.action, decision.reason, decision.schedule) == (Action.HOLD, Reason.FROZEN, HOME)
    assert base.sentence in decision.sentence
    assert (after.home, after.probe) == (HOME, None)
    assert after.wanted(64) == HOME


def test_stood_down_holds_and_says_for_how_long() -> None:
    """Somebody else's word counts."""
    course = course_of()
    decision = stood_down(changing(course, 2, FASTER), course, 125.4)
    assert (decision.action, decision.reason, decision.schedule) == (Action.HOLD, Reason.STOOD_DOWN, HOME)
    assert "125 more seconds" in decision.sentence


TOLD = Speculation(
    protocol=1,
    boot_id="b",
    generation=3,
    owner="us",
    method="eagle",
    k_max=6,
    max_num_seqs=64,
    launch_schedule=((1, 64, 6),),
    schedule=((1, 64, 2),),
    expires_in_seconds=100.0,
    writable=True,
    read_only_because=None,
)


def test_a_fresh_course_starts_from_what_the_engine_holds_for_us() -> None:
    """Or else from its launch schedule."""
    assert found(Course(), TOLD, "us").home == TOLD.schedule
    assert found(Course(), replace(TOLD, owner=None), "us").home == TOLD.launch_schedule


def test_a_course_that_has_a_schedule_keeps_it() -> None:
    """The engine forgets what is not renewed; the course does not."""
    course = probing()
    assert found(course, TOLD, "us") == course
    assert found(course, replace(TOLD, owner=None), "us") == course


def test_what_somebody_else_holds_is_taken_as_it_is_and_not_explored() -> None:
    """Neither probed nor reviewed."""
    course = under_review(probe=Probe(5, LOAD))
    after = found(course, replace(TOLD, owner="them"), "us")
    assert (after.home, after.probe, after.change) == (TOLD.schedule, None, None)


GONE = replace(TOLD, owner=None, expires_in_seconds=None)


@pytest.mark.parametrize(
    ("before", "now", "seconds", "reset"),
    [
        pytest.param(TOLD, GONE, 5.0, True, id="ours is gone before its time"),
        pytest.param(None, GONE, 5.0, False, id="nothing was known"),
        pytest.param(replace(TOLD, owner="them"), GONE, 5.0, False, id="it was not ours"),
        pytest.param(TOLD, replace(GONE, boot_id="c"), 5.0, False, id="the engine started anew"),
        pytest.param(TOLD, TOLD, 5.0, False, id="it is still ours"),
        pytest.param(TOLD, replace(TOLD, owner="them"), 5.0, False, id="somebody took it over"),
        pytest.param(TOLD, GONE, 100.0, False, id="its time was up"),
        pytest.param(replace(TOLD, expires_in_seconds=None), GONE, 5.0, False, id="it had no time to live"),
    ],
)
def test_a_reset_is_told_from_an_end_of_life(
    before: Speculation | None, now: Speculation, seconds: float, *, reset: bool
) -> None:
    """Only somebody's own deed makes us stand down."""
    assert was_reset(before, now, "us", seconds) is reset
