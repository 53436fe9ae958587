"""What adaptive k was worth against every fixed one: pure arithmetic on measured visits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 10_000
QUANTILES: Final = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Visit:
    """One phase, visited once by the controller and by every fixed k; all in tokens per second.

    Attributes:
        phase: Its name.
        repeat: Which round of the trace, from 1.
        adaptive: With the controller, after it had its time to settle.
        settling: With the controller, while it settled.
        fixed: By k, 0 first or whichever ks the server offers, in the order of `Trace.ks`.
    """

    phase: str
    repeat: int
    adaptive: float
    settling: float
    fixed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """All visits: every phase in every repeat once.

    Attributes:
        ks: The fixed ks.
        visits: In any order.
    """

    ks: tuple[int, ...]
    visits: tuple[Visit, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of throughputs with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PhaseScore:
    """One phase over all repeats; throughputs are means in tokens per second.

    Attributes:
        name: Its name.
        adaptive: With the controller.
        fixed: By k.
        best_k: The fixed k of the highest mean, for reading; the ratios choose without looking (see `score`).
        vs_best: Adaptive against the best fixed k of this phase.
        settling: While the controller settled, against the same.
    """

    name: str
    adaptive: float
    fixed: dict[int, float]
    best_k: int
    vs_best: Ratio
    settling: float


@dataclass(frozen=True, slots=True)
class Score:
    """The whole trace.

    Attributes:
        phases: In the order of their first visit.
        vs_best_per_phase: Adaptive against a server whose k is the best fixed one of each phase.
        vs_best_fixed: Adaptive against the one fixed k that is best over the trace.
        best_fixed_k: That k, by the means of all repeats, for reading.
    """

    phases: tuple[PhaseScore, ...]
    vs_best_per_phase: Ratio
    vs_best_fixed: Ratio
    best_fixed_k: int


def score(trace: Trace, *, seed: int = 0, draws: int = DRAWS) -> Score:
    """Compare the controller with fixed ks.

    Every visit of every phase takes the same time, so that the throughput of the trace is the mean over visits, and
    a ratio of two of them is the ratio of sums. The best k of a phase, and the best single k, are chosen on the odd
    repeats and scored on the even ones, and the other way round: chosen and scored on the same numbers, the luckiest
    k would win. Intervals are bootstrapped over the repeats, each phase's drawn on their own; one fewer is drawn
    than there are, since as many would understate the variance of a mean of few by (n - 1) / n (Rao and Wu, 1988).

    Raises:
        ValueError: A phase lacks a repeat, or there are fewer than two.
    """
    names = tuple(dict.fromkeys(visit.phase for visit in trace.visits))
    adaptive, settling, fixed = _arrays(trace, names)
    phases, repeats = adaptive.shape
    odd = np.arange(1, repeats + 1) % 2 == 1
    best = np.empty((phases, repeats), dtype=int)  # for each visit the k chosen on the repeats of the other parity
    single = np.empty(repeats, dtype=int)
    for scored, chosen_on in ((odd, ~odd), (~odd, odd)):
        means = fixed[:, chosen_on].mean(axis=1)
        best[:, scored] = means.argmax(axis=1)[:, None]
        single[scored] = means.sum(axis=0).argmax()
    composed = np.take_along_axis(fixed, best[:, :, None], axis=2)[:, :, 0]
    alone = np.take_along_axis(fixed, np.broadcast_to(single[None, :, None], (phases, repeats, 1)), axis=2)[:, :, 0]
    drawn = np.random.default_rng(seed).integers(repeats, size=(draws, phases, repeats - 1))
    means = fixed.mean(axis=1)
    return Score(
        phases=tuple(
            PhaseScore(
                name=name,
                adaptive=float(adaptive[row].mean()),
                fixed={k: float(value) for k, value in zip(trace.ks, means[row], strict=True)},
                best_k=trace.ks[int(means[row].argmax())],
                vs_best=_ratio(adaptive[row : row + 1], composed[row : row + 1], drawn[:, row : row + 1]),
                settling=float(settling[row].sum() / composed[row].sum()),
            )
            for row, name in enumerate(names)
        ),
        vs_best_per_phase=_ratio(adaptive, composed, drawn),
        vs_best_fixed=_ratio(adaptive, alone, drawn),
        best_fixed_k=trace.ks[int(means.sum(axis=0).argmax())],
    )


def _arrays(trace: Trace, names: Sequence[str]) -> tuple[NDArray[np.float64], ...]:
    """Adaptive and settling as [phase, repeat], fixed as [phase, repeat, k]."""
    by_place = {(visit.phase, visit.repeat): visit for visit in trace.visits}
    repeats = range(1, max((visit.repeat for visit in trace.visits), default=0) + 1)
    missing = [(name, repeat) for name in names for repeat in repeats if (name, repeat) not in by_place]
    if missing or len(repeats) < 2:
        raise ValueError(f"a score needs two repeats of every phase; {len(repeats)} repeats, missing {missing}")
    grid = [[by_place[name, repeat] for repeat in repeats] for name in names]
    return (
        np.array([[visit.adaptive for visit in row] for row in grid]),
        np.array([[visit.settling for visit in row] for row in grid]),
        np.array([[visit.fixed for visit in row] for row in grid]),
    )


def _ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64], drawn: NDArray[np.int_]) -> Ratio:
    """The ratio of sums over [phase, repeat], and its interval over the drawn repeats [draw, phase, n]."""
    rows = np.arange(len(ours))[None, :, None]
    ratios = ours[rows, drawn].sum(axis=(1, 2)) / theirs[rows, drawn].sum(axis=(1, 2))
    low, high = np.quantile(ratios, QUANTILES)
    return Ratio(float(ours.sum() / theirs.sum()), float(low), float(high))
