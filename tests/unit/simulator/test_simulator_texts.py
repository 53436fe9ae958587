"""Texts and the luck of drafts in them, against their exact expectation."""

import numpy as np
import pytest

from controller.simulator.request import Request, RequestDeck, draw_states
from controller.simulator.truth import steps_per_request, workload_flow
from controller.simulator.workload import Lengths, TextState, Workload
from controller.simulator.workloads import CODE, NGRAM_EDIT

SHORT = Lengths(50, spread=0.0)
LONG = Lengths(2000, spread=0.0)
ONE_STATE = Workload.constant("constant", 0.8, SHORT, LONG)
BURSTY = Workload(
    "bursty",
    (TextState((0.99,), mean_tokens=12), TextState((0.05,), mean_tokens=4)),
    SHORT,
    LONG,
)


def draw(workload: Workload, count: int, k_max: int = 8) -> list[Request]:
    """Requests of a workload from a fixed seed."""
    deck = RequestDeck(0, workload, k_max, np.random.default_rng(5))
    return [deck.draw() for _ in range(count)]


def walk(request: Request, k: int) -> list[int]:
    """Drafts accepted in each step of one request at a fixed k."""
    accepted, position = [], 0
    while position < request.output_tokens:
        accepted.append(min(int(request.fate[position]), k))
        position += 1 + accepted[-1]
    return accepted


def test_a_constant_alpha_survives_as_its_powers() -> None:
    """S_j = alpha^j, and 1 + S_1 + ... + S_k tokens a step."""
    flow = workload_flow(ONE_STATE, 4)
    assert flow.accepted == pytest.approx([0.8, 0.64, 0.512, 0.4096])
    assert flow.tokens == pytest.approx((1 - 0.8**5) / (1 - 0.8))


def test_survival_by_position_comes_back_as_given() -> None:
    """Without spread among requests the nominal survival is the true one."""
    workload = Workload.by_survival("table", (0.7, 0.4, 0.1), SHORT, LONG)
    assert workload_flow(workload, 3).accepted == pytest.approx([0.7, 0.4, 0.1])


@pytest.mark.parametrize("workload", [ONE_STATE, BURSTY, CODE, NGRAM_EDIT], ids=lambda w: w.name)
@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_exact_expectation_is_what_many_walks_see(workload: Workload, k: int) -> None:
    """Drafts accepted per step at each position, over 1500 requests walked by hand."""
    accepted = np.array([a for request in draw(workload, 1500) for a in walk(request, k)])
    seen = [(accepted > position).mean() for position in range(k)]
    assert seen == pytest.approx(workload_flow(workload, k).accepted, rel=0.02, abs=0.004)


def test_cutting_rates_of_a_high_k_underpredicts_a_bursty_text_at_a_low_k() -> None:
    """At a smaller k more steps begin inside a phrase: the first draft is accepted more often."""
    high, low = workload_flow(BURSTY, 8), workload_flow(BURSTY, 1)
    assert low.accepted[0] > 1.05 * high.accepted[0]
    assert workload_flow(ONE_STATE, 8).accepted[0] == pytest.approx(workload_flow(ONE_STATE, 1).accepted[0])


def test_acceptance_is_bursty_within_a_request() -> None:
    """Successive steps of one request are alike; those of a text with one state are not."""

    def correlation(workload: Workload) -> float:
        steps = np.array(walk(draw(workload, 1)[0], 1) + [a for r in draw(workload, 40) for a in walk(r, 1)])
        return float(np.corrcoef(steps[:-1], steps[1:])[0, 1])

    assert correlation(BURSTY) > 0.4
    assert abs(correlation(ONE_STATE)) < 0.03


def test_requests_differ_by_their_own_offset() -> None:
    """With an offset per request the means of requests spread much wider than chance alone explains."""
    mild = Workload.constant("mild", 0.6, SHORT, LONG, logit_spread=0.5)
    means = [np.mean([a > 0 for a in walk(request, 1)]) for request in draw(mild, 200)]
    alike = [np.mean([a > 0 for a in walk(request, 1)]) for request in draw(ONE_STATE, 200)]
    assert np.std(means) > 4 * np.std(alike)


def test_a_lookup_drafter_finds_nothing_in_some_steps_and_less_than_k_in_others() -> None:
    """Reach 0 means no draft; a match ends where it ends; nothing is accepted beyond it."""
    reach = np.concatenate([request.reach for request in draw(NGRAM_EDIT, 200)])
    fate = np.concatenate([request.fate for request in draw(NGRAM_EDIT, 200)])
    assert 0.1 < (reach == 0).mean() < 0.6
    assert ((reach > 0) & (reach < 8)).any()
    assert np.all(fate <= reach)


def test_states_last_as_long_as_they_should() -> None:
    """Shares of tokens are the ratio of the mean stays, from the first token on."""
    random = np.random.default_rng(3)
    assert (draw_states(BURSTY, 200_000, random) == 0).mean() == pytest.approx(0.75, abs=0.01)
    first = [int(draw_states(BURSTY, 1, random)[0]) for _ in range(4000)]
    assert np.mean(first) == pytest.approx(0.25, abs=0.03)


def test_servers_with_different_k_meet_the_same_texts() -> None:
    """Common random numbers: fates at a smaller k_max are those of the larger one, cut."""
    small, large = draw(CODE, 40, k_max=2), draw(CODE, 40, k_max=8)
    for few, many in zip(small, large, strict=True):
        assert few.output_tokens == many.output_tokens
        assert np.array_equal(few.fate, np.minimum(many.fate, 2))


@pytest.mark.parametrize("k", [0, 1, 8])
def test_steps_per_request_count_the_first_token_and_the_last_step(k: int) -> None:
    """The prefill gives a token, and the last step may go beyond the end."""
    workload = Workload.constant("short", 0.8, SHORT, Lengths(20, spread=0.0))
    steps = [len(walk(request, k)) for request in draw(workload, 3000)]
    from_second = Workload.constant("short", 0.8, SHORT, Lengths(21, spread=0.0))
    assert np.mean(steps) == pytest.approx(steps_per_request(from_second, k), rel=0.02)


def test_lengths_are_cut_and_their_moments_are_those_of_the_cut() -> None:
    """Mean and mean square, by quantiles, against a large draw."""
    lengths = Lengths(300, spread=0.8, least_tokens=50, most_tokens=600)
    drawn = lengths.draw(np.random.default_rng(1), 100_000).astype(float)
    assert (drawn.min(), drawn.max()) == (50, 600)
    assert lengths.moments() == pytest.approx((drawn.mean(), (drawn**2).mean()), rel=0.01)


def test_impossible_texts_are_refused() -> None:
    """No states, hazards that are no probabilities, matches shorter than a token."""
    with pytest.raises(ValueError, match="no states"):
        Workload("empty", (), SHORT, LONG)
    with pytest.raises(ValueError, match="probabilities"):
        TextState((1.2,))
    with pytest.raises(ValueError, match="at least one token"):
        TextState((0.5,), mean_tokens=0.5)
    with pytest.raises(ValueError, match="at least one token"):
        Workload("short", (TextState((0.5,)),), SHORT, LONG, match_tokens=0.0)
