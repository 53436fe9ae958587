"""Laws that hold for any traffic, any schedule and any way of letting time pass."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.simulator.counters import Histogram
from controller.simulator.engine import StepEngine
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.schedule import dense_schedule
from controller.simulator.truth import workload_flow
from controller.simulator.workload import Lengths, TextState, Workload

SHORT = Lengths(20, spread=0.5)
probabilities = st.floats(0, 1)
schedules = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), min_size=1, max_size=5).map(
    lambda ranges: tuple(
        (1 + sum(width for width, _ in ranges[:i]), sum(width for width, _ in ranges[: i + 1]), k)
        for i, (_, k) in enumerate(ranges)
    )
)
states = st.builds(
    TextState,
    hazard=st.lists(probabilities, min_size=1, max_size=4).map(tuple),
    mean_tokens=st.floats(1, 20),
    coverage=probabilities,
)
workloads = st.builds(
    Workload,
    name=st.just("any"),
    states=st.lists(states, min_size=1, max_size=3).map(tuple),
    prompt=st.just(SHORT),
    output=st.just(SHORT),
    logit_spread=st.floats(0, 1),
    match_tokens=st.none() | st.floats(1, 10),
)


def counts(engine: StepEngine) -> list[float]:
    """Everything on the page that may only rise."""
    counters = engine.counters
    histograms = (counters.inter_token, counters.step_tokens, counters.first_token, counters.end_to_end)
    return [
        counters.drafts,
        counters.draft_tokens,
        counters.accepted_tokens,
        *counters.accepted_by_position().sum(axis=0),
        counters.generation_tokens,
        counters.prompt_tokens,
        counters.preemptions,
        *[value for histogram in histograms for value in (*histogram.counts, histogram.sum)],
    ]


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["steady-chat", "ngram", "bursts", "long-context", "code-to-prose"]),
    schedule=schedules,
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_counters_never_fall_and_add_up(
    name: str, schedule: tuple[tuple[int, int, int], ...], pauses: list[float], seed: int
) -> None:
    """While nothing restarts: monotone, accepted within drafted, tokens accounted for."""
    engine = StepEngine(SCENARIOS[name], schedule=schedule, seed=seed)
    before = counts(engine)
    for second in np.cumsum(pauses).tolist():
        engine.advance_to(second)
        after = counts(engine)
        assert all(now >= then for now, then in zip(after, before, strict=True))
        before = after
        counters = engine.counters
        accepted, drafted = counters.accepted_by_position(), counters.drafted_by_position()
        assert np.all(accepted <= drafted)
        assert np.all(np.diff(drafted, axis=1) <= 0)
        assert np.all(np.diff(accepted, axis=1) <= 0)
        emitted = counters.inter_token.count + counters.accepted_tokens - counters.truncated_tokens
        assert counters.generation_tokens - counters.first_tokens == emitted


@settings(max_examples=15, deadline=None)
@given(pauses=st.lists(st.floats(0, 2), min_size=1, max_size=20), seed=st.integers(0, 50))
def test_time_may_pass_in_any_portions(pauses: list[float], seed: int) -> None:
    """The past is the same."""
    end = float(np.cumsum(pauses)[-1])
    leap, walk = (StepEngine(SCENARIOS["bursts"], seed=seed) for _ in range(2))
    leap.advance_to(end)
    for second in np.cumsum(pauses).tolist():
        walk.advance_to(second)
    assert counts(leap) == counts(walk)


@given(workload=workloads, k=st.integers(0, 6))
def test_expected_survival_never_rises_and_tokens_stay_within_k_plus_one(workload: Workload, k: int) -> None:
    """For any states, coverage and match length; drafts are never accepted more often than made."""
    flow = workload_flow(workload, k)
    assert np.all(np.diff(flow.accepted) <= 1e-9)
    assert np.all(flow.accepted <= flow.drafted + 1e-9)
    assert 1 - 1e-9 <= flow.tokens <= k + 1 + 1e-9


@given(workload=workloads, k=st.integers(1, 6))
def test_a_longer_draft_never_yields_fewer_tokens(workload: Workload, k: int) -> None:
    """E(k) rises with k for texts that lie still: drafts beyond cost time, never tokens."""
    still = replace(workload, states=workload.states[:1], logit_spread=0.0)
    assert workload_flow(still, k).tokens >= workload_flow(still, k - 1).tokens - 1e-9


@given(schedule=schedules, k_max=st.integers(1, 8), slots=st.integers(1, 64))
def test_a_dense_schedule_is_within_its_bounds(
    schedule: tuple[tuple[int, int, int], ...], k_max: int, slots: int
) -> None:
    """One k for each number of requests, 0..k_max, and the range's own where there is one."""
    dense = dense_schedule(schedule, k_max, slots)
    assert len(dense) == slots + 1
    assert all(0 <= k <= k_max for k in dense)
    for low, high, k in schedule:
        assert all(dense[batch] == min(k, k_max) for batch in range(low, min(high, slots) + 1))


@given(values=st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_counts_each_sample_once(values: list[float]) -> None:
    """At the first bound that is not below it."""
    histogram = Histogram((1, 5, 10))
    for value in values:
        histogram.observe(value)
    assert histogram.count == len(values)
    assert histogram.counts[0] == sum(value <= 1 for value in values)
    assert histogram.counts[-1] == sum(value > 10 for value in values)
