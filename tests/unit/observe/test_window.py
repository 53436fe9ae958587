"""Windows: differences of counters, refused rather than wrong."""

import re
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pages import BAD_SUCCESSORS, NGRAM_WINDOW, after, snapshot

from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page
from controller.observe.window import Window, between
from controller.reason import Reason

ADDITIVE = [
    field.name for field in fields(Window) if field.name not in {"model_name", "engine", "k_max", "running", "waiting"}
]
RATIOS = (
    "step_seconds",
    "decode_batch",
    "tpot_seconds",
    "mean_acceptance_length",
    "mean_draft_length",
    "drafting_share",
)
STARTED = snapshot(at_seconds=0.0)


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """One engine at several instants, idle ones among them."""
    pages = [snapshot(draw(st.none() | st.integers(1, 8)), at_seconds=0.0)]
    for _ in range(draw(st.integers(2, 5))):
        survival = tuple(sorted(draw(st.lists(st.sampled_from([0, 0.25, 0.5, 1]), min_size=8, max_size=8)))[::-1])
        steps = draw(st.integers(0, 1000)) * 4
        moved = after(pages[-1], request_steps=steps, survival=survival, step_seconds=0.5)
        pages.append(replace(moved, at_seconds=(pages[-1].at_seconds or 0.0) + draw(st.integers(1, 100))))
    return pages


