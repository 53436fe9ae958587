"""What one kind of traffic is like: lengths of its texts, and how readily a drafter guesses them.

A text is a sequence of tokens that walks through states (inside a phrase, at its boundary; inside a copied
span, outside of it). A draft begun at some token is judged against the states of the tokens it covers, so
that acceptance is bursty within a request, and a smaller k meets other states than a larger one does.
"""

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Final, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LONGEST_DRAFT: Final = 32
"""No k beyond this is simulated; texts are drawn this far past their end, whatever the k of the server."""

_QUANTILES: Final = 4096


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of prompts or outputs: log-normal with the given mean, cut to [least, most].

    `spread` is the standard deviation of the logarithm; 0 makes every length the mean.
    """

    mean_tokens: float
    spread: float = 0.5
    least_tokens: int = 1
    most_tokens: int = 2048

    def draw(self, random: np.random.Generator, count: int) -> IntArray:
        """Draw `count` lengths in tokens."""
        return self._from_normal(random.standard_normal(count))

    def moments(self) -> tuple[float, float]:
        """Mean and mean square in tokens, after cutting.

        >>> Lengths(100, spread=0).moments()
        (100.0, 10000.0)
        """
        lengths = self._from_normal(_normal_quantiles())
        return float(lengths.mean()), float((lengths.astype(np.float64) ** 2).mean())

    def _from_normal(self, normal: FloatArray) -> IntArray:
        location = math.log(self.mean_tokens) - self.spread**2 / 2
        drawn = np.rint(np.exp(location + self.spread * normal))
        return np.clip(drawn, self.least_tokens, self.most_tokens).astype(np.int64)


@cache
def _normal_quantiles() -> FloatArray:
    inverse = NormalDist().inv_cdf
    return np.array([inverse((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)])


@dataclass(frozen=True, slots=True)
class TextState:
    """One state of a text, held for a geometric number of tokens.

    `hazard[j]` is the probability that draft j (0-based) is accepted, given that all before it were and that
    the token it guesses lies in this state; the last value goes on for ever. `coverage` is the probability
    that a draft begun in this state is made at all (below 1 for drafters that need a match, such as n-gram).
    """

    hazard: tuple[float, ...]
    mean_tokens: float = 1.0
    coverage: float = 1.0

    def __post_init__(self) -> None:
        if not self.hazard or not all(0 <= h <= 1 for h in self.hazard):
            raise ValueError(f"hazards are probabilities, at least one: {self.hazard}")
        if self.mean_tokens < 1 or not 0 <= self.coverage <= 1:
            raise ValueError("a state lasts at least one token, and its coverage lies in 0..1")

    def hazard_to(self, positions: int) -> FloatArray:
        """Hazards of the first `positions` drafts."""
        return np.array([self.hazard[min(j, len(self.hazard) - 1)] for j in range(positions)])


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of traffic. States follow one another in a circle.

    `logit_spread` is the standard deviation of an offset that each request draws once and adds to the logit
    of every hazard: requests differ, so that counts are over-dispersed. `match_tokens` is the mean length of
    a match (geometric) for drafters that look one up; None drafts all k.
    """

    name: str
    states: tuple[TextState, ...]
    prompt: Lengths
    output: Lengths
    logit_spread: float = 0.0
    match_tokens: float | None = None

    def __post_init__(self) -> None:
        if not self.states:
            raise ValueError(f"workload {self.name!r} has no states")
        if self.match_tokens is not None and self.match_tokens < 1:
            raise ValueError(f"workload {self.name!r}: a match has at least one token")

    @classmethod
    def constant(cls, name: str, alpha: float, prompt: Lengths, output: Lengths, logit_spread: float = 0.0) -> Self:
        """Every draft is accepted with the same probability, given that all before it were."""
        return cls(name, (TextState((alpha,)),), prompt, output, logit_spread)

    @classmethod
    def by_survival(
        cls,
        name: str,
        survival: tuple[float, ...],
        prompt: Lengths,
        output: Lengths,
        logit_spread: float = 0.0,
    ) -> Self:
        """Acceptance by position: `survival[j]` = P(drafts 0..j are all accepted), as vLLM counts it."""
        before = (1.0, *survival[:-1])
        hazard = tuple(s / b if b > 0 else 0.0 for s, b in zip(survival, before, strict=True))
        return cls(name, (TextState(hazard),), prompt, output, logit_spread)

    @property
    def always_drafts(self) -> bool:
        """Whether every step drafts all k, as EAGLE, MTP and draft models do."""
        return self.match_tokens is None and all(state.coverage == 1 for state in self.states)

    def hazards(self, positions: int, offsets: FloatArray) -> FloatArray:
        """Hazards of shape (offset, state, position), each with its logit shifted by the offset.

        `h' = h e^z / (1 - h + h e^z)`, which keeps 0 at 0 and 1 at 1.
        """
        plain = np.stack([state.hazard_to(positions) for state in self.states])[None]
        odds = np.exp(offsets)[:, None, None]
        shifted: FloatArray = plain * odds / (1 - plain + plain * odds)
        return shifted
