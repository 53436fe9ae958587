"""Pricing from stated numbers: the table, the rule for each draft and the best k agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.speedup import expected_tokens, optimal_k, speedup
from controller.model.whatif import StepCost, best_k_by_batch, tokens_of_survival, whatif

rates = st.floats(0, 1)
costs = st.floats(0, 1)
survivals = st.lists(rates, min_size=1, max_size=10).map(lambda hazards: tuple(np.cumprod(hazards).tolist()))


@given(rates, costs, st.integers(1, 12))
def test_with_one_rate_and_one_ratio_it_is_the_textbook(alpha: float, c: float, k_max: int) -> None:
    """Speedups and the best k are those of `speedup` and `optimal_k`."""
    tokens = [float(expected_tokens(alpha, k)) for k in range(k_max + 1)]
    answer = whatif(tokens, StepCost.of_ratio(c, k_max))
    np.testing.assert_allclose([row.speedup for row in answer.rows], speedup(alpha, np.arange(k_max + 1), c))
    assert answer.best_k == optimal_k(alpha, c, k_max)


@given(survivals, st.floats(0.001, 1), st.floats(0, 0.5))
def test_a_draft_pays_exactly_when_it_raises_the_speedup(
    survival: tuple[float, ...], c: float, overhead: float
) -> None:
    """S_i > (cost(i) - cost(i-1)) speedup(i-1)  <=>  speedup(i) > speedup(i-1)."""
    answer = whatif(tokens_of_survival(survival), StepCost.of_ratio(c, len(survival), overhead))
    for before, row in zip(answer.rows, answer.rows[1:], strict=False):
        if abs(row.speedup - before.speedup) > 1e-9:
            assert row.pays == (row.speedup > before.speedup)


@given(survivals, costs, st.floats(1, 500), st.floats(1, 1000), st.floats(1, 1000))
def test_the_best_k_never_rises_with_the_batch(
    survival: tuple[float, ...], c: float, half_batch: float, one: float, other: float
) -> None:
    """A fuller batch makes every draft dearer."""
    small, large = sorted((one, other))
    tokens, cost = tokens_of_survival(survival), StepCost.of_ratio(c, len(survival), half_batch=half_batch)
    at_small, at_large = best_k_by_batch(tokens, cost, (small, large))
    assert at_large <= at_small


def test_measured_steps_are_met_at_their_own_batch_and_dearer_at_a_larger_one() -> None:
    """Splitting the verification off and putting it back changes nothing."""
    cost = StepCost.of_steps((0.010, 0.013, 0.016), batch=8, half_batch=64)
    np.testing.assert_allclose(cost.at(8), [1.0, 1.3, 1.6])
    assert np.all(cost.at(64)[1:] > cost.at(8)[1:])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tokens_of_survival(()), "no acceptance"),
        (lambda: tokens_of_survival((0.5, 1.1)), r"1\.1 at position 2 is outside"),
        (lambda: tokens_of_survival((0.5, float("nan"))), "position 2"),
        (lambda: tokens_of_survival((0.375, 0.915)), "may be conditional"),
        (lambda: whatif((1.0, 2.5), StepCost.of_ratio(0.1, 1)), r"outside 1\.\.2"),
        (lambda: whatif((1.0, 1.5), StepCost.of_ratio(0.1, 2)), "2 values of k, cost for 3"),
        (lambda: StepCost.of_ratio(-0.1, 2), "impossible cost"),
        (lambda: StepCost.of_steps((0.01, 0.0), 8), "impossible steps"),
        (lambda: StepCost.of_steps((0.010, 0.0101), 8, 64), "half_batch is larger"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(call: object, words: str) -> None:
    """With the position or the k, and the reason."""
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
