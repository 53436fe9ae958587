"""The batch at which speculation dies: closed form, bisection and the best k agree."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.model.speedup import crossover_batch, crossover_batch_of, expected_tokens, optimal_k, saturation

rates = st.floats(0, 1)
costs = st.floats(0, 1)
halves = st.floats(0.5, 500)


def cost_at(batch: float, c: float, half_batch: float, overhead: float = 0.0) -> np.ndarray:
    """Relative cost of k = 0..8."""
    ks = np.arange(9)
    return 1 + overhead * (ks > 0) + (c + saturation(batch, half_batch)) * ks


@given(rates, costs, halves, st.floats(0.01, 0.99))
def test_just_below_the_crossover_the_best_k_is_above_zero_and_just_beyond_it_is_zero(
    alpha: float, c: float, half_batch: float, off: float
) -> None:
    """k=0 is best exactly when alpha <= c + lambda(B)."""
    end = crossover_batch(alpha, c, half_batch)
    assume(1e-3 < end < 1e5)
    below, beyond = (c + float(saturation(end * factor, half_batch)) for factor in (1 - off, 1 + off))
    assume(below < alpha * (1 - 1e-9))
    assert optimal_k(alpha, below, 8) > 0
    assert optimal_k(alpha, beyond, 8) == 0


@given(rates, costs, halves)
def test_bisection_finds_the_closed_form(alpha: float, c: float, half_batch: float) -> None:
    """With a constant rate and no overhead both are the same batch."""
    end = crossover_batch(alpha, c, half_batch)
    assume(end < 1e5)
    tokens = expected_tokens(alpha, np.arange(9))
    found = crossover_batch_of(tokens, lambda batch: cost_at(batch, c, half_batch))
    assert found == pytest.approx(end, rel=1e-6, abs=1e-6)


@given(rates, costs, halves, st.floats(0, 0.5), st.floats(0, 0.5))
def test_an_overhead_never_prolongs_speculation(
    alpha: float, c: float, half_batch: float, overhead: float, more: float
) -> None:
    """The crossover falls as the overhead for drafting at all grows."""
    tokens = expected_tokens(alpha, np.arange(9))
    small, large = (
        crossover_batch_of(tokens, lambda batch, each=each: cost_at(batch, c, half_batch, each))  # type: ignore[misc]
        for each in (overhead, overhead + more)
    )
    assert large <= small


def test_with_an_overhead_several_drafts_may_pay_where_one_does_not() -> None:
    """At the crossover under an overhead of .3 the best k jumps over 1, so no rule on the first draft finds it."""
    tokens = expected_tokens(0.8, np.arange(9))
    end = crossover_batch_of(tokens, lambda batch: cost_at(batch, 0.05, 64.0, 0.3))
    ratios = tokens / cost_at(end * 0.99, 0.05, 64.0, 0.3)
    assert int(np.argmax(ratios)) > 1
    assert ratios[1] < 1 < ratios.max()


def test_the_crossover_of_a_drafter_not_worth_its_cost_is_zero() -> None:
    """alpha <= c: no batch is small enough."""
    assert crossover_batch(0.1, 0.1, 64.0) == 0.0
    assert crossover_batch_of([1.0, 1.1], lambda batch: [1.0, 1.2 + 0 * batch]) == 0.0


def test_a_free_drafter_that_is_always_right_never_dies() -> None:
    """Even a saturated server breaks even at alpha=1, c=0."""
    assert math.isinf(crossover_batch(1.0, 0.0, 64.0))
    assert math.isinf(crossover_batch_of([1.0, 2.0], lambda batch: [1.0, 1.5 + 0 * batch]))


@pytest.mark.parametrize(
    "call",
    [
        lambda: crossover_batch(1.1, 0.1, 64.0),
        lambda: crossover_batch(math.nan, 0.1, 64.0),
        lambda: crossover_batch(0.5, -0.1, 64.0),
        lambda: crossover_batch(0.5, 0.1, 0.0),
        lambda: crossover_batch_of([1.0], lambda _: [1.0]),
        lambda: crossover_batch_of([1.0, 2.5], lambda _: [1.0, 1.0]),
    ],
)
def test_arguments_outside_their_range_are_refused(call: object) -> None:
    """A rate above 1, a negative cost, no draft at all."""
    with pytest.raises(ValueError, match=r"outside|above 0"):
        call()  # type: ignore[operator]
