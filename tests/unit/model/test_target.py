"""Mixtures of experts are known by their names, and their bounds hold what was measured of one."""

import math

import numpy as np
import pytest

from controller.model.drafter import HEAD
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime
from controller.model.target import DENSE, MIXTURE, Target, target_of

Z90 = 1.6449
PUBLISHED = {1: (4.495, 11.641), 4: (7.065, 16.611)}
"""Milliseconds of a step at k=0 and k=3 by batch: Qwen3-30B-A3B with EAGLE-3 on two H100 (SpecForge issue 339)."""


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen3-30B-A3B",
        "qwen3-235b-a22b-fp8",
        "Qwen3-Next-80B-A3B-Instruct",
        "Qwen1.5-MoE-A2.7B",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "deepseek-ai/DeepSeek-V3",
        "deepseek_r1",
        "moonshotai/Kimi-K2-Instruct",
        "openai/gpt-oss-20b",
        "meta-llama/Llama-4-Scout-17B-16E",
        "zai-org/GLM-4.5-Air",
        "MiniMaxAI/MiniMax-M2",
        "granite-3.0-1b-a400m",
    ],
)
def test_mixtures_are_known_by_their_published_names(name: str) -> None:
    """As they are served without `--served-model-name`, in either case."""
    assert target_of(name) is MIXTURE
    assert target_of(name.upper()) is MIXTURE


@pytest.mark.parametrize(
    "name",
    [
        "meta-llama/Llama-3.1-8B-Instruct",
        "Qwen/Qwen3-32B",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "google/gemma-3-27b-it",
        "mistralai/Mistral-Small-24B",
        "nvidia/Llama-3_3-Nemotron-Super-49B",
        "zai-org/GLM-4-9B",
        "chat",
        "a3bc",
        "",
    ],
)
def test_others_are_taken_for_dense(name: str) -> None:
    """A name that says nothing is no reason to doubt everything."""
    assert target_of(name) is DENSE


def contrast(target: Target, batch: int, seen: int, asked: int) -> tuple[float, float]:
    """ln of a step at one of both ks against the other, which alone ran: mean and half the width of its 90% bounds."""
    ran = Cell(batch, 3.0 * seen, float(seen), math.log(PUBLISHED[batch][seen] / 1e3), weight=30.0)
    model = StepTime(StepTable((ran,)), HEAD, target=target)
    drafts = np.array([3.0 * asked, 3.0 * seen])
    grid = model.grid([batch], drafts, np.minimum(1.0, drafts))
    mean = grid.log_seconds[0, 0] - grid.log_seconds[0, 1]
    return float(mean), Z90 * math.sqrt(grid.contrast_variance[0, 0])


@pytest.mark.parametrize("batch", PUBLISHED)
def test_the_bounds_of_a_mixture_hold_what_was_published_of_one(batch: int) -> None:
    """From k=3 alone to k=0, where those of a dense model miss it."""
    off, drafting = PUBLISHED[batch]
    truth = math.log(off / drafting)
    mean, reach = contrast(MIXTURE, batch, seen=1, asked=0)
    assert abs(truth - mean) <= reach
    mean, reach = contrast(DENSE, batch, seen=1, asked=0)
    assert abs(truth - mean) > reach


def test_what_a_mixture_measured_stands_as_it_does_for_a_dense_model() -> None:
    """The priors only fill what is missing: with both ks measured, both kinds say the same."""
    cells = tuple(
        Cell(batch, k, float(k > 0), math.log(ms / 1e3), weight=30.0)
        for batch, pair in PUBLISHED.items()
        for k, ms in zip((0.0, 3.0), pair, strict=True)
    )
    for target in (MIXTURE, DENSE):
        grid = StepTime(StepTable(cells), HEAD, target=target).grid([1, 4], np.array([0.0, 3.0]), np.array([0.0, 1.0]))
        assert np.exp(grid.log_seconds) * 1e3 == pytest.approx(np.array(list(PUBLISHED.values())), rel=0.03)
        assert grid.measured.all()
