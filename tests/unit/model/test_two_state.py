"""Phrases: exact mean, variance and tail agree with simulation, and with the constant rate where they must."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.model.speedup import expected_tokens
from controller.model.two_state import INSIDE, TwoState, constant_tail, shortcut, variance_of

chances = st.floats(0, 1)
moves = st.floats(0.01, 1)
texts = st.builds(TwoState, inside=chances, boundary=chances, leave=moves, enter=moves)
ks = st.integers(0, 12)

CODE = TwoState(inside=0.95, boundary=0.3, leave=0.15, enter=0.5)
QUOTATION = TwoState(inside=0.99, boundary=0.15, leave=0.05, enter=0.15)


def simulated_lengths(text: TwoState, k: int, tokens: int, seed: int) -> np.ndarray:
    """Lengths of the cycles that cover a text of so many tokens, written and drafted one token after the other."""
    rng = np.random.default_rng(seed)
    flips, luck = rng.random(tokens), rng.random(tokens)
    state, accepted = INSIDE, []
    for flip, chance in zip(flips.tolist(), luck.tolist(), strict=True):
        accepted.append(chance < (text.inside if state == INSIDE else text.boundary))
        if flip < (text.leave if state == INSIDE else text.enter):
            state = 1 - state
    lengths, at = [], 0
    while at + k + 1 <= tokens:
        run = next((drafts for drafts in range(k) if not accepted[at + drafts]), k)
        lengths.append(run + 1)
        at += run + 1
    return np.array(lengths)


@pytest.mark.parametrize(("text", "k"), [(CODE, 1), (CODE, 4), (CODE, 8), (QUOTATION, 5)])
def test_mean_variance_and_tail_agree_with_a_simulated_text(text: TwoState, k: int) -> None:
    """400,000 tokens, drafted as a server would; nothing of the matrices is used."""
    lengths = simulated_lengths(text, k, tokens=400_000, seed=k)
    assert text.mean(k) == pytest.approx(lengths.mean(), rel=0.01)
    assert text.variance(k) == pytest.approx(lengths.var(), rel=0.02)
    seen = [(lengths >= n).mean() for n in range(1, k + 2)]
    np.testing.assert_allclose(text.tail(k), seen, atol=0.01)


@given(chances, moves, moves, ks)
def test_two_states_alike_are_the_constant_rate(alpha: float, leave: float, enter: float, k: int) -> None:
    """The textbook is the special case in which the boundary makes no difference."""
    text = TwoState(alpha, alpha, leave, enter)
    np.testing.assert_allclose(text.tail(k), constant_tail(alpha, k), atol=1e-9)
    assert text.mean(k) == pytest.approx(float(expected_tokens(alpha, k)), rel=1e-9)


@given(texts, ks)
def test_the_tail_begins_with_one_and_never_rises(text: TwoState, k: int) -> None:
    """P(length >= n) is a survival."""
    tail = text.tail(k)
    assert tail[0] == 1.0
    assert np.all(np.diff(tail) <= 1e-12)
    assert tail[-1] >= 0.0


@given(texts, ks)
def test_mean_and_variance_keep_to_their_limits(text: TwoState, k: int) -> None:
    """1 <= mean <= k+1, and no variance on 1..k+1 exceeds (k/2)^2."""
    assert 1.0 <= text.mean(k) <= k + 1 + 1e-9
    assert -1e-9 <= text.variance(k) <= (k / 2) ** 2 + 1e-9


@given(texts, st.integers(1, 12))
def test_longer_drafts_never_yield_fewer_tokens(text: TwoState, k: int) -> None:
    """One draft more is one chance more, although the cycles begin elsewhere in the text."""
    assert text.mean(k) >= text.mean(k - 1) - 1e-9


@given(texts, st.integers(1, 12))
def test_cycles_begin_near_boundaries_where_boundaries_stop_drafts(text: TwoState, k: int) -> None:
    """With phrases that last, and an easy inside, fewer cycles begin inside than tokens lie inside."""
    assume(text.inside >= text.boundary)
    assume(text.leave + text.enter <= 1)
    assert text.start_inside(k) <= text.share_inside + 1e-9


def test_rates_measured_at_a_high_k_promise_too_little_at_a_smaller_one() -> None:
    """Renewal: cutting the tail at k=8 down to k=2 under-predicts, since shorter cycles begin further inside."""
    cut = float(QUOTATION.tail(8)[:3].sum())
    assert cut < QUOTATION.mean(2) * 0.97


@pytest.mark.parametrize(("text", "spread", "whole"), [(CODE, 1.21, 1.31), (QUOTATION, 1.85, 2.95)])
def test_the_constant_rate_keeps_the_mean_and_hides_variance_and_tail(
    text: TwoState, spread: float, whole: float
) -> None:
    """At k=8 the variance is a fifth larger for code, nearly double for quotation; whole acceptance 1.3 and 3 times."""
    found = shortcut(text, 8)
    assert float(expected_tokens(found.alpha, 8)) == pytest.approx(text.mean(8), rel=1e-9)
    assert found.variance_ratio == pytest.approx(spread, abs=0.01)
    assert found.whole_ratio == pytest.approx(whole, abs=0.01)


@given(st.floats(0.5, 0.99), st.floats(0, 0.45), st.floats(0.02, 0.4), st.floats(0.05, 0.5), st.integers(2, 12))
def test_lasting_phrases_always_spread_lengths_wider_than_the_constant_rate(
    inside: float, boundary: float, leave: float, enter: float, k: int
) -> None:
    """Where a token's state tends to last, the constant fit understates the variance and the whole drafts."""
    assume(leave + enter < 0.9)
    found = shortcut(TwoState(inside, boundary, leave, enter), k)
    assert found.variance_ratio >= 1.0 - 1e-9
    assert found.whole_ratio >= 1.0 - 1e-9


def test_the_variance_of_a_tail_is_that_of_its_distribution() -> None:
    """Against the definition, on a length of 1 to 4."""
    shares = np.array([0.1, 0.4, 0.3, 0.2])
    lengths = np.arange(1, 5)
    expected = float(shares @ lengths**2 - (shares @ lengths) ** 2)
    assert variance_of(np.cumsum(shares[::-1])[::-1]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda: TwoState(1.1, 0.5, 0.1, 0.1),
        lambda: TwoState(0.9, float("nan"), 0.1, 0.1),
        lambda: TwoState(0.9, 0.5, 0.0, 0.0),
        lambda: CODE.tail(-1),
        lambda: shortcut(TwoState(1.0, 1.0, 0.5, 0.5), 3),
    ],
)
def test_what_is_no_text_is_refused(call: object) -> None:
    """No probability, a chain that never moves, a negative k, nothing to compare."""
    with pytest.raises(ValueError, match=r"outside|never change"):
        call()  # type: ignore[operator]


def test_a_text_that_alternates_strictly_has_its_cycles_where_they_began() -> None:
    """Cycles of two tokens in a text of period two: half of them begin inside."""
    assert TwoState(1.0, 1.0, 1.0, 1.0).start_inside(1) == 0.5
