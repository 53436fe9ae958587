"""The arithmetic of the benchmark on a real server: chosen on one half, scored on the other."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import real_vllm_score as scoring


def trace(*visits: tuple[str, int, float, tuple[float, ...]]) -> scoring.Trace:
    """Visits as (phase, repeat, adaptive, fixed); half as fast while settling."""
    ks = tuple(range(len(visits[0][3])))
    made = [scoring.Visit(phase, repeat, adaptive, adaptive / 2, fixed) for phase, repeat, adaptive, fixed in visits]
    return scoring.Trace(ks, tuple(made))


def test_a_controller_that_runs_the_best_k_of_each_phase_equals_their_composition() -> None:
    """And it leads the best single k by what the other phase gains, here (300 + 200) / (300 + 100)."""
    phases = {"easy": (100.0, 300.0), "hard": (200.0, 100.0)}
    found = scoring.score(
        trace(*((name, repeat, max(fixed), fixed) for name, fixed in phases.items() for repeat in (1, 2, 3, 4)))
    )
    assert found.vs_best_per_phase == scoring.Ratio(1.0, 1.0, 1.0)
    assert found.vs_best_fixed.value == pytest.approx(500 / 400)
    assert found.best_fixed_k == 1
    assert [(phase.name, phase.best_k) for phase in found.phases] == [("easy", 1), ("hard", 0)]
    assert [phase.settling for phase in found.phases] == [0.5, 0.5]


def test_a_k_that_was_lucky_in_one_half_is_scored_in_the_other() -> None:
    """k=1 shone in odd repeats, k=0 in even ones: each is chosen where it shone and scored where it did not."""
    shining = {1: (100.0, 150.0), 2: (150.0, 100.0)}
    found = scoring.score(trace(*(("only", repeat, 100.0, shining[repeat]) for repeat in (1, 2))))
    assert found.vs_best_per_phase.value == 1.0


def test_equal_phases_weigh_by_their_tokens() -> None:
    """Every phase takes the same time, so that the ratio over the trace is one of tokens."""
    found = scoring.score(
        trace(
            ("fast", 1, 900.0, (1000.0,)), ("fast", 2, 900.0, (1000.0,)),
            ("slow", 1, 20.0, (10.0,)), ("slow", 2, 20.0, (10.0,)),
        )
    )  # fmt: skip
    assert found.vs_best_per_phase.value == pytest.approx(920 / 1010)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Equal contestants in noise of 20% over four repeats: 1 lies in the 95% interval nine times in ten at least."""
    draws = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        noise = np.exp(draws.normal(0.0, 0.2, size=(9, 4, 2)))
        visits = [
            (f"phase {p}", r + 1, 100 * noise[p, r, 0], (100 * noise[p, r, 1],)) for p in range(9) for r in range(4)
        ]
        ratio = scoring.score(trace(*visits), draws=400).vs_best_fixed
        inside += ratio.low <= 1.0 <= ratio.high
    assert 180 <= inside <= 200


@pytest.mark.parametrize("repeats", [(1,), (1, 3)])
def test_a_trace_with_holes_is_refused(repeats: tuple[int, ...]) -> None:
    """One repeat has no other half; a repeat that is missing would be scored as if it had not been planned."""
    with pytest.raises(ValueError, match="a score needs two repeats of every phase"):
        scoring.score(trace(*(("only", repeat, 1.0, (1.0,)) for repeat in repeats)))
