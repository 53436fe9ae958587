"""The simulated engine: its accounting, its scheduler, and its agreement with the truth it tells."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from controller.simulator.engine import StepEngine
from controller.simulator.grids import LLAMA_EAGLE_H100
from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.step_cost import QUIET
from controller.simulator.workload import Lengths, Workload

CHAT = SCENARIOS["steady-chat"]


def closed_loop(concurrency: int, base: Scenario = CHAT, workload: str = "chat") -> Scenario:
    """Steady load without noise."""
    phases = (Phase(0, ((workload, 1.0),), concurrency=concurrency),)
    return replace(base, phases=phases, loop_seconds=None, events=(), noise=QUIET)


def run(scenario: Scenario, seconds: float, k: int | None = None, seed: int = 0) -> StepEngine:
    """An engine after some simulated seconds, at a constant k if one is given."""
    engine = StepEngine(scenario, schedule=None if k is None else ((1, 10_000, k),), seed=seed)
    engine.advance_to(seconds)
    return engine


@pytest.mark.parametrize("name", ["steady-code", "ngram", "long-context", "bursts", "mixed-workloads"])
def test_every_token_is_accounted_for(name: str) -> None:
    """The identities that hold on a real page, exactly."""
    engine = run(SCENARIOS[name], 120)
    counters = engine.counters
    request_steps = counters.inter_token.count
    resumed = counters.preemptions  # each resumption is one more sample, or is still to come
    emitted = counters.generation_tokens - counters.first_tokens
    assert counters.step_tokens.sum == counters.prompt_tokens + counters.generation_tokens
    assert counters.first_token.count == counters.first_tokens
    assert counters.end_to_end.count == counters.finished_requests
    assert emitted == request_steps + counters.accepted_tokens - counters.truncated_tokens
    assert counters.accepted_tokens <= counters.draft_tokens
    assert int(counters.drafted_by_length.sum()) <= request_steps <= int(counters.drafted_by_length.sum()) + resumed


def test_drafts_cut_by_the_end_of_an_output_stay_within_two_percent() -> None:
    """As in vLLM, they count as accepted."""
    counters = run(SCENARIOS["steady-code"], 120).counters
    assert 0 < counters.truncated_tokens < 0.02 * counters.generation_tokens


@pytest.mark.parametrize("name", ["steady-code", "steady-prose", "ngram", "draft-model", "mixed-workloads"])
def test_the_counters_agree_with_the_truth(name: str) -> None:
    """Survival by position, coverage and tokens per step, within what requests that differ allow."""
    engine = run(replace(SCENARIOS[name], noise=QUIET), 900, seed=2)
    counters, truth = engine.counters, engine.phase_truth().acceptance(engine.k_max)
    survival = counters.accepted_by_position().sum(axis=0) / counters.drafts
    assert survival == pytest.approx(truth.survival, rel=0.05, abs=0.005)
    assert counters.drafts / counters.inter_token.count == pytest.approx(truth.coverage, rel=0.03)
    per_step = 1 + counters.accepted_tokens / counters.inter_token.count
    assert per_step == pytest.approx(truth.tokens_per_step, rel=0.025)


@pytest.mark.parametrize(("concurrency", "k"), [(1, 3), (16, 0), (64, 1), (200, 5)])
def test_throughput_agrees_with_the_truth(concurrency: int, k: int) -> None:
    """Tokens per second of a steady closed loop; a client whose prompt is being read does not decode."""
    engine = run(closed_loop(concurrency), 30, k)
    before, since = engine.counters.generation_tokens, 30
    engine.advance_to(330)
    seen = (engine.counters.generation_tokens - before) / (330 - since)
    assert seen == pytest.approx(engine.phase_truth().tokens_per_second(concurrency, k), rel=0.03)


def test_step_time_is_what_the_truth_says() -> None:
    """Mean seconds of steps without prefill at one (batch, k)."""
    engine = run(closed_loop(16), 200, 3)
    seconds, steps = engine.counters.inter_token.sum / engine.counters.inter_token.count, engine.counters.steps
    assert steps > 1000
    assert seconds == pytest.approx(engine.phase_truth().mean_step_seconds(16, 3), rel=0.02)


def test_the_best_k_falls_with_load_and_with_acceptance() -> None:
    """Long drafts for one stream of code, none for a full batch of prose."""
    code, prose = run(closed_loop(1, workload="code"), 1), run(closed_loop(1, workload="prose"), 1)
    assert code.phase_truth().best_k(1, 5) == 5
    assert prose.phase_truth().best_k(1, 5) == 2
    assert prose.phase_truth().best_k(128, 5) == 0


def test_speculation_never_pays_on_the_measured_mixture_of_experts() -> None:
    """The published negative: k=0 is best at every batch size."""
    engine = run(SCENARIOS["moe-negative"], 1)
    assert {engine.truth().best_k(batch, 3) for batch in (1, 2, 4, 8, 16, 32, 64)} == {0}
    assert engine.truth().acceptance(3).tokens_per_step == pytest.approx(1.86, abs=0.02)


def test_k_follows_the_schedule() -> None:
    """Every step at the k of its number of scheduled requests, prefills included."""
    schedule = ((1, 4, 5), (5, 8, 2), (9, 256, 0))
    engine = StepEngine(SCENARIOS["bursts"], schedule=schedule, seed=1)
    engine.advance_to(120)
    seen = engine.counters.by_batch_and_k
    assert {k for _, k in seen} == {5, 2, 0}
    assert all(k == 5 for batch, k in seen if batch == 1)
    assert all(k == 0 for batch, k in seen if batch >= 9)


def test_a_new_schedule_holds_from_the_next_step_on() -> None:
    """Live, between two steps, without losing a request."""
    engine = run(closed_loop(8), 20, 3)
    engine.set_schedule(((1, 256, 1),))
    at_three = engine.counters.drafted_by_length[:, 3].sum()
    engine.advance_to(40)
    assert engine.schedule == ((1, 256, 1),)
    assert engine.counters.drafted_by_length[:, 3].sum() - at_three <= 8  # the step under way
    assert engine.counters.drafted_by_length[:, 1].sum() > 1000


def test_steps_at_k_0_count_no_drafts() -> None:
    """Nothing is drafted, nothing accepted, and one token comes of each request-step."""
    counters = run(closed_loop(8), 30, 0).counters
    assert (counters.drafts, counters.draft_tokens, counters.accepted_tokens) == (0, 0, 0)
    assert counters.generation_tokens - counters.first_tokens == counters.inter_token.count


def test_a_server_that_can_speculate_is_slower_at_k_0_than_one_that_cannot() -> None:
    """The k=0 tax, on the same load."""
    with_drafter = run(closed_loop(8), 60, 0).counters
    without = run(closed_loop(8, SCENARIOS["no-speculation"]), 60).counters
    assert without.generation_tokens / with_drafter.generation_tokens == pytest.approx(1.04, abs=0.01)


def test_prompts_slow_the_requests_that_decode_beside_them() -> None:
    """Steps at the same batch and k take longer with prefill in them."""
    tallies = run(closed_loop(32, SCENARIOS["mixed-workloads"], "summary"), 60, 3).counters.by_batch_and_k
    with_prefill = tallies[31, 3]
    without = tallies[32, 3]
    assert with_prefill.prefill_tokens > 0 == without.prefill_tokens
    assert with_prefill.seconds / with_prefill.steps > 1.5 * without.seconds / without.steps


def test_long_prompts_are_read_in_chunks_within_the_token_budget() -> None:
    """No step takes in more than max_num_batched_tokens."""
    scenario = SCENARIOS["long-context"]
    engine = StepEngine(scenario)
    widest, before = 0, 0
    for step in range(1, 400):
        engine.advance_to(0.05 * step)
        tallies = engine.counters.by_batch_and_k.values()
        steps, tokens = sum(t.steps for t in tallies), sum(t.prefill_tokens for t in tallies)
        widest, before = max(widest, (tokens - before) // max(steps, 1)), tokens
    assert 0 < widest <= scenario.max_num_batched_tokens
    assert engine.counters.prompt_tokens > 10 * scenario.max_num_batched_tokens


def test_a_full_kv_cache_preempts_the_youngest_and_all_requests_still_finish() -> None:
    """Preempted requests start over with what they have, and emit every token once."""
    tight = replace(SCENARIOS["long-context"], kv_cache_tokens=120_000, noise=QUIET)
    engine = run(tight, 200)
    assert engine.counters.preemptions > 3
    assert engine.kv_cache_usage <= 1
    assert engine.counters.finished_requests > 50
    assert engine.waiting > 0


def test_requests_beyond_max_num_seqs_wait() -> None:
    """A closed loop wider than the server."""
    engine = run(replace(closed_loop(40), max_num_seqs=16), 20)
    assert engine.running <= 16
    assert engine.running + engine.waiting == 40
    assert engine.counters.queue.sum > 0


def test_open_loop_traffic_arrives_at_its_rate() -> None:
    """Poisson arrivals, whatever the server does."""
    rate = replace(CHAT, phases=(Phase(0, (("chat", 1.0),), requests_per_second=5.0),))
    counters = run(rate, 400).counters
    assert counters.first_tokens / 400 == pytest.approx(5.0, rel=0.07)


def test_sparse_traffic_leaves_the_engine_idle_and_no_step_is_counted_then() -> None:
    """Busy time is a fraction of the time that passes."""
    engine = run(SCENARIOS["sparse-traffic"], 600)
    assert 0 < engine.counters.busy_seconds < 0.3 * 600
    assert run(SCENARIOS["idle"], 600).counters.steps == 0


def test_a_smaller_load_takes_over_when_requests_end() -> None:
    """Clients above the new concurrency leave with their last request."""
    phases = (Phase(0, (("chat", 1.0),), concurrency=32), Phase(30, (("chat", 1.0),), concurrency=4))
    engine = StepEngine(replace(CHAT, phases=phases))
    engine.advance_to(30)
    assert engine.running == 32
    engine.advance_to(90)
    assert engine.running == 4


def test_the_truth_of_running_requests_follows_the_traffic() -> None:
    """After a switch the mix turns over request by request."""
    switch = (Phase(0, (("code", 1.0),), concurrency=16), Phase(40, (("prose", 1.0),), concurrency=16))
    engine = run(replace(CHAT, phases=switch), 39)
    code = engine.truth().acceptance(3).tokens_per_step
    engine.advance_to(41)
    assert engine.phase_truth().acceptance(3).tokens_per_step < engine.truth().acceptance(3).tokens_per_step <= code
    engine.advance_to(90)
    assert engine.truth().acceptance(3) == engine.phase_truth().acceptance(3)


def test_a_restart_loses_requests_counters_and_the_schedule() -> None:
    """And nothing happens while the server is down."""
    scenario = replace(CHAT, events=(Event(50, "restart", down_seconds=10),))
    engine = run(scenario, 49.9)
    engine.set_schedule(((1, 256, 1),))
    busy = engine.counters.generation_tokens
    engine.advance_to(55)
    assert (engine.is_up, engine.starts, engine.counters.generation_tokens) == (False, 2, 0)
    engine.advance_to(70)
    assert engine.is_up
    assert engine.started_seconds == pytest.approx(60, abs=0.1)
    assert engine.schedule == engine.launch_schedule
    assert 0 < engine.counters.generation_tokens < busy


def test_a_restart_reaches_an_idle_engine_too() -> None:
    """No request is needed for time to pass."""
    engine = run(replace(SCENARIOS["idle"], events=(Event(50, "restart"),)), 100)
    assert (engine.starts, engine.started_seconds) == (2, 50)


def test_the_past_does_not_depend_on_how_it_was_reached() -> None:
    """One leap or a thousand steps: the same counters."""
    leap, walk = StepEngine(SCENARIOS["day-curve"], seed=4), StepEngine(SCENARIOS["day-curve"], seed=4)
    leap.advance_to(700)
    for second in np.linspace(0, 700, 1001):
        walk.advance_to(float(second))
    assert leap.counters.by_batch_and_k == walk.counters.by_batch_and_k
    assert np.array_equal(leap.counters.accepted_by_length, walk.counters.accepted_by_length)


def test_another_seed_is_another_past() -> None:
    """Chance is only in the seed."""
    first, second = run(CHAT, 30, seed=1), run(CHAT, 30, seed=2)
    assert first.counters.generation_tokens != second.counters.generation_tokens


def test_engines_share_the_load_and_differ() -> None:
    """Of 5 clients, 3 and 2."""
    scenario = replace(closed_loop(5), engines=2)
    engines = [StepEngine(scenario, engine_index=index) for index in (0, 1)]
    for engine in engines:
        engine.advance_to(20)
    assert [engine.running for engine in engines] == [3, 2]


def test_a_single_token_output_ends_with_its_prefill() -> None:
    """It has a first token, and no time between tokens."""
    workload = Workload.constant("one", 0.5, Lengths(10, spread=0), Lengths(1, spread=0))
    scenario = Scenario(
        name="one-token",
        description="Outputs of one token.",
        grid=LLAMA_EAGLE_H100,
        workloads=(workload,),
        phases=(Phase(0, (("one", 1.0),), concurrency=3),),
    )
    counters = run(scenario, 5).counters
    assert counters.finished_requests == counters.generation_tokens == counters.first_tokens > 100
    assert counters.inter_token.count == counters.drafts == 0


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_every_named_scenario_runs_and_describes_itself(scenario: Scenario) -> None:
    """Ten seconds of each, and a description in one line."""
    assert scenario.description.endswith(".")
    assert "\n" not in scenario.description
    assert len(scenario.description) < 100
    engine = run(scenario, 10)
    assert (engine.counters.steps == 0) == (scenario.name == "idle")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"phases": (Phase(5, (("chat", 1.0),), concurrency=1),)}, "start at 0"),
        ({"phases": (Phase(0, (("poems", 1.0),), concurrency=1),)}, "poems"),
        ({"loop_seconds": 10.0, "events": (Event(20),)}, "after its loop"),
        ({"engines": 0}, "at least one engine"),
    ],
)
def test_an_impossible_scenario_is_refused(change: dict[str, Any], reason: str) -> None:
    """With its name and the reason."""
    with pytest.raises(ValueError, match=reason):
        replace(CHAT, **change)


@pytest.mark.parametrize("load", [{}, {"concurrency": 1, "requests_per_second": 1.0}, {"concurrency": -1}])
def test_an_impossible_load_is_refused(load: dict[str, Any]) -> None:
    """Either a concurrency or a rate, and not negative."""
    with pytest.raises(ValueError, match=r"either|negative"):
        Phase(0, (("chat", 1.0),), **load)
