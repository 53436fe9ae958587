"""The launch schedule lets every k be reached live and keeps the wanted schedule where batches occur."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.decide.launch import launch_schedule, refuse_bad_schedule
from controller.decide.schedule import k_at


@given(st.integers(1, 8), st.integers(12, 512), st.data())
def test_every_k_occurs_and_the_wanted_schedule_holds_below_the_top(k_max: int, n: int, data: st.DataObject) -> None:
    """All of 0..k_max for a batch in 1..N, and N itself keeps the saturation k."""
    edges = sorted(data.draw(st.sets(st.integers(2, max(2, n // 2)), max_size=3)))
    starts = [1, *edges]
    ends = [*(edge - 1 for edge in edges), n]
    wanted = tuple((lo, hi, data.draw(st.integers(0, k_max))) for lo, hi in zip(starts, ends, strict=True))
    assume(n >= 2 * (k_max + 2))
    schedule = launch_schedule(wanted, k_max, n)
    refuse_bad_schedule(schedule, k_max)
    assert {k_at(schedule, batch) for batch in range(1, n + 1)} == set(range(k_max + 1))
    assert k_at(schedule, n) == k_at(wanted, n)
    missing = set(range(k_max + 1)) - {k for _, _, k in wanted}
    for batch in range(1, n - len(missing)):
        assert k_at(schedule, batch) == k_at(wanted, batch)


def test_a_server_too_small_for_every_k_is_told_so() -> None:
    """Four batch sizes cannot hold six values of k and the wanted schedule."""
    with pytest.raises(ValueError, match="no room for 5 more values of k"):
        launch_schedule(((1, 4, 5),), 5, 4)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ((), "empty"),
        (((2, 8, 1),), "must start at batch 1"),
        (((1, 8, 1), (8, 9, 2)), "overlaps"),
        (((1, 0, 1),), "ends before"),
        (((1, 8, 9),), "asks for k=9"),
        (((1, 8, -1),), "asks for k=-1"),
    ],
)
def test_a_schedule_that_vllm_would_refuse_is_refused_with_the_range(
    schedule: tuple[tuple[int, int, int], ...], words: str
) -> None:
    """The message names the range and the rule."""
    with pytest.raises(ValueError, match=words):
        refuse_bad_schedule(schedule, 5)
