"""What prompts and experts add to a step is learnt from few cells, and priced."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Final

import numpy as np
import pytest
from courses import market
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model.drafter import HEAD
from controller.model.economics import Market
from controller.model.step_posterior import Inputs, curve_at
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import PARAMETERS, StepTime

T0: Final = 0.008
PER_PROMPT_TOKEN: Final = 40e-6
Truth = Callable[[float, float], float]
"""Seconds of a step by batch and k."""


def dense(batch: float, k: float) -> float:
    """All weights are read in every step: nearly flat until computing costs as much."""
    return T0 * (1 + batch * (1 + k) / 200 + 0.02 * k)


def sparse(batch: float, k: float) -> float:
    """A mixture of 64 experts of which a token picks 4: five times the shared weights once all are touched."""
    tokens = batch * (1 + k)
    return float(T0 * (1 + 5 * (1 - (1 - 4 / 64) ** tokens) + tokens / 400 + 0.02 * k))


def cell(truth: Truth, batch: float, k: float, prompt: float = 0.0, weight: float = 20.0) -> Cell:
    """A measurement of it."""
    return Cell(batch, k, float(k > 0), math.log(truth(batch, k) + prompt * PER_PROMPT_TOKEN), weight, prompt=prompt)


def log_seconds(model: StepTime, batch: float, k: float, prompt: float = 0.0) -> float:
    """ln t at one point; `prompt` is by step."""
    drafts = np.array([k, 0.0])
    return float(model.grid([batch], drafts, np.minimum(1.0, drafts), prompt / batch).log_seconds[0, 0])


def model_of(*cells: Cell) -> StepTime:
    """The posterior."""
    return StepTime(StepTable(cells), HEAD)


# the curve


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1.5, 1.5), min_size=len(PARAMETERS), max_size=len(PARAMETERS)),
    st.floats(1, 256),
    st.floats(0, 8),
    st.floats(0, 2000),
)
def test_the_slopes_of_the_curve_are_its_derivatives(
    moved: list[float], batch: float, drafts: float, prompt: float
) -> None:
    """By the logarithm of every parameter, against central differences."""
    medians = [each.prior.median for each in model_of(cell(dense, 8, 4)).parameters().values()]
    mode = np.log(medians) + np.array(moved)
    loads, lengths, shares, prompts = (np.array([each]) for each in (batch, drafts, min(1.0, drafts), prompt))
    inputs = Inputs.of(loads, lengths, shares, prompts, 256.0)
    _, slopes = curve_at(inputs, mode)
    for index, name in enumerate(PARAMETERS):
        shift = np.zeros(len(mode))
        shift[index] = 1e-5
        rise = float(curve_at(inputs, mode + shift)[0][0] - curve_at(inputs, mode - shift)[0][0]) / 2e-5
        assert slopes[0, index] == pytest.approx(rise, abs=1e-6), name


# prompts


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 256), st.integers(0, 6), st.floats(0, 4000), st.floats(1, 4000))
def test_prompts_lengthen_a_step(batch: float, k: int, prompt: float, more: float) -> None:
    """The more, the longer, whatever was measured without any."""
    model = model_of(cell(dense, 8, 4))
    assert log_seconds(model, batch, k, prompt + more) > log_seconds(model, batch, k, prompt)


def test_what_a_prompt_token_costs_is_learnt_at_one_load_and_holds_at_another() -> None:
    """Cells with and without prompts at batch 8, k=4: at batch 16 and k=2 within 6%."""
    model = model_of(
        *(cell(dense, 8, 4, prompt) for prompt in (0.0, 256.0, 512.0)), cell(dense, 16, 2), cell(dense, 32, 0)
    )
    for prompt in (0.0, 128.0, 512.0):
        truth = dense(16, 2) + prompt * PER_PROMPT_TOKEN
        assert math.exp(log_seconds(model, 16, 2, prompt)) == pytest.approx(truth, rel=0.06)


def test_steps_beside_prompts_do_not_make_decoding_look_slow() -> None:
    """Only cells with prompts were measured: without them a step is shorter, and less certain."""
    model = model_of(cell(dense, 8, 4, 256.0), cell(dense, 8, 4, 600.0))
    assert log_seconds(model, 8, 4) < log_seconds(model, 8, 4, 256.0) - 0.2
    drafts = np.array([4.0])
    here, there = (model.grid([8.0], drafts, np.ones(1), prompt / 8).variance_at(0)[0] for prompt in (256.0, 0.0))
    assert there > here


# experts


SEEN: Final = tuple(product((1, 4, 16, 64), (0, 2, 5)))
LEFT_OUT: Final = tuple(product((2, 8, 32), (1, 3, 4)))


def misses(truth: Truth, *seen: tuple[float, float]) -> list[float]:
    """How far the model of some cells is from the truth at others, as a share."""
    model = model_of(*(cell(truth, *each) for each in seen))
    return [abs(log_seconds(model, *each) - math.log(truth(*each))) for each in LEFT_OUT]


@pytest.mark.parametrize("truth", [dense, sparse])
def test_a_dozen_cells_tell_the_rest_of_a_grid_dense_or_sparse(truth: Truth) -> None:
    """Better than 5% on average at batches and ks that were never run, and 10% at the worst."""
    found = misses(truth, *SEEN)
    assert np.mean(found) < 0.05
    assert max(found) < 0.10


def test_what_experts_cost_is_told_from_what_tokens_cost() -> None:
    """A sparse grid shows its experts; a dense one has next to none."""
    found, none = (
        model_of(*(cell(truth, *each) for each in SEEN)).parameters()["experts"] for truth in (sparse, dense)
    )
    assert found.median > 1.0
    assert found.median > 5 * none.median
    assert found.identified


def test_on_a_sparse_model_a_draft_costs_a_lone_stream_more_than_a_batch() -> None:
    """Another token touches new experts at batch 1; at batch 64 all are touched already."""
    model = model_of(*(cell(sparse, *each) for each in SEEN))
    lone, full = (log_seconds(model, batch, 1) - log_seconds(model, batch, 0) for batch in (1.0, 64.0))
    assert lone > 2 * full


# prices


def prompted(share: float) -> Market:
    """A market whose traffic brings so many prompt tokens with each decoded one."""
    return replace(market((0.9, 0.85, 0.8, 0.75)), prompt_per_token=share)


def test_prompts_make_drafting_pay_less() -> None:
    """They grow with the tokens of a step, and drafts cannot shorten them."""
    gains = [prompted(share).prices([8.0], 0.0).scores(0)[4].gain_ratio for share in (0.0, 2.0, 8.0)]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > gains[-1] * 1.05


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 200), st.sampled_from([0.0, 1.0, 2.5, 4.0])), min_size=1, max_size=6))
def test_a_reference_for_each_batch_prices_each_as_if_alone(points: list[tuple[float, float]]) -> None:
    """In the order asked for, bounds and all."""
    here = prompted(0.5)
    together = here.prices([batch for batch, _ in points], [k for _, k in points])
    for row, (batch, reference) in enumerate(points):
        alone = here.prices([batch], reference)
        assert together.batches[row] == batch
        assert together.reference_tokens[row] == pytest.approx(here.tokens_per_step(reference))
        for name in ("log_seconds", "reference_log_seconds", "reference_tokens", "log_gain", "gain_deviation"):
            np.testing.assert_allclose(getattr(together, name)[row], getattr(alone, name)[0], rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 7), st.floats(1, 1e6), st.floats(0, 64))
def test_a_corner_however_sharp_gives_numbers(corner: float, batch: float, drafts: float) -> None:
    """Measurements that contradict each other drive the search there; far from the corner the larger part remains."""
    mode = np.log([each.prior.median for each in model_of(cell(dense, 8, 4)).parameters().values()])
    mode[PARAMETERS.index("corner")] = corner
    one = [np.array([each]) for each in (batch, drafts, min(1.0, drafts), 0.0)]
    curve, slopes = curve_at(Inputs.of(one[0], one[1], one[2], one[3], math.inf), mode)
    assert np.all(np.isfinite(curve))
    assert np.all(np.isfinite(slopes))
    assert curve[0] >= mode[0]


def test_steps_that_contradict_each_other_in_every_way_give_numbers() -> None:
    """Each lies within what a server may show; together they are nonsense, and nonsense is what they cost."""
    draw = np.random.default_rng(65)
    for _ in range(60):
        cells = [
            Cell(float(batch), float(k), float(k > 0), float(seconds), float(weight))
            for batch, k, seconds, weight in zip(
                np.exp(draw.uniform(0, 11, 14)), draw.integers(0, 5, 14), draw.uniform(-16, 9, 14),
                draw.uniform(0.1, 30, 14), strict=True,
            )
        ]  # fmt: skip
        drafts = np.arange(5.0)
        grid = model_of(*cells).grid([1.0, 12.0, 65_536.0], drafts, np.minimum(1.0, drafts))
        assert np.all(np.isfinite(grid.log_seconds))
        assert np.all(np.isfinite(grid.contrast_variance))
