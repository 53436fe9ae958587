"""What a k for each request would bring: where it must bring nothing, and where it must."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from per_request import best

KS = np.arange(6.0)


def steps(per_draft_ms: float, per_token_ms: float) -> np.ndarray:
    """Step times (batch, k) of 0 to 64 requests: reading weights, drafting, and verifying beyond batch 1."""
    batch = np.arange(65.0)[:, None]
    return np.asarray(10 + per_draft_ms * KS + per_token_ms * np.maximum(0, batch - 1) * (1 + KS))


@pytest.mark.parametrize("batch", [1, 16, 64])
def test_workloads_that_are_alike_gain_nothing(batch: int) -> None:
    """Their best k is one."""
    k, ks, gain = best(steps(0.5, 0.02), batch, (0.7, 0.7))
    assert ks == (k, k)
    assert gain == pytest.approx(0.0)


def test_where_only_drafting_costs_a_shorter_draft_saves_nothing() -> None:
    """The drafter runs until the longest is made."""
    assert best(steps(0.5, 0.0), 64, (0.9, 0.1))[2] == pytest.approx(0.0, abs=1e-9)


def test_where_verification_costs_unlike_workloads_gain() -> None:
    """The dull one drafts less than the sharp one."""
    _, (sharp, dull), gain = best(steps(0.01, 0.05), 64, (0.95, 0.1))
    assert sharp > dull
    assert gain > 0.05
