"""What a k for each request would bring over one k for the whole batch, at most.

    python benchmarks/per_request.py [--json]

Half of a batch is one workload, half another. A step verifies what each request drafted, so it takes as long as one
at the mean k; the drafter runs for the whole batch until the longest draft is made. Step times are those of the
simulator's grids.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Final

import numpy as np

from controller.simulator.grids import GRIDS
from controller.simulator.step_cost import CostGrid, interpolate
from controller.simulator.workload import FloatArray

BATCHES: Final = (4, 16, 64, 256)
MIXES: Final = ((0.8, 0.5), (0.9, 0.3), (0.95, 0.05))
"""Two acceptance rates, the same at every position: alike, unlike, and as unlike as can be."""


@dataclass(frozen=True, slots=True)
class Gain:
    """One batch size of one grid.

    Attributes:
        grid: Its name.
        batch: Requests in the step, half of either workload.
        rates: The two acceptance rates.
        k: The best k for all.
        ks: The best pair.
        gain: Tokens per second of the pair over those of the one k, less 1.
    """

    grid: str
    batch: int
    rates: tuple[float, float]
    k: int
    ks: tuple[int, int]
    gain: float


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="machine-readable")
    options = parser.parse_args()
    gains = [gain for grid in GRIDS.values() for gain in of_grid(grid)]
    if options.json:
        print(json.dumps([asdict(gain) for gain in gains], indent=2))
        return 0
    print(f"{'grid':32}{'batch':>6}" + "".join(f"{f'{high} and {low}':>22}" for high, low in MIXES))
    for start in range(0, len(gains), len(MIXES)):
        row = gains[start : start + len(MIXES)]
        cells = (f"{gain.gain:+.1%} k={gain.k}, {gain.ks[0]}/{gain.ks[1]}" for gain in row)
        print(f"{row[0].grid:32}{row[0].batch:>6}" + "".join(f"{cell:>22}" for cell in cells))
    return 0


def of_grid(grid: CostGrid) -> Iterator[Gain]:
    """Every batch that the grid reaches, with every mix."""
    step_ms = interpolate(grid, max(BATCHES), grid.ks[-1])
    for batch, rates in product((each for each in BATCHES if each <= grid.batches[-1]), MIXES):
        k, ks, gain = best(step_ms, batch, rates)
        yield Gain(grid.name, batch, rates, k, ks, gain)


def best(step_ms: FloatArray, batch: int, rates: tuple[float, float]) -> tuple[int, tuple[int, int], float]:
    """The best k for all, the best pair, and what the pair gains.

    `T(k1, k2) = step((k1 + k2) / 2) + d (max(k1, k2) - (k1 + k2) / 2)`, where d, what drafting one more costs, is what
    it costs at batch 1: there verification is as good as free.
    """
    ks = range(step_ms.shape[1])
    draft_ms = max(0.0, float(step_ms[1, -1] - step_ms[1, 1]) / (len(ks) - 2))

    def tokens_per_ms(pair: tuple[int, int]) -> float:
        mean = sum(pair) / 2
        step = float(np.interp(mean, ks, step_ms[batch])) + draft_ms * (max(pair) - mean)
        return sum(_tokens(rate, k) for rate, k in zip(rates, pair, strict=True)) / step

    one = max(((k, k) for k in ks), key=tokens_per_ms)
    pair = max(product(ks, ks), key=tokens_per_ms)
    return one[0], pair, tokens_per_ms(pair) / tokens_per_ms(one) - 1


def _tokens(rate: float, k: int) -> float:
    """E(k) = 1 + a + ... + a^k."""
    return float(sum(rate**position for position in range(k + 1)))


if __name__ == "__main__":
    raise SystemExit(main())
