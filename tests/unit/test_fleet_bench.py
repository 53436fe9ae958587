"""The bench of the fleet tests: what it draws is what the simulator would have counted, and it forgets nothing."""

from dataclasses import replace

import pytest
from fleet import fleets, truth
from fleet.readings import readings
from fleet.replica import Replica

from controller.simulator.scenario import Event


def counted(replica: Replica, seconds: float) -> dict[str, float]:
    """What a replica counted in this time after a minute's warm-up, by series."""
    before, after = readings(replica, 0.0).at((60.0, 60.0 + seconds))
    names = [name.partition("{")[0].removeprefix("vllm:") for name in replica.series]
    return {name: late - early for name, early, late in zip(names, before, after, strict=True)}


def test_what_is_drawn_is_what_the_steps_would_have_counted() -> None:
    """Step time, batch, acceptance and tokens a second of two minutes agree, chance allowed for."""
    drawn, stepped = (
        counted(Replica("llm", "pod", "10.0.0.1:8000", fleets.WIDE, seed=3, stepwise=each), 120.0)
        for each in (False, True)
    )
    for above, below, tolerance in (
        ("inter_token_latency_seconds_sum", "inter_token_latency_seconds_count", 0.05),
        ("inter_token_latency_seconds_count", "iteration_tokens_total_count", 0.05),
        ("spec_decode_num_accepted_tokens_total", "spec_decode_num_drafts_total", 0.1),
        ("spec_decode_num_draft_tokens_total", "spec_decode_num_drafts_total", 0.01),
        ("spec_decode_num_drafts_total", "inter_token_latency_seconds_count", 0.02),
    ):
        assert drawn[above] / drawn[below] == pytest.approx(stepped[above] / stepped[below], rel=tolerance), above
    assert drawn["generation_tokens_total"] == pytest.approx(stepped["generation_tokens_total"], rel=0.1)
    (known,) = truth.stretches(fleets.WIDE, 200.0)
    assert drawn["generation_tokens_total"] / 120 == pytest.approx(known.tokens_per_second[known.k], rel=0.1)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_restart_begins_anew(stepwise: bool) -> None:
    """Counters fall to what has been counted since, the creation time moves, and in between nobody answers."""
    scenario = replace(fleets.WIDE, events=(Event(20.0, down_seconds=5.0),))
    replica = Replica("llm", "pod", "10.0.0.1:8000", scenario, stepwise=stepwise)
    before, down, after = readings(replica, 1000.0).at((19.0, 23.0, 30.0))
    created, generated = 4, 3
    assert down == ()
    assert 0 < after[generated] < before[generated]
    assert before[created] == 1000.0
    assert after[created] == pytest.approx(1025.0, abs=0.2)


def test_the_same_history_however_often_it_is_asked_for() -> None:
    """Blocks may be cut anywhere: asked in two halves or at once, the readings are the same."""
    replica = Replica("llm", "pod", "10.0.0.1:8000", fleets.daily("daily-8b"), seed=5)
    times = tuple(30.0 * each for each in range(600))
    parted = readings(replica, 0.0)
    assert [*parted.at(times[:250]), *parted.at(times[250:])] == [*readings(replica, 0.0).at(times)]


def test_truth_is_told_stretch_by_stretch() -> None:
    """A switch of traffic moves the best k; the totals of a workload count the pods that live."""
    scenario = fleets.switching("code", "prose", 600.0)
    first, second = truth.stretches(scenario, 1200.0)
    assert (first.best_k, second.best_k) == (5, 2)
    pods = (
        Replica("llm", "a", "10.0.0.1:8000", scenario),
        Replica("llm", "b", "10.0.0.2:8000", scenario, life=(0.0, 300.0)),
    )
    tokens = list(truth.workload_tokens(pods, 1200.0, 300.0))
    assert tokens[0] == pytest.approx([600 * each for each in first.tokens_per_second])
    assert tokens[1] == pytest.approx([300 * each for each in first.tokens_per_second])
    assert tokens[3] == pytest.approx([300 * each for each in second.tokens_per_second])
