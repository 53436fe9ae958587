"""The step-time model learns a grid, says what it does not know, and never depends on the order of windows."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import window

from controller.model.drafter import HEAD, UNKNOWN, Drafter
from controller.model.step_posterior import posteriors
from controller.model.step_table import CELLS_MAX, MEMORY_WEIGHT, Cell, StepTable
from controller.model.step_time import StepTime, fit, fits


def truth(batch: float, k: float) -> float:
    """A step in seconds that is no roofline of ours: a hard corner, and an overhead that grows with the batch."""
    tokens = batch * (1 + k)
    return 0.006 * (max(1.0, tokens / 150) + 0.05 * k + (0.08 + 0.0005 * batch if k > 0 else 0.0))


def cell(batch: float, k: float, weight: float = 10.0) -> Cell:
    """A measurement of the truth."""
    return Cell(batch, k, float(k > 0), math.log(truth(batch, k)), weight)


GRID = tuple(cell(batch, k) for batch, k in product((1, 4, 16, 64, 256), (0, 1, 3, 5)))


def model_of(*cells: Cell, drafter: Drafter = HEAD, capture_limit_tokens: float = math.inf) -> StepTime:
    """The posterior from these cells."""
    return StepTime(StepTable(cells), drafter, capture_limit_tokens)


def log_seconds(model: StepTime, batch: float, *ks: float) -> list[float]:
    """ln t at these k."""
    drafts = np.array(ks, float)
    return [float(each) for each in model.grid([batch], drafts, np.minimum(1.0, drafts)).log_seconds[0]]


def ratio_deviation(model: StepTime, batch: float, k: float, reference: float) -> float:
    """Standard deviation of ln(t(k) / t(reference))."""
    drafts = np.array([k, reference], float)
    return math.sqrt(model.grid([batch], drafts, np.minimum(1.0, drafts)).contrast_variance[0, 0])


def test_several_tables_are_fitted_as_each_of_them_alone() -> None:
    """To the last digit, however many cells each has and however long its search takes; none where there is no cell."""
    draw = np.random.default_rng(7)
    sizes = [int(each) for each in draw.integers(0, 6, 40)]
    drawn = [[GRID[place] for place in draw.choice(len(GRID), size, replace=False)] for size in sizes]
    off = [[replace(each, log_seconds=each.log_seconds + draw.normal(0, 1.5)) for each in cells] for cells in drawn]
    tables = [StepTable(tuple(cells)) for cells in [*drawn, *off]]
    alone = [fit(each, HEAD) for each in tables]
    drafts = np.arange(6.0)
    for one, found in zip(alone, fits(tables, HEAD), strict=True):
        assert (one is None) is (found is None)
        if one is not None and found is not None:
            assert found.parameters() == one.parameters()
            for batch in (1.0, 30.0):
                mine, its = (each.grid([batch], drafts, np.minimum(1.0, drafts)) for each in (found, one))
                assert mine.log_seconds.tolist() == its.log_seconds.tolist()
                assert mine.contrast_variance.tolist() == its.contrast_variance.tolist()


def test_what_is_kept_of_one_table_does_not_keep_the_others() -> None:
    """A row that fails keeps its last step time for as long as it fails, and would keep all arrays of that pass."""
    tables = [StepTable((each, GRID[0])) for each in GRID[1:]]
    for found in posteriors(tables, [each.prior for each in model_of(*GRID).parameters().values()], math.inf, 0.1):
        for name in ("log_batch", "drafts", "mode", "covariance", "weights", "factor"):
            assert getattr(found, name).base is None, name


def test_where_a_cell_was_measured_the_measurement_wins() -> None:
    """Within 2% of every measured cell, though the curve is of another shape."""
    model = model_of(*GRID)
    for each in GRID:
        assert log_seconds(model, each.batch, each.drafts) == [pytest.approx(each.log_seconds, abs=0.02)]


def test_left_out_cells_inside_the_grid_are_predicted_within_a_few_percent() -> None:
    """Mean error at most 6% for cells of batches 4..64, each predicted from all others."""
    inner = [each for each in GRID if 4 <= each.batch <= 64]
    errors = [
        abs(log_seconds(model_of(*(c for c in GRID if c is not each)), each.batch, each.drafts)[0] - each.log_seconds)
        for each in inner
    ]
    assert np.mean(errors) <= 0.06


def test_when_k_never_varied_the_bounds_of_another_k_are_wide_and_of_this_k_narrow() -> None:
    """Cost is not identified at one k: the ratio to k=0 is known within tens of percent, not within a few."""
    model = model_of(cell(16, 5), drafter=UNKNOWN)
    assert ratio_deviation(model, 16, 5, 5) < 0.01
    assert ratio_deviation(model, 16, 0, 5) > 0.15


def test_a_second_k_makes_the_ratio_known() -> None:
    """Measuring k=0 and k=5 at a load leaves a few percent between them."""
    model = model_of(cell(16, 5), cell(16, 0), drafter=UNKNOWN)
    assert ratio_deviation(model, 16, 0, 5) < 0.05


def test_the_choice_does_not_depend_on_the_unit_of_time() -> None:
    """Ten times slower steps, ten times the prediction, the same ratios."""
    slow = [Cell(c.batch, c.drafts, c.drafting, c.log_seconds + math.log(10), c.weight) for c in GRID]
    here, there = (np.array(log_seconds(model_of(*cells), 8, 0, 2, 5)) for cells in (GRID, slow))
    np.testing.assert_allclose(there - here, math.log(10), atol=0.01)


@settings(max_examples=25, deadline=None)
@given(st.permutations(GRID))
def test_the_order_of_measurements_does_not_matter(cells: list[Cell]) -> None:
    """The posterior is a function of the set of cells."""
    for batch in (2, 32, 100):
        ours, theirs = (log_seconds(model_of(*each), batch, 1, 2, 5) for each in (GRID, cells))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_only_a_measured_k0_counts_as_measured() -> None:
    """A cell at k=1 or at a batch far away is no baseline."""
    table = StepTable((cell(16, 0), cell(64, 1)))
    assert table.measured(18, [0]) == (True,)
    assert table.measured(64, [0]) == (False,)
    assert table.measured(2, [0]) == (False,)


def test_windows_of_one_load_share_a_cell_and_its_weight_is_bounded() -> None:
    """A thousand windows at one load are one cell that remembers about MEMORY_WEIGHT of them."""
    table = StepTable()
    for _ in range(1000):
        table = table.with_window(window((700.0, 300.0), drafts=1000))
    assert len(table.cells) == 1
    assert table.cells[0].weight <= MEMORY_WEIGHT


def test_a_cell_follows_a_machine_that_became_slower() -> None:
    """After MEMORY_WEIGHT further windows the mean is most of the way to the new step time."""
    table = StepTable()
    for seconds in [0.010] * 100 + [0.020] * 60:
        table = table.with_window(window((700.0, 300.0), drafts=1000, step_seconds=seconds))
    assert math.exp(table.cells[0].log_seconds) == pytest.approx(0.020, rel=0.15)


def test_the_table_never_grows_beyond_its_limit() -> None:
    """Loads without end push the least recently seen cells out."""
    table = StepTable()
    for k, batch in product((0, 3), np.geomspace(1, 1000, 200)):
        table = table.with_cell(cell(float(batch), k))
    assert len(table.cells) == CELLS_MAX
    assert table.cells[-1].batch == pytest.approx(1000, rel=0.1)


def test_unsteady_windows_and_prompts_weigh_less() -> None:
    """A batch that moved, or prompt tokens in the same steps, blur the step time."""
    extras: tuple[dict[str, Any], ...] = ({}, {"running": 12.0}, {"prompt_tokens": 5000.0})
    steady, moved, prompts = (
        StepTable().with_window(window((700.0, 300.0), drafts=1000, **extra)).cells[0].weight for extra in extras
    )
    assert moved < 0.2 * steady
    assert prompts < 0.5 * steady


def test_an_idle_window_adds_nothing() -> None:
    """0/0 is no measurement."""
    assert StepTable().with_window(window((0.0, 0.0), batch=1.0)) == StepTable()
    assert fit(StepTable(), HEAD) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1, 512), st.integers(0, 16), st.floats(1e-4, 10.0), st.floats(1e-6, 30)),
        min_size=1,
        max_size=48,
    )
)
def test_any_measurements_yield_finite_predictions(rows: list[tuple[float, int, float, float]]) -> None:
    """Contradictory or absurd cells make no NaN and no error, whatever they say."""
    model = model_of(*(Cell(b, float(k), float(k > 0), math.log(t), w) for b, k, t, w in rows), drafter=UNKNOWN)
    drafts = np.array([0.0, 4.0, 16.0])
    at = [1, 16, 300], drafts, np.minimum(1.0, drafts)
    assert np.all(np.isfinite(model.grid(*at).log_seconds))
    assert np.all(model.grid(*at).variance_at(0) > 0)


def test_one_stalled_window_hardly_moves_its_cell() -> None:
    """A window ten times slower than thirty before it moves the mean by less than 5%."""
    table = StepTable()
    for seconds in [0.010] * 30 + [0.100]:
        table = table.with_window(window((700.0, 300.0), drafts=1000, step_seconds=seconds))
    assert math.exp(table.cells[0].log_seconds) == pytest.approx(0.010, rel=0.05)


def test_parameters_say_whether_they_were_measured() -> None:
    """A whole grid identifies the cost of a draft; a single cell only the scale."""
    whole, single = model_of(*GRID).parameters(), model_of(cell(16, 5)).parameters()
    assert whole["per_draft"].identified
    assert whole["saturation_tokens"].identified
    assert single["fixed_seconds"].identified
    assert not single["per_draft"].identified
    assert not single["saturation_tokens"].identified


def test_beyond_a_known_capture_limit_a_step_is_taken_to_cost_more() -> None:
    """With a limit of 256 tokens, k=5 at batch 64 (384 tokens) is dearer than without one; k=1 (128) is not."""
    known = model_of(cell(16, 5), capture_limit_tokens=256)
    unknown = model_of(cell(16, 5))
    assert log_seconds(known, 64, 5)[0] > log_seconds(unknown, 64, 5)[0] + 0.2
    assert log_seconds(known, 64, 1) == log_seconds(unknown, 64, 1)


def test_a_measured_cliff_replaces_the_assumed_one() -> None:
    """Cells on both sides of the limit tell how high it is."""
    steep = Cell(64.0, 5.0, 1.0, math.log(truth(64, 5) * 3), 20.0)
    model = model_of(cell(16, 5), cell(64, 1), steep, capture_limit_tokens=256)
    assert log_seconds(model, 64, 5)[0] == pytest.approx(steep.log_seconds, abs=0.05)
    assert model.parameters()["cliff"].median > 2.0
