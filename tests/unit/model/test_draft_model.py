"""The draft-model analysis: expected, implied and current times are one arithmetic, read in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.draft_model import analyse, implied_draft_seconds, seconds_per_token

times = st.floats(1e-4, 10)
LENGTHS = (1.0, 1.8, 2.4, 2.87, 3.28)


@given(times, st.floats(0, 10), st.integers(1, 16), st.floats(0, 1))
def test_the_implied_time_is_the_one_that_makes_the_observation(
    target: float, draft: float, k: int, share: float
) -> None:
    """implied_draft_seconds inverts seconds_per_token."""
    tokens = 1 + share * k
    observed = float(seconds_per_token(target, draft, tokens, k))
    assert implied_draft_seconds(target, observed, tokens, k) == pytest.approx(
        draft, rel=1e-6, abs=1e-9 + 1e-9 * target
    )


@given(times, times, st.floats(1.01, 5), st.floats(0.001, 1000))
def test_the_unit_of_time_does_not_matter(target: float, draft: float, slower: float, unit: float) -> None:
    """Seconds or milliseconds: the same best k, the same ratios."""
    observed = float(seconds_per_token(target, draft * slower, LENGTHS[4], 4))
    first, second = (
        analyse(
            target_seconds=target * scale,
            draft_seconds=draft * scale,
            tokens_per_step=LENGTHS,
            observed_seconds=observed * scale,
            observed_k=4,
        )
        for scale in (1.0, unit)
    )
    assert second.slowdown == pytest.approx(first.slowdown, rel=1e-6)
    assert second.expected_speedup == pytest.approx(first.expected_speedup)
    assert second.actual_speedup == pytest.approx(first.actual_speedup)


@given(times, times, st.floats(1.0, 5))
def test_a_drafter_slower_than_alone_never_wants_more_drafts(target: float, draft: float, slower: float) -> None:
    """The best k at the implied time is at most the one expected, and the speedup at most the expected one."""
    observed = float(seconds_per_token(target, draft * slower, LENGTHS[4], 4))
    found = analyse(
        target_seconds=target, draft_seconds=draft, tokens_per_step=LENGTHS, observed_seconds=observed, observed_k=4
    )
    assert found.slowdown == pytest.approx(slower, rel=1e-3)
    assert found.current_best_k <= found.expected_best_k
    assert found.actual_speedup <= found.expected_speedup * (1 + 1e-9)
    assert found.current_seconds[4] == pytest.approx(observed)
    assert found.current_seconds[0] == found.expected_seconds[0] == target


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: implied_draft_seconds(23.65, 10.46, 2.2, 4), "no drafter is that cheap"),
        (lambda: implied_draft_seconds(23.65, 0.01046, 3.28, 4), "units"),
        (lambda: implied_draft_seconds(23.65, 10.46, 3.28, 0), "without a draft"),
        (lambda: implied_draft_seconds(23.65, 10.46, 5.28, 4), r"outside 1\.\.k\+1"),
        (lambda: seconds_per_token(0.0, 1.0, 2.0, 4), "impossible times"),
        (lambda: seconds_per_token(1.0, -1.0, 2.0, 4), "impossible times"),
        (lambda: seconds_per_token(1.0, 1.0, 0.8, 4), "bonus token"),
        (
            lambda: analyse(
                target_seconds=1, draft_seconds=1, tokens_per_step=LENGTHS, observed_seconds=1, observed_k=5
            ),
            "observed_k is 5",
        ),
        (
            lambda: analyse(
                target_seconds=1, draft_seconds=0, tokens_per_step=LENGTHS, observed_seconds=1, observed_k=4
            ),
            "above 0",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_likely_cause(call: object, words: str) -> None:
    """A length without its bonus token, milliseconds beside seconds, a k that was never measured."""
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
