"""Ninety-percent bounds hold the truth nine times out of ten."""

import math

import numpy as np
import pytest
from windows import window

from controller.model.acceptance import estimate
from controller.model.drafter import HEAD, Drafting
from controller.model.evidence import AcceptanceEvidence, counts_of, observed
from controller.model.step_posterior import BATCH_REACH, DRAFT_REACH
from controller.model.step_table import WINDOW_NOISE, Cell, StepTable
from controller.model.step_time import (
    CORNER,
    FIXED_SECONDS,
    KV_PER_REQUEST,
    REJECTION_PER_REQUEST,
    StepTime,
)
from controller.model.target import DENSE

POSITIONS, REQUESTS, STEPS = 5, 20, 25
Z90 = 1.6449


def acceptance_is_held(rng: np.random.Generator, spread: float) -> tuple[bool, float]:
    """For one server, after 40 windows of differing requests: whether E(k) is held, and the share of S_j that are."""
    trend = rng.normal(0.5, 0.8) + np.concatenate([[0.0], np.cumsum(rng.normal(-0.25, 0.3, POSITIONS - 1))])
    evidence: AcceptanceEvidence | None = None
    for _ in range(40):
        logits = trend + rng.normal(0, spread, REQUESTS)[:, None]
        chance = 1 / (1 + np.exp(-logits))
        accepted = np.cumprod(rng.random((REQUESTS, STEPS, POSITIONS)) < chance[:, None, :], axis=2).sum(axis=(0, 1))
        counted = window(tuple(accepted.astype(float).tolist()), drafts=float(REQUESTS * STEPS))
        evidence = observed(evidence, counts_of(counted, Drafting.FIXED, float(POSITIONS)))
    assert evidence is not None
    found = estimate(evidence, HEAD)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    each = np.cumprod(1 / (1 + np.exp(-(trend + spread * nodes[:, None]))), axis=1)
    truth = (weights / weights.sum()) @ each
    later = np.cumsum(found.survival[::-1])[::-1]
    slopes = (1 - np.array(found.hazard)) * later  # d E / d logit
    deviation = math.sqrt(slopes @ np.array(found.logit_covariance) @ slopes)
    tokens_held = abs(sum(found.survival) - truth.sum()) <= Z90 * deviation
    return tokens_held, float(np.mean((found.survival_low <= truth) & (truth <= found.survival_high)))


@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_bounds_of_acceptance_hold_the_truth_nine_times_out_of_ten(spread: float) -> None:
    """Requests differ from one another, so counts scatter by three to eight times what independent drafts would.

    The scatter is that of E(k), whose bounds are exact; those of single positions are a little wider than need be.
    """
    rng = np.random.default_rng(int(10 * spread))
    tokens, positions = np.mean([acceptance_is_held(rng, spread) for _ in range(500)], axis=0)
    assert tokens == pytest.approx(0.90, abs=0.03)
    assert 0.87 <= positions <= 0.96


def step_ratio_is_held(rng: np.random.Generator) -> bool:
    """For one server drawn from the prior: whether the bounds of t(B, k) / t(B, k') hold the true ratio."""
    priors = (
        FIXED_SECONDS, DENSE.saturation_tokens, CORNER, DENSE.draft_weight, HEAD.overhead, HEAD.per_draft,
        KV_PER_REQUEST, REJECTION_PER_REQUEST,
    )  # fmt: skip
    t0, n0, q, r, o, d, b, s = (math.exp(rng.normal(math.log(each.median), each.spread)) for each in priors)
    count = int(rng.integers(1, 9))
    batch = np.exp(rng.uniform(0, math.log(256), count + 1))
    k = rng.integers(0, 9, count + 1).astype(float)
    batch, k = np.append(batch, batch[-1]), np.append(k, (k[-1] + rng.integers(1, 9)) % 9)  # the last two are asked
    tokens = batch * (1 + r * k) / n0
    mean = np.log(t0 * ((1 + tokens**q) ** (1 / q) + (o + s * batch) * (k > 0) + d * k + b * batch))
    distance = np.abs(np.subtract.outer(np.log(batch), np.log(batch))) / BATCH_REACH
    distance += np.abs(np.subtract.outer(k, k)) / DRAFT_REACH
    steps = rng.multivariate_normal(mean, DENSE.discrepancy**2 * np.exp(-distance), method="eigh")
    weight = rng.uniform(1, 20, count)
    seen = steps[:count] + rng.normal(0, WINDOW_NOISE / np.sqrt(weight))
    cells = tuple(
        Cell(float(batch[i]), float(k[i]), float(k[i] > 0), float(seen[i]), float(weight[i])) for i in range(count)
    )
    asked = k[count:]
    found = StepTime(StepTable(cells), HEAD).grid([batch[-1]], asked, np.minimum(1.0, asked))
    error = (found.log_seconds[0, 0] - found.log_seconds[0, 1]) - (steps[-2] - steps[-1])
    return bool(abs(error) <= Z90 * math.sqrt(found.contrast_variance[0, 0]))


def test_bounds_of_a_step_ratio_hold_the_truth_nine_times_out_of_ten() -> None:
    """Over servers drawn from the prior, with one to eight measured cells: the linearised posterior is calibrated."""
    rng = np.random.default_rng(5)
    asked = [step_ratio_is_held(rng) for _ in range(2000)]
    assert np.mean(asked) == pytest.approx(0.90, abs=0.03)
