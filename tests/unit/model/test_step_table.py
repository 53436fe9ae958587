"""The table of measured steps knows its own noise, and keeps steps beside prompts apart from those without."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import window

from controller.model.step_table import NOISE_RATIOS, WINDOW_NOISE, Cell, StepTable, cell_of
from controller.observe.speculation import StepCounts


def cell(seconds: float, batch: float = 8.0, drafts: float = 4.0, prompt: float = 0.0, weight: float = 1.0) -> Cell:
    """One window's measurement."""
    return Cell(batch, drafts, float(drafts > 0), math.log(seconds), weight, prompt=prompt)


def noisy(spread: float, windows: int, seed: int = 0, start: StepTable | None = None) -> StepTable:
    """A table after windows whose steps scatter by so much about 10 ms."""
    table = start or StepTable()
    for draw in np.random.default_rng(seed).normal(0.0, spread, windows):
        table = table.with_cell(cell(0.01 * math.exp(draw)))
    return table


# the noise


def test_without_measurements_the_noise_is_what_is_assumed() -> None:
    """A single window per cell has nothing to scatter from either."""
    assert StepTable().noise == WINDOW_NOISE
    apart = StepTable().with_cell(cell(0.01, batch=1.0)).with_cell(cell(0.03, batch=64.0))
    assert apart.noise == WINDOW_NOISE


@pytest.mark.parametrize("spread", [0.02, 0.04, 0.08])
def test_the_noise_becomes_the_scatter_that_is_observed(spread: float) -> None:
    """Within a third after 150 windows."""
    assert noisy(spread, 150).noise == pytest.approx(spread, rel=0.33)


def test_a_few_windows_hardly_move_the_noise() -> None:
    """Two that agree exactly are no proof of a silent machine."""
    assert 0.85 * WINDOW_NOISE < noisy(0.0, 3).noise < WINDOW_NOISE


def test_the_noise_follows_a_machine_that_becomes_quiet() -> None:
    """Old scatter fades."""
    loud = noisy(0.15, 100)
    quiet = noisy(0.02, 200, seed=1, start=loud)
    assert quiet.noise < 0.5 * loud.noise


@given(
    st.lists(st.tuples(st.floats(1e-5, 10.0), st.floats(0.01, 1.0), st.sampled_from([1.0, 8.0])), max_size=60),
)
def test_the_noise_stays_between_its_bounds_whatever_is_measured(rows: list[tuple[float, float, float]]) -> None:
    """However absurd."""
    table = StepTable()
    for seconds, weight, batch in rows:
        table = table.with_cell(cell(seconds, batch, weight=weight))
    low, high = (ratio * WINDOW_NOISE for ratio in NOISE_RATIOS)
    assert low <= table.noise <= high


@pytest.mark.parametrize(("scatter", "ratio"), [(0.0, NOISE_RATIOS[0]), (1e12, NOISE_RATIOS[1])])
def test_a_table_that_was_saved_with_absurd_scatter_is_not_believed(scatter: float, ratio: float) -> None:
    """Neither a machine without any noise, nor one of nothing else."""
    assert StepTable((), scatter, 1e6).noise == pytest.approx(ratio * WINDOW_NOISE)


def test_a_stall_tells_little_of_the_usual_noise() -> None:
    """One window a hundred times as long, against twenty quiet ones."""
    quiet = noisy(0.02, 20)
    assert quiet.with_cell(cell(1.0)).noise < 2 * quiet.noise


def test_the_difference_of_other_loads_and_other_ks_is_no_noise() -> None:
    """Windows scatter about their own cell."""
    table = StepTable()
    for _ in range(40):
        for batch, drafts, seconds in ((1.0, 0.0, 0.005), (1.0, 4.0, 0.01), (64.0, 4.0, 0.08)):
            table = table.with_cell(cell(seconds, batch, drafts))
    assert len(table.cells) == 3
    assert table.noise < WINDOW_NOISE / 2


# prompts


def test_steps_beside_prompts_have_cells_of_their_own() -> None:
    """So that what prompts add is not taken for what the load costs."""
    table = StepTable()
    for _ in range(10):
        table = table.with_cell(cell(0.010)).with_cell(cell(0.030, prompt=512.0))
    assert sorted((round(math.exp(each.log_seconds), 4), each.prompt) for each in table.cells) == [
        (0.01, 0.0),
        (0.03, 512.0),
    ]


def test_prompts_of_about_one_size_share_a_cell() -> None:
    """Its mean is theirs."""
    table = StepTable().with_cell(cell(0.03, prompt=500.0)).with_cell(cell(0.03, prompt=520.0))
    (only,) = table.cells
    assert only.prompt == pytest.approx(510.0)


def test_a_window_tells_its_prompt_tokens_by_the_step() -> None:
    """500 steps with 5,000 prompt tokens are 10 a step."""
    found = cell_of(window((700.0, 300.0), drafts=2000, batch=4.0, prompt_tokens=5000.0))
    assert found is not None
    assert found.prompt == pytest.approx(10.0)


# the plugin's steps


def counts(steps: float, request_steps: float, seconds: float, k: int = 3, prompt_tokens: float = 0.0) -> StepCounts:
    """Steps of batches 4 to 7."""
    return StepCounts(4, 7, k, steps, request_steps, seconds, request_steps, prompt_tokens)


def test_the_plugins_steps_are_exact_in_batch_and_k() -> None:
    """One cell a class; a lookup's drafts are fewer than k."""
    table = StepTable().with_steps((counts(100, 550, 2.0), counts(50, 200, 0.5, k=0)), 0.4, 0.7)
    drafting, off = table.cells
    assert (drafting.batch, drafting.drafting) == (5.5, 0.7)
    assert drafting.drafts == pytest.approx(1.2)
    assert math.exp(drafting.log_seconds) == pytest.approx(0.02)
    assert (off.batch, off.drafts, off.drafting) == (4.0, 0.0, 0.0)
    assert math.exp(off.log_seconds) == pytest.approx(0.01)


def test_the_plugins_steps_beside_prompts_are_told_apart_and_weigh_less() -> None:
    """Of their length only the mean of the prompts is known."""
    table = StepTable().with_steps((counts(100, 550, 2.0), counts(100, 550, 4.0, prompt_tokens=60_000)), 1.0, 1.0)
    plain, beside = table.cells
    assert (plain.prompt, beside.prompt) == (0.0, 600.0)
    assert beside.weight < plain.weight


def test_more_request_steps_weigh_more_up_to_a_window() -> None:
    """A handful of steps is hardly a measurement."""
    few, many = (StepTable().with_steps((counts(n, 5 * n, 0.02 * n),), 1.0, 1.0).cells[0].weight for n in (2, 2000))
    assert few < 0.25
    assert 0.95 < many <= 1.0


@pytest.mark.parametrize(
    "nothing",
    [counts(0, 0, 0.0), counts(10, 50, 0.0), counts(10, 9, 0.1)],
    ids=["no steps", "no time", "fewer requests than steps"],
)
def test_counts_that_measure_nothing_are_left_out(nothing: StepCounts) -> None:
    """0/0 is no step time."""
    assert StepTable().with_steps((nothing,), 1.0, 1.0) == StepTable()


def test_a_profile_from_elsewhere_is_not_measured_here_until_it_was() -> None:
    """One window of this server makes its cell its own."""
    profile = StepTable((Cell(8.0, 4.0, 1.0, math.log(0.01), 5.0, here=False),))
    assert profile.measured(8.0, [4.0, 0.0]) == (False, False)
    assert profile.with_cell(cell(0.01)).measured(8.0, [4.0, 0.0]) == (True, False)
