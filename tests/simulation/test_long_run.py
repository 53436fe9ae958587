"""A month of churn leaves memory, files and estimates as they were; the same life twice is the same, byte for byte."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from controller.reason import Reason

SCRIPT: Final = Path(__file__).parents[1] / "long_life.py"
MEBIBYTE: Final = 2**20
SAID: Final = ("documents", "log", "metrics", "page", "checkpoint")


def life(folder: Path, *, seed: int, hours: int, interval_seconds: float, hash_seed: str = "0") -> Any:
    """A sidecar's life in a process of its own, and what came of it."""
    folder.mkdir()
    arguments = [str(each) for each in (seed, hours, interval_seconds, folder)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, SCRIPT, *arguments], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_month_of_churn_leaves_memory_files_and_estimates_as_they_were(tmp_path: Path) -> None:
    """Restarts, models swapped, partitions, other hands, lost scrapes, and every hour other traffic and other names.

    From the fifteenth day, when every model has been seen, to the thirtieth memory grows by less than a mebibyte. At
    noon, when load and traffic are always the same, the last days are estimated as well as the first.
    """
    came = life(tmp_path / "life", seed=1, hours=30 * 24, interval_seconds=300.0)
    warm, end = came["warm"], came["end"]
    assert end["own_bytes"] - warm["own_bytes"] < MEBIBYTE
    assert end["allocated_blocks"] - warm["allocated_blocks"] < 0.05 * warm["allocated_blocks"]
    assert (end["file_handles"], end["threads"]) == (warm["file_handles"], warm["threads"])

    noons = {int(day): found for day, found in came["noons"].items()}
    assert len(noons) >= 25
    for found in noons.values():
        assert found["survival"] < 0.02
        assert found["step_ratio"] == pytest.approx(1.0, abs=0.12)  # one noon may follow on a restart
    steps = [noons[day]["step_ratio"] for day in sorted(noons)]
    assert sum(steps[-8:]) / 8 == pytest.approx(sum(steps[:8]) / 8, abs=0.03)

    # the month was what it says: these happened, and the last of them was got over
    happened = {Reason.SERVER_UNREACHABLE, Reason.SERVER_RESTARTED, Reason.IDLE, Reason.EXPLORING, Reason.STOOD_DOWN}
    assert {reason.value for reason in happened} | {"applied", "renewed", "failed"} <= set(came["seen"])


def test_the_same_life_twice_is_the_same_to_the_last_byte(tmp_path: Path) -> None:
    """Documents, log, metrics, status page and checkpoint, in two processes that hash strings each in its own way."""
    for name in ("1", "2"):
        came = life(tmp_path / name, seed=3, hours=5, interval_seconds=300.0, hash_seed=name)
        assert came["passes"] > 60
        assert "applied" in came["seen"]
    for said in SAID:
        first, second = ((tmp_path / name / said).read_bytes() for name in ("1", "2"))
        assert first, said
        assert first == second, said
    life(tmp_path / "another", seed=4, hours=1, interval_seconds=300.0)
    assert not (tmp_path / "1" / "log").read_bytes().startswith((tmp_path / "another" / "log").read_bytes())
