"""The policy acts only on evidence, keeps still otherwise, and says why."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import drafted, window

from controller.decide.decision import Action, Baseline, Decision
from controller.decide.launch import refuse_bad_schedule
from controller.decide.policy import PolicyState, Situation, decide, remembered
from controller.decide.policy_settings import PolicySettings
from controller.model.acceptance import estimate
from controller.model.drafter import HEAD, Drafting
from controller.model.economics import Market
from controller.model.evidence import counts_of, observed
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime
from controller.reason import Reason

SHARP, DULL = (0.85, 0.8, 0.78, 0.76), (0.3, 0.2, 0.2, 0.2)
SETTINGS = PolicySettings(max_batch=128)


@dataclass(frozen=True)
class Grid:
    """Steps of 1 + n / 100 fixed costs over n tokens, and a tenth for each draft."""

    batches: tuple[float, ...] = (1.0, 8.0, 32.0, 128.0)
    ks: tuple[int, ...] = (0, 1, 2, 4)

    def cells(self) -> tuple[Cell, ...]:
        """All of them measured often."""
        return tuple(
            Cell(b, float(k), float(k > 0), math.log(0.01 * (1 + b * (1 + k) / 100 + 0.03 * k)), 30.0)
            for b, k in product(self.batches, self.ks)
        )


def market(hazards: tuple[float, ...], drafts: int = 20_000, cells: tuple[Cell, ...] | None = None) -> Market:
    """A market with those hazards and, unless told otherwise, step times that were measured everywhere."""
    counted = window(drafted(hazards, drafts, 4), drafts=drafts)
    acceptance = estimate(observed(None, counts_of(counted, Drafting.FIXED, 4.0)), HEAD)
    return Market(
        acceptance, StepTime(StepTable(Grid().cells() if cells is None else cells), HEAD), Drafting.FIXED, 4, 4.0
    )


def decided(
    here: Market, batch: float, k_now: float | None = 4.0, state: PolicyState | None = None, **now: Any
) -> Decision:
    """The decision at a batch."""
    return decide(here, Situation(batch, k_now, **now), state or PolicyState(), SETTINGS)


def test_a_sharp_drafter_on_a_lone_stream_is_left_alone() -> None:
    """k=4 is best already: hold."""
    decision = decided(market(SHARP), 1.0)
    assert (decision.action, decision.reason, decision.k) == (Action.HOLD, Reason.BEST_ALREADY, 4)


def test_a_dull_drafter_on_a_full_batch_is_switched_off() -> None:
    """Speculation loses there: k=0, and the margin's upper bound is below zero."""
    decision = decided(market(DULL), 128.0)
    assert (decision.action, decision.reason, decision.k) == (Action.DISABLE, Reason.SPECULATION_LOSES, 0)
    assert decision.margin is not None
    assert decision.margin.high < 0


def test_from_k0_a_sharp_drafter_is_switched_on() -> None:
    """A change to the best k, with its gain over k=0."""
    decision = decided(market(SHARP), 1.0, k_now=0.0)
    assert (decision.action, decision.reason, decision.k) == (Action.CHANGE, Reason.FASTER_K, 4)
    assert decision.gain is not None
    assert decision.gain.low > 1.5


def test_little_evidence_changes_nothing_and_prints_no_schedule() -> None:
    """Below minimum_drafts the answer is to hold, by name."""
    decision = decided(market(DULL, drafts=100), 128.0)
    assert (decision.action, decision.reason, decision.schedule) == (Action.HOLD, Reason.NOT_ENOUGH_EVIDENCE, ())


def test_a_gain_that_might_be_a_loss_is_not_taken_but_named() -> None:
    """One cell at one k leaves the cost of others open: hold, name the k that looks best."""
    decision = decided(market((0.55, 0.4, 0.35, 0.3), cells=(Cell(8.0, 4.0, 1.0, math.log(0.012), 1.0),)), 8.0)
    assert (decision.action, decision.reason) == (Action.HOLD, Reason.GAIN_UNCERTAIN)
    assert decision.k_best in (1, 2)


def test_the_lower_bound_of_every_change_clears_the_minimum() -> None:
    """No decision to act without it, over many markets."""
    for hazards, batch, k_now in product((SHARP, DULL, (0.6, 0.5, 0.4, 0.3)), (1.0, 8.0, 32.0, 128.0), (0.0, 2.0, 4.0)):
        decision = decided(market(hazards), batch, k_now)
        if decision.action is not Action.HOLD:
            assert decision.gain is not None
            assert decision.gain.low >= 1 + SETTINGS.minimum_gain


def test_within_the_cooldown_nothing_new_is_recommended() -> None:
    """A change 10 s after the last one waits."""
    state = PolicyState(standing_k=4, changed_at_seconds=100.0)
    held = decided(market(DULL), 128.0, state=state, now_seconds=110.0)
    acted = decided(market(DULL), 128.0, state=state, now_seconds=161.0)
    assert (held.action, held.reason) == (Action.HOLD, Reason.COOLDOWN)
    assert acted.action is Action.DISABLE


