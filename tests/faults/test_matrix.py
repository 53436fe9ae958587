"""Whatever goes wrong around it, a sidecar in apply mode goes on, says what it is, and comes back by itself."""

from pathlib import Path

import pytest
from faults import judge
from faults.fault import Fault
from faults.matrix import PLAYED, ROWS

CHECKS = (
    judge.check_seen,
    judge.check_engine,
    judge.check_last_good_state,
    judge.check_clients,
    judge.check_pace,
    judge.check_back_to_normal,
)


@pytest.mark.parametrize("fault", PLAYED, ids=[fault.name for fault in PLAYED])
def test_a_fault_is_seen_by_its_name_harms_nobody_and_leaves_nothing_behind(
    fault: Fault, tmp_path: Path, learnt: bytes
) -> None:
    """The whole of `controller run` in virtual time; what must hold is the same for all."""
    play = judge.play(fault, tmp_path, learnt)
    for check in CHECKS:
        check(play)


def test_every_fault_has_a_name_of_its_own() -> None:
    """By which it is found in the table."""
    assert len({row.name for row in ROWS}) == len(ROWS) >= 30
