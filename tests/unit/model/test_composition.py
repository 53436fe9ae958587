"""At another k the steps of a batch belong to other workloads, and a mix is priced for that."""

from dataclasses import replace
from typing import Final

import pytest
from courses import market
from hypothesis import given
from hypothesis import strategies as st

from controller.model.acceptance import Acceptance, estimate
from controller.model.composition import Portion, composition
from controller.model.drafter import HEAD
from controller.model.evidence import AcceptanceEvidence
from controller.simulator.engine import StepEngine
from controller.simulator.scenario import Phase
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.truth import steps_per_request, workload_flow

POSITIONS: Final = 4


def known(survival: tuple[float, ...]) -> Acceptance:
    """What very many drafts with this survival tell."""
    counts = tuple(1e6 * each for each in survival)
    return estimate(AcceptanceEvidence((1e6, *counts[:-1]), counts, 1e6, 1e6 * len(counts), 1e6, 1e6), HEAD)


def portion(rate: float, share: float) -> Portion:
    """A workload of a constant rate."""
    return Portion(f"{rate}", share, known(tuple(rate**position for position in range(1, POSITIONS + 1))))


def tokens(each: Portion, k: int) -> float:
    """E(k) of a workload alone, without renewal."""
    return 1 + sum(each.acceptance.survival[:k])


SHARES: Final = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 1.0)), min_size=2, max_size=5)


@given(SHARES, st.integers(1, POSITIONS))
def test_nothing_changes_at_the_k_that_was_seen_nor_without_drafts(
    parts: list[tuple[float, float]], seen_k: int
) -> None:
    """There the steps were counted; and at k=0 every workload makes one token a step."""
    total = sum(share for _, share in parts)
    factor = composition([portion(rate, share / total) for rate, share in parts], seen_k, 0.0)
    assert len(factor) == POSITIONS + 1
    assert factor[seen_k] == pytest.approx(1.0)
    assert factor[0] == pytest.approx(1.0)


@given(st.floats(0.05, 0.95), st.integers(1, POSITIONS))
def test_workloads_that_are_alike_are_as_one(rate: float, seen_k: int) -> None:
    """Whoever leaves first, the next one is the same."""
    assert composition([portion(rate, 0.3), portion(rate, 0.7)], seen_k, 0.5) == pytest.approx([1.0] * 5)


def test_one_workload_is_no_mix() -> None:
    """Nor is none."""
    assert composition([portion(0.7, 1.0)], 2, 0.0) == ()
    assert composition([], 2, 0.0) == ()


@given(st.floats(0.6, 0.95), st.floats(0.05, 0.4), st.floats(0.1, 0.9), st.integers(2, POSITIONS))
def test_fewer_drafts_bring_more_than_the_steps_of_before_would_say(
    easy: float, hard: float, share: float, seen_k: int
) -> None:
    """The easy workload is slowed most, so that more of the steps are its own: the same tokens of each are served."""
    mix = [portion(easy, share), portion(hard, 1 - share)]
    factor = composition(mix, seen_k, 0.0)
    for k in range(1, seen_k):
        assert factor[k] > 1.0
        wanted = [each.share * tokens(each, seen_k) for each in mix]
        served = sum(wanted) / sum(want / tokens(each, k) for want, each in zip(wanted, mix, strict=True))
        assert factor[k] * sum(each.share * tokens(each, k) for each in mix) == pytest.approx(served)
    for k in range(seen_k + 1, POSITIONS + 1):
        assert factor[k] < 1.0


def test_a_mix_is_priced_as_its_server_serves_it() -> None:
    """Code and prose arrive together; seen at the largest k, every other one is told, which pooled drafts are not."""
    half = Phase(0, (("code", 0.5), ("prose", 0.5)), concurrency=16)
    engine = StepEngine(replace(SCENARIOS["steady-code"], phases=(half,)), seed=0)
    truth, k_max = engine.phase_truth(), engine.k_max
    arriving = [each for each in engine.scenario.workloads if each.name in truth.arrivals]
    steps = [truth.arrivals[each.name] * steps_per_request(each, k_max) for each in arriving]
    mix = [
        Portion(each.name, share / sum(steps), known(tuple(workload_flow(each, k_max).accepted.tolist())))
        for each, share in zip(arriving, steps, strict=True)
    ]
    pooled = replace(
        market((0.5,) * k_max), acceptance=known(truth.acceptance(k_max).survival), persistence=HEAD.persistence
    )
    told_apart = replace(pooled, composition=composition(mix, k_max, HEAD.persistence))
    for k in range(1, k_max):
        true = 1 + sum(truth.acceptance(k).survival)
        assert told_apart.tokens_per_step(k) == pytest.approx(true, rel=0.015)
    worst = min(pooled.tokens_per_step(k) / (1 + sum(truth.acceptance(k).survival)) for k in range(1, k_max))
    assert worst < 0.97
