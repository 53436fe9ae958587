"""Phrases: text that alternates between stretches a drafter knows and boundaries where it guesses.

A constant acceptance rate takes drafts as independent. Text is not so: inside a phrase, an identifier or a quotation
nearly every draft is accepted, at its boundary hardly any. Two states say how much the shortcut costs: its mean is
right by construction, its variance and its tail are not.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.model.speedup import Floats, acceptance_from_mean_length

INSIDE: Final = 0
"""Index of the state inside a phrase."""


@dataclass(frozen=True, slots=True)
class TwoState:
    """A Markov chain over the tokens of a text, two states, one acceptance rate in each.

    The state belongs to the text: whether a draft is accepted does not change it.

    Attributes:
        inside: Acceptance rate of a draft inside a phrase, 0 to 1.
        boundary: Acceptance rate at a boundary, 0 to 1.
        leave: P(the next token is at a boundary | this one is inside), 0 to 1.
        enter: P(the next token is inside | this one is at a boundary), 0 to 1; `leave` and `enter` are not both 0.
    """

    inside: float
    boundary: float
    leave: float
    enter: float

    def __post_init__(self) -> None:
        """Refuses what is not a probability, and a chain that never moves."""
        for name in ("inside", "boundary", "leave", "enter"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:  # NaN fails too
                raise ValueError(f"{name} is outside 0..1: {value}")
        if self.leave + self.enter == 0.0:
            raise ValueError("leave and enter are both 0: the text would never change its state")

    @property
    def share_inside(self) -> float:
        """Share of the text's tokens inside a phrase: enter / (enter + leave)."""
        return self.enter / (self.enter + self.leave)

    def start_inside(self, k: int) -> float:
        """Share of cycles whose first draft is inside a phrase.

        Less than `share_inside` where boundaries stop drafts: a cycle that is cut short there begins again near it.
        """
        return float(self._start(k)[INSIDE])

    def tail(self, k: int) -> Floats:
        """P(length >= n) for n = 1..k+1, where a cycle's length is its accepted drafts plus one.

        With A the acceptance rates on a diagonal and P the transitions, P(length >= n) = pi (A P)^(n-1) 1, where pi is
        the distribution of a cycle's first state.

        Args:
            k: Draft tokens per step, 0 or more.

        Returns:
            Shape (k + 1,); begins with 1 and never rises.

        Raises:
            ValueError: A negative k.

        >>> TwoState(inside=0.9, boundary=0.3, leave=0.2, enter=0.5).tail(3).round(4).tolist()
        [1.0, 0.6821, 0.5125, 0.3906]
        """
        weights = self._start(k)
        chances = []
        for _ in range(k + 1):
            chances.append(weights.sum())
            weights = weights @ self._accepting
        return np.asarray(np.array(chances) / chances[0], float)  # 1 at first, rounding apart

    def mean(self, k: int) -> float:
        """Mean tokens per cycle, E(k) = sum of P(length >= n); 1 to k + 1.

        >>> round(TwoState(inside=0.5, boundary=0.5, leave=0.2, enter=0.5).mean(2), 6)
        1.75
        """
        return float(self.tail(k).sum())

    def variance(self, k: int) -> float:
        """Variance of the tokens of one cycle: sum of (2n - 1) P(length >= n), minus the square of the mean."""
        return variance_of(self.tail(k))

    @property
    def _transitions(self) -> Floats:
        return np.array([[1 - self.leave, self.leave], [self.enter, 1 - self.enter]])

    @property
    def _accepting(self) -> Floats:
        """A P: a draft is accepted, and the next token has its state."""
        return np.asarray(np.array([[self.inside], [self.boundary]]) * self._transitions, float)

    def _start(self, k: int) -> Floats:
        """Stationary distribution of the state of a cycle's first draft, shape (2,)."""
        if k < 0:
            raise ValueError(f"k is outside 0..: {k}")
        rejected = np.array([[1 - self.inside], [1 - self.boundary]]) * self._transitions
        reached, cycle = np.eye(2), np.zeros((2, 2))
        for _ in range(k):
            cycle += reached @ rejected  # the target's own token takes the rejected draft's place, and its state
            reached = reached @ self._accepting
        cycle += reached @ self._transitions  # all accepted: the bonus token is one more token of the text
        leave, enter = cycle[0, 1], cycle[1, 0]
        if leave + enter == 0.0:  # cycles in step with a text that alternates strictly: as it began, so it goes on
            return np.array([self.share_inside, 1 - self.share_inside])
        return np.asarray(np.array([enter, leave]) / (leave + enter), float)


def constant_tail(alpha: float, k: int) -> Floats:
    """The tail under one constant rate: P(length >= n) = alpha^(n-1), n = 1..k+1.

    >>> constant_tail(0.5, 2).tolist()
    [1.0, 0.5, 0.25]
    """
    return np.asarray(np.power(float(alpha), np.arange(k + 1)), float)


def variance_of(tail: Floats) -> float:
    """Variance of a length from its tail P(length >= n), n = 1, 2, ...: sum of (2n - 1) tail, minus the squared mean.

    >>> variance_of(np.array([1.0, 0.5]))  # one token or two, with equal chance
    0.25
    """
    odd = 2 * np.arange(len(tail)) + 1
    return float(odd @ tail - tail.sum() ** 2)


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The constant rate with the same mean length, and how far it is off otherwise.

    Attributes:
        alpha: The constant rate.
        variance_ratio: Variance of the two states / variance under `alpha`.
        whole_ratio: P(all k accepted) of the two states / under `alpha`.
    """

    alpha: float
    variance_ratio: float
    whole_ratio: float


def shortcut(text: TwoState, k: int) -> Shortcut:
    """Fit a constant rate to the mean length at k, as acceptance-length dashboards do, and compare the rest.

    Raises:
        ValueError: k below 1, or a text in which everything or nothing is accepted: there is nothing to compare.

    >>> found = shortcut(TwoState(inside=0.95, boundary=0.3, leave=0.15, enter=0.5), 5)
    >>> round(found.alpha, 3), round(found.variance_ratio, 2), round(found.whole_ratio, 2)
    (0.784, 1.15, 1.17)
    """
    tail = text.tail(k)
    alpha = acceptance_from_mean_length(float(tail.sum()), k)
    constant = constant_tail(alpha, k)
    spread = variance_of(constant)
    if spread < 1e-12:
        raise ValueError("inside and boundary are outside what can be compared: every cycle has the same length")
    return Shortcut(alpha, variance_of(tail) / spread, float(tail[-1] / constant[-1]))
