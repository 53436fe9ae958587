"""What a step takes: the grid, and the effects around it."""

from dataclasses import replace

import numpy as np
import pytest

from controller.simulator.grids import GRIDS, LLAMA_EAGLE_H100
from controller.simulator.noise import NoiseSource
from controller.simulator.step_cost import CostGrid, Noise, StepCost, interpolate

PLAIN = CostGrid(
    name="plain",
    source="made for a test",
    batches=(1, 4, 16),
    ks=(0, 2),
    step_ms=((10.0, 14.0), (12.0, 20.0), (20.0, 60.0)),
    k0_tax=0.0,
    kv_seconds_per_token=0.0,
)


def cost(grid: CostGrid, *, k_max: int = 4, speculating: bool = True) -> StepCost:
    """The step cost of a server of 32 sequences."""
    return StepCost(grid, k_max=k_max, max_num_seqs=32, launched_with_speculation=speculating)


def seconds(grid: CostGrid, batch: int, k: int, **more: float) -> float:
    """Expected seconds of a step with contexts of the reference length."""
    context = more.pop("context_tokens", float(batch * grid.reference_context_tokens))
    return cost(grid).expected_seconds(batch, k, context, **more)


@pytest.mark.parametrize(("batch", "k", "milliseconds"), [(1, 0, 10), (1, 2, 14), (4, 2, 20), (16, 0, 20)])
def test_a_measured_cell_is_what_was_measured(batch: int, k: int, milliseconds: float) -> None:
    """Interpolation goes through its points."""
    assert seconds(PLAIN, batch, k) == pytest.approx(milliseconds / 1000)


def test_between_cells_time_is_linear_in_k_and_in_the_logarithm_of_the_batch() -> None:
    """Batch 2 is half way from 1 to 4, k=1 half way from 0 to 2."""
    assert seconds(PLAIN, 2, 1) == pytest.approx((12.0 + 16.0) / 2 / 1000)


def test_beyond_the_grid_its_last_slopes_go_on() -> None:
    """k=4 goes on as from 0 to 2; batch 28 as from 4 to 16, in the batch itself."""
    assert seconds(PLAIN, 1, 4) == pytest.approx(0.018)
    assert seconds(PLAIN, 28, 0) == pytest.approx(0.028)


def test_a_server_with_a_drafter_pays_for_it_at_k_0() -> None:
    """Where the k=0 row was measured without a drafter; a server launched without one does not pay."""
    taxed = replace(PLAIN, k0_tax=0.05)
    assert seconds(taxed, 4, 0) == pytest.approx(0.0126)
    assert seconds(taxed, 4, 2) == pytest.approx(0.020)
    assert seconds(replace(taxed, k0_row_has_drafter=True), 4, 0) == pytest.approx(0.012)
    assert cost(taxed, speculating=False).expected_seconds(4, 0, 2000) == pytest.approx(0.012)


def test_steps_beyond_the_capture_limit_fall_off_a_cliff() -> None:
    """12 tokens still have a CUDA graph, 13 and more have none."""
    limited = replace(PLAIN, capture_limit_tokens=12, beyond_capture_factor=2.0)
    assert seconds(limited, 4, 2) == pytest.approx(seconds(PLAIN, 4, 2))
    assert seconds(limited, 5, 2) == pytest.approx(2 * seconds(PLAIN, 5, 2))
    assert seconds(limited, 4, 3) == pytest.approx(2 * seconds(PLAIN, 4, 3))


def test_prefill_tokens_slow_the_step_they_share() -> None:
    """1000 tokens at 25 microseconds."""
    assert seconds(PLAIN, 4, 2, prefill_tokens=1000) == pytest.approx(0.020 + 0.025)


def test_longer_contexts_cost_and_shorter_ones_save_up_to_a_floor() -> None:
    """The KV term counts from the context at which the grid was measured."""
    loaded = replace(PLAIN, kv_seconds_per_token=1e-6)
    assert seconds(loaded, 4, 0, context_tokens=5000) == pytest.approx(0.015)
    assert seconds(loaded, 4, 0, context_tokens=1000) == pytest.approx(0.011)
    assert seconds(replace(PLAIN, kv_seconds_per_token=1.0), 4, 0, context_tokens=0) == pytest.approx(0.006)


def test_the_published_grid_is_copied_as_published() -> None:
    """Corners of the H100 table, in milliseconds."""
    table = interpolate(LLAMA_EAGLE_H100, 256, 5)
    assert (table[1, 0], table[1, 5], table[256, 0], table[256, 5]) == (6.5206, 10.3265, 14.4914, 57.4042)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: grid.name)
def test_every_grid_says_where_it_comes_from_and_rises_with_load(grid: CostGrid) -> None:
    """No step of a larger batch, or with more drafts, is shorter; every number has a source."""
    table = interpolate(grid, 256, grid.ks[-1])
    assert grid.source.startswith(("measured", "made"))
    assert np.all(np.diff(table, axis=0) >= 0)
    assert np.all(np.diff(table, axis=1) >= 0)


def test_a_grid_with_missing_cells_is_refused() -> None:
    """Every row has one number for each k."""
    with pytest.raises(ValueError, match="3 rows of 3"):
        replace(PLAIN, ks=(0, 1, 2))


def test_noise_has_mean_one_and_a_drift_that_lasts() -> None:
    """Means of distant blocks differ by the drift, all together average out."""
    source = NoiseSource(Noise(step_sigma=0.05, drift_sigma=0.03, drift_memory=0.9), seed=1, engine_index=0)
    factors = np.array([source.next_factor() for _ in range(200_000)])
    assert factors.mean() == pytest.approx(1.0, abs=0.003)
    blocks = factors.reshape(-1, 64).mean(axis=1)
    assert np.corrcoef(blocks[:-1], blocks[1:])[0, 1] > 0.7
    assert blocks.std() == pytest.approx(0.03, rel=0.2)
