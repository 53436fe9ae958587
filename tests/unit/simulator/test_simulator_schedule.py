"""vLLM's batch -> k schedule, as the simulated scheduler reads it."""

import pytest

from controller.simulator.schedule import check_schedule, constant_schedule, dense_schedule


def test_each_batch_size_reads_the_k_of_its_range() -> None:
    """Ranges are inclusive at both ends."""
    assert dense_schedule(((1, 2, 5), (3, 4, 1)), k_max=5, max_num_seqs=4) == [5, 5, 5, 1, 1]


def test_gaps_and_the_tail_carry_the_k_before_them() -> None:
    """Batch 3 lies in a gap, batches 6 and 7 beyond the last range."""
    assert dense_schedule(((1, 2, 5), (4, 5, 2)), k_max=5, max_num_seqs=7) == [5, 5, 5, 5, 2, 2, 2, 2]


def test_k_is_clamped_to_k_max() -> None:
    """A schedule cannot draft more than the server was launched for."""
    assert dense_schedule(constant_schedule(9, 3), k_max=4, max_num_seqs=3) == [4, 4, 4, 4]


def test_ranges_above_max_num_seqs_are_ignored() -> None:
    """vLLM builds its table for 1..max_num_seqs."""
    assert dense_schedule(((1, 4, 3), (5, 900, 0)), k_max=3, max_num_seqs=4) == [3] * 5


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ((), "starts at batch size 1"),
        (((2, 4, 1),), "starts at batch size 1"),
        (((1, 4, 1), (4, 8, 2)), "do not overlap"),
        (((1, 4, 1), (9, 8, 2)), "do not overlap"),
        (((1, 4, -1),), "not negative"),
    ],
)
def test_what_vllm_refuses_is_refused_with_the_reason(schedule: tuple[tuple[int, int, int], ...], reason: str) -> None:
    """Late, overlapping, backward and negative."""
    with pytest.raises(ValueError, match=reason):
        check_schedule(schedule)