def added(one: object, other: object) -> object:
    """Field by field where they are tuples."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return tuple(map(sum, zip(one, other, strict=True)))
    assert isinstance(one, float | int)
    assert isinstance(other, float | int)
    return one + other


@given(histories())
def test_adjacent_windows_add_up(history: list[Snapshot]) -> None:
    """The window over all pages is the sum of those between neighbours, in every counter and in seconds."""
    parts = [between(early, late) for early, late in pairwise(history)]
    whole = between(history[0], history[-1])
    for name in ADDITIVE:
        total = getattr(parts[0], name)
        for part in parts[1:]:
            total = added(total, getattr(part, name))
        assert total == getattr(whole, name), name


@given(histories(), histories(), st.sampled_from([None, 0.0, 1e9]))
def test_a_window_is_never_negative(one: list[Snapshot], other: list[Snapshot], created: float | None) -> None:
    """Two pages of any two engines give a refusal, or counters and ratios of at least 0."""
    before, late = one[-1], replace(other[-1], created_seconds=created)
    try:
        window = between(before, late)
    except ObserveError:
        return
    assert all(getattr(window, name) >= 0 for name in ADDITIVE if name != "accepted_by_position")
    assert all(value >= 0 for value in window.accepted_by_position)
    assert all((getattr(window, name) or 0) >= 0 for name in RATIOS)


@pytest.mark.parametrize(("late", "reason", "words"), BAD_SUCCESSORS.values(), ids=BAD_SUCCESSORS)
def test_pages_that_cannot_follow_each_other_are_refused(late: Snapshot, reason: Reason, words: str) -> None:
    """A restart or a contradiction, in words."""
    with pytest.raises(ObserveError, match=re.escape(words)) as caught:
        between(after(after(snapshot())), late)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "name", [*(field for field in ADDITIVE if field not in {"seconds", "accepted_by_position"}), "position"]
)
def test_a_fall_of_any_counter_is_a_restart(name: str) -> None:
    """One counter suffices, whatever the others did."""
    before = replace(after(STARTED), preemptions=5.0)
    late = after(before)
    if name == "position":
        fallen = replace(late, accepted_by_position=(*late.accepted_by_position[:-1], 0.0))
    else:
        fallen = replace(late, **{name: getattr(before, name) - 1})
    with pytest.raises(ObserveError) as caught:
        between(before, fallen)
    assert caught.value.reason is Reason.SERVER_RESTARTED


def test_a_creation_time_that_only_one_page_shows_says_nothing() -> None:
    """A change can be told only from two."""
    before = after(snapshot())
    assert between(replace(before, created_seconds=None), after(before)).drafts == 4000


@pytest.mark.parametrize("seconds", [0.0, -3.0])
def test_a_clock_that_does_not_move_forward_is_refused(seconds: float) -> None:
    """Also when it stands still."""
    late = replace(after(STARTED), at_seconds=seconds)
    with pytest.raises(ObserveError, match="clock") as caught:
        between(STARTED, late)
    assert caught.value.reason is Reason.CLOCK_JUMPED


def test_a_clock_that_leaps_forward_costs_nothing_but_the_rates() -> None:
    """No score rests on wall seconds."""
    calm, leapt = (between(STARTED, replace(after(STARTED), at_seconds=seconds)) for seconds in (10.0, 1e9))
    assert replace(leapt, seconds=10.0) == calm


def test_seconds_are_unknown_without_an_interval() -> None:
    """Saved pages need not say when they were read; every ratio is there all the same."""
    window = between(snapshot(), after(snapshot()))
    assert window.seconds is None
    assert all(getattr(window, name) is not None for name in RATIOS)


def test_an_idle_window_has_no_ratios() -> None:
    """0/0 is not known, and not 0."""
    window = between(STARTED, replace(STARTED, at_seconds=1.0))
    assert {name: getattr(window, name) for name in RATIOS} == dict.fromkeys(RATIOS)


def test_the_ratios_are_what_they_say() -> None:
    """4000 request-steps at batch 4 and 10 ms, each drafting 4 tokens, of which 2.3 are accepted."""
    window = between(STARTED, replace(after(STARTED), at_seconds=10.0))
    assert window.decoded_tokens == 4000 + 9200
    assert {name: getattr(window, name) for name in RATIOS} == pytest.approx(
        {
            "step_seconds": 0.01,
            "decode_batch": 4.0,
            "tpot_seconds": 0.01 / 3.3,
            "mean_acceptance_length": 3.3,
            "mean_draft_length": 4.0,
            "drafting_share": 1.0,
        }
    )


def test_a_real_window_reads_as_the_counters_that_stand_on_its_pages() -> None:
    """vLLM 0.32 with n-gram drafting: short drafts, and steps without one."""
    (before,), (late,) = (read_page(path.read_text()) for path in NGRAM_WINDOW)
    window = between(before, late)
    assert (window.drafts, window.request_steps, window.steps) == (939, 1444, 447)
    assert window.latency_per_token is False
    assert window.mean_draft_length == pytest.approx(3433 / 939)
    assert window.drafting_share == pytest.approx(939 / 1444)
    assert window.step_seconds == pytest.approx(12.539037395 / 1444)


@given(st.integers(100, 10_000), st.floats(0.05, 0.9))
def test_one_latency_sample_a_token_is_told_from_one_a_step(steps: int, share: float) -> None:
    """Both give the same request-steps and step seconds."""
    each_step = after(STARTED, request_steps=steps, survival=(share, 0, 0, 0))
    accepted = each_step.accepted_tokens
    assume(accepted > 0.05 * (steps + accepted))
    each_token = replace(each_step, latency_samples=steps + accepted)
    one, other = between(snapshot(), each_step), between(snapshot(), each_token)
    assert (one.latency_per_token, other.latency_per_token) == (False, True)
    assert one.request_steps == other.request_steps == steps
    assert one.step_seconds == other.step_seconds


def test_without_accepted_drafts_samples_are_steps_either_way() -> None:
    """One token a step: the two ways to count are the same."""
    window = between(STARTED, replace(after(STARTED, survival=(0, 0, 0, 0)), at_seconds=1.0))
    assert window.latency_per_token is False
    assert window.request_steps == window.decoded_tokens == 4000


def test_gauges_are_means_of_both_ends() -> None:
    """Running requests, and waiting ones."""
    before = replace(STARTED, running=2.0, waiting=0.0)
    window = between(before, replace(after(before), at_seconds=1.0, running=6.0, waiting=4.0))
    assert (window.running, window.waiting) == (4.0, 2.0)


def test_a_scrape_between_two_increments_is_no_contradiction() -> None:
    """vLLM adds to one counter after the other; a step's worth of difference is let pass."""
    late = replace(after(STARTED), at_seconds=1.0)
    torn = replace(late, accepted_tokens=late.accepted_tokens + 5, running=4.0)
    assert between(STARTED, torn).accepted_tokens == late.accepted_tokens + 5


@pytest.mark.parametrize("name", ["drafts", "steps", "latency_samples", "generated_tokens"])
def test_a_part_of_an_event_is_none(name: str) -> None:
    """A server counts whole events: what is less was not counted by one, and would make ratios without bounds."""
    early = after(snapshot(at_seconds=0.0))
    late = replace(after(snapshot(at_seconds=10.0)), **{name: getattr(early, name) + 1e-4})
    assert getattr(between(early, late), name) == 0
