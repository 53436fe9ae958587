"""Noise on step times."""

import math
from typing import Final

import numpy as np

from controller.simulator.step_cost import Noise

_BLOCK: Final = 64


class NoiseSource:
    """Factors with mean 1, one per step: log-normal noise times an AR(1) drift that moves every 64 steps."""

    def __init__(self, noise: Noise, *, seed: int, engine_index: int) -> None:
        self._noise = noise
        self._random = np.random.default_rng(np.random.SeedSequence([seed, engine_index, 1]))
        self._drift = float(self._random.standard_normal())
        self._factors: list[float] = []

    def next_factor(self) -> float:
        """Factor of the next step."""
        if not self._factors:
            self._factors = self._draw_block()
        return self._factors.pop()

    def _draw_block(self) -> list[float]:
        noise, memory = self._noise, self._noise.drift_memory
        fresh = math.sqrt(1 - memory**2)
        self._drift = memory * self._drift + fresh * float(self._random.standard_normal())
        logarithm = noise.step_sigma * self._random.standard_normal(_BLOCK) + noise.drift_sigma * self._drift
        correction = (noise.step_sigma**2 + noise.drift_sigma**2) / 2
        factors: list[float] = np.exp(logarithm - correction).tolist()
        return factors