def test_the_standing_recommendation_is_kept_unless_clearly_beaten() -> None:
    """Hysteresis: among near ties the last answer stays, whichever it was."""
    here, settings = market((0.6, 0.5, 0.4, 0.3)), replace(SETTINGS, minimum_gain=0.06)
    free = decide(here, Situation(16.0, 4.0), PolicyState(), settings)
    best, runner_up = sorted(free.scores, key=lambda score: -score.tokens_per_second)[:2]
    assert free.k_best == best.k
    assert runner_up.tokens_per_second > best.tokens_per_second / 1.06
    kept = decide(here, Situation(16.0, 4.0), PolicyState(runner_up.k, 0.0), settings)
    assert kept.k_best == runner_up.k


def test_the_same_situation_twice_gives_the_same_decision_twice() -> None:
    """Deciding is a pure function."""
    here = market(DULL)
    assert decided(here, 40.0) == decided(here, 40.0)


def test_an_unknown_k_is_held_as_unknown() -> None:
    """Where the counters cannot tell k, holding does not invent one."""
    here = replace(market(SHARP), drafting=Drafting.VARIABLE)
    decision = decided(here, 1.0, k_now=None)
    assert (decision.action, decision.k_now, decision.k) == (Action.HOLD, None, None)


def test_when_nothing_is_drafted_now_is_priced_as_k0_even_if_k_is_unknown() -> None:
    """n-gram without a match, or a schedule at k=0: the gain is over no drafts, not over what was drafted once."""
    here = replace(market(SHARP), drafting=Drafting.VARIABLE)
    silent = decided(here, 1.0, k_now=None, drafted=False)
    assert silent.scores[0].gain_ratio == 1.0
    assert silent.scores[4].gain_ratio > 1.5
    assert decided(here, 1.0, k_now=None).scores[4].gain_ratio == 1.0


def test_the_schedule_drafts_much_for_lone_streams_and_little_for_full_batches() -> None:
    """k falls along the schedule, which vLLM would accept."""
    schedule = decided(market((0.7, 0.6, 0.5, 0.45)), 1.0).schedule
    refuse_bad_schedule(schedule, 4)
    ks = [k for _, _, k in schedule]
    assert ks == sorted(ks, reverse=True)
    assert len(ks) > 1
    assert schedule[-1][1] == 128


@given(st.sampled_from([SHARP, DULL, (0.6, 0.5, 0.4, 0.3)]), st.floats(1, 400), st.floats(0, 4))
def test_every_schedule_is_one_that_vllm_accepts_and_agrees_with_the_decision(
    hazards: tuple[float, ...], batch: float, k_now: float
) -> None:
    """It starts at 1, is sorted without overlap, and holds the decided k at the present load."""
    decision = decided(market(hazards), batch, k_now)
    refuse_bad_schedule(decision.schedule, 4)
    here = min(round(batch), 128)
    assert next(k for low, high, k in decision.schedule if low <= here <= high) == decision.k


def test_k0_counts_as_measured_only_where_it_was_run() -> None:
    """The baseline is labelled by where its step time comes from."""
    measured = decided(market(SHARP), 8.0)
    modelled = decided(market(SHARP, cells=Grid(ks=(2, 4)).cells()), 8.0)
    assert (measured.baseline, modelled.baseline) == (Baseline.MEASURED, Baseline.MODELLED)


def test_the_margin_against_a_server_without_speculation_is_smaller_and_less_certain() -> None:
    """The drafter still costs something at k=0, so that server is faster than k=0 here."""
    decision = decided(market(SHARP), 8.0)
    assert decision.margin is not None
    assert decision.margin_without_speculation is not None
    assert decision.margin_without_speculation.value < decision.margin.value
    assert decision.margin_without_speculation.low < decision.margin.low


def test_only_a_new_recommendation_is_remembered_with_its_time() -> None:
    """Holding, or repeating the standing answer, does not restart the cooldown."""
    off = decided(market(DULL), 128.0)
    first = remembered(off, PolicyState(), 5.0)
    assert first == PolicyState(standing_k=0, changed_at_seconds=5.0)
    assert remembered(off, first, 50.0) == first
    assert remembered(decided(market(SHARP), 1.0), first, 60.0) == first


def test_each_reason_comes_with_a_sentence_that_ends() -> None:
    """A person reads the number, the bounds and what to do, in one or two sentences."""
    for decision in (
        decided(market(SHARP), 1.0),
        decided(market(DULL), 128.0),
        decided(market(DULL, drafts=100), 128.0),
        decided(market(DULL), 128.0, state=PolicyState(4, 0.0), now_seconds=1.0),
    ):
        assert decision.sentence.endswith(".")
        assert 20 < len(decision.sentence) < 300


@pytest.mark.parametrize("k_now", [0.0, 1.0, 2.0, 4.0])
def test_the_decision_is_good_against_the_truth(k_now: float) -> None:
    """Wherever it acts, the true throughput at the new k is above the true one now."""

    def true_throughput(hazards: tuple[float, ...], batch: float, k: float) -> float:
        tokens, survival = 1.0, 1.0
        for hazard in hazards[: round(k)]:
            survival *= hazard
            tokens += survival
        return batch * tokens / (0.01 * (1 + batch * (1 + k) / 100 + 0.03 * k))

    for hazards, batch in product((SHARP, DULL, (0.6, 0.5, 0.4, 0.3)), (1.0, 5.0, 20.0, 70.0, 128.0)):
        decision = decided(market(hazards), batch, k_now)
        assert decision.k is not None
        assert true_throughput(hazards, batch, decision.k) >= true_throughput(hazards, batch, k_now) * 0.999
