"""What an engine step takes: a grid of measured or made numbers, and the effects around it."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.simulator.workload import FloatArray

_LEAST_SHARE: Final = 0.5
"""Short contexts never take a step below this share of its grid value."""


@dataclass(frozen=True, slots=True)
class CostGrid:
    """Step time in milliseconds at (batch, k), and the systematic effects around it.

    `step_ms[i][j]` belongs to `batches[i]` and `ks[j]`. Many published k=0 rows were measured on a server
    launched without speculation; where `k0_row_has_drafter` is false, a server that has a drafter pays
    `k0_tax` on top at k=0 (its drafter keeps its cache in step). Steps of more than `capture_limit_tokens`
    tokens, batch (k+1), have no CUDA graph and take `beyond_capture_factor` times as long; None means no
    limit, or one whose cost the grid holds already. Prefill tokens in a step add to it. Each token of context
    beyond `reference_context_tokens` per request adds `kv_seconds_per_token`, each below takes it away.
    """

    name: str
    source: str
    batches: tuple[int, ...]
    ks: tuple[int, ...]
    step_ms: tuple[tuple[float, ...], ...]
    k0_row_has_drafter: bool = False
    k0_tax: float = 0.04
    capture_limit_tokens: int | None = None
    beyond_capture_factor: float = 1.6
    prefill_seconds_per_token: float = 25e-6
    kv_seconds_per_token: float = 50e-9
    reference_context_tokens: int = 500

    def __post_init__(self) -> None:
        if [len(row) for row in self.step_ms] != [len(self.ks)] * len(self.batches):
            raise ValueError(f"grid {self.name!r}: step_ms is not {len(self.batches)} rows of {len(self.ks)}")
        if self.ks[0] != 0 or list(self.ks) != sorted(set(self.ks)) or list(self.batches) != sorted(set(self.batches)):
            raise ValueError(f"grid {self.name!r}: batches and ks rise, and k starts at 0")
        if self.batches[0] < 1 or min(min(row) for row in self.step_ms) <= 0:
            raise ValueError(f"grid {self.name!r}: batches start at 1 or above, and every step takes time")


@dataclass(frozen=True, slots=True)
class Noise:
    """What makes equal steps unequal: log-normal noise per step, and a slow drift through all steps.

    Both have mean 1. The drift is an AR(1) process on the logarithm, taken every 64 steps.
    """

    step_sigma: float = 0.03
    drift_sigma: float = 0.015
    drift_memory: float = 0.98


QUIET: Final = Noise(0.0, 0.0, 0.0)
"""No noise at all: what a test of exact numbers wants."""


class StepCost:
    """Expected seconds of a step on one server: the grid at every batch and k, with the effects around it."""

    def __init__(self, grid: CostGrid, *, k_max: int, max_num_seqs: int, launched_with_speculation: bool) -> None:
        self.grid = grid
        self.max_num_seqs = max_num_seqs
        seconds = interpolate(grid, max_num_seqs, k_max) / 1000
        if launched_with_speculation and not grid.k0_row_has_drafter:
            seconds[:, 0] *= 1 + grid.k0_tax
        if grid.capture_limit_tokens is not None:
            tokens = np.arange(max_num_seqs + 1)[:, None] * np.arange(1, k_max + 2)[None, :]
            seconds[tokens > grid.capture_limit_tokens] *= grid.beyond_capture_factor
        self._seconds: list[list[float]] = seconds.tolist()

    def expected_seconds(self, batch: int, k: int, context_tokens: float, prefill_tokens: float = 0) -> float:
        """Expected seconds of a step, noise left out.

        Args:
            batch: requests that decode in the step; 0 for a step of nothing but prefill.
            k: drafts verified per request.
            context_tokens: tokens in the KV cache of all these requests together.
            prefill_tokens: prompt tokens worked through in the same step.
        """
        base = self._seconds[batch][k]
        grid = self.grid
        excess = context_tokens - batch * grid.reference_context_tokens
        loaded = max(base + excess * grid.kv_seconds_per_token, _LEAST_SHARE * base)
        return loaded + prefill_tokens * grid.prefill_seconds_per_token


def interpolate(grid: CostGrid, max_num_seqs: int, k_max: int) -> FloatArray:
    """Milliseconds at every (batch, k) for batch 0..max_num_seqs (0 reads as 1) and k 0..k_max.

    Between measured cells: linear in k, and linear in the logarithm of the batch. Beyond the last k the last
    slope goes on; beyond the last batch the last slope in the batch itself.
    """
    table = np.array(grid.step_ms)
    by_k = np.stack([_along(np.array(grid.ks, dtype=float), row, k_max) for row in table])
    rows = [_at_batch(grid.batches, by_k, max(batch, 1)) for batch in range(max_num_seqs + 1)]
    return np.stack(rows)


def _along(ks: FloatArray, row: FloatArray, k_max: int) -> FloatArray:
    wanted = np.arange(k_max + 1, dtype=float)
    values: FloatArray = np.interp(wanted, ks, row)
    if k_max > ks[-1] and len(ks) > 1:
        slope = (row[-1] - row[-2]) / (ks[-1] - ks[-2])
        beyond = wanted > ks[-1]
        values[beyond] = row[-1] + slope * (wanted[beyond] - ks[-1])
    return values


def _at_batch(batches: tuple[int, ...], rows: FloatArray, batch: int) -> FloatArray:
    if batch <= batches[0] or len(batches) == 1:
        return np.array(rows[0])
    if batch >= batches[-1]:
        slope = (rows[-1] - rows[-2]) / (batches[-1] - batches[-2])
        return np.array(rows[-1] + slope * (batch - batches[-1]))
    upper = next(i for i, known in enumerate(batches) if known > batch)
    low, high = math.log(batches[upper - 1]), math.log(batches[upper])
    share = (math.log(batch) - low) / (high - low)
    return np.array(rows[upper - 1] * (1 - share) + rows[upper] * share)
