"""What is measured at one k, carried over to another, against what the simulator's truth says is measured there."""

import numpy as np
import pytest

from controller.model.acceptance import estimate
from controller.model.drafter import METHODS, Method
from controller.model.economics import Market
from controller.model.evidence import AcceptanceEvidence
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime
from controller.simulator.engine import StepEngine
from controller.simulator.scenarios import SCENARIOS

SCENARIO_NAMES = ("steady-code", "draft-model", "ngram", "steady-prose")


def errors(name: str, *, renewed: bool) -> np.ndarray:
    """Relative errors of the tokens per step at every k below k_max, from exact rates at k_max."""
    scenario = SCENARIOS[name]
    engine = StepEngine(scenario, seed=1)
    engine.advance_to(30)
    truth, k_max = engine.truth(), engine.launch_schedule[0][2]
    drafter = METHODS[Method(scenario.method)]
    seen = truth.acceptance(k_max)
    hits = tuple(1e7 * each for each in seen.survival)
    evidence = AcceptanceEvidence((1e7, *hits[:-1]), hits, request_steps=1e7, drafting_steps=1e7 * seen.coverage)
    step_time = StepTime(StepTable((Cell(8.0, 3.0, 1.0, -4.0, 1.0),)), drafter)
    persistence = drafter.persistence if renewed else 0.0
    market = Market(estimate(evidence, drafter), step_time, drafter.drafting, k_max, float(k_max), persistence)
    return np.array([market.tokens_per_step(k) / truth.acceptance(k).tokens_per_step - 1 for k in range(1, k_max)])


@pytest.mark.parametrize("name", SCENARIO_NAMES)
def test_plain_cutting_always_falls_short(name: str) -> None:
    """At a smaller k more drafts begin within easy text: rates cut from a larger k never overstate it."""
    assert np.all(errors(name, renewed=False) < 0.001)


@pytest.mark.parametrize("name", SCENARIO_NAMES)
def test_with_renewal_the_error_is_small(name: str) -> None:
    """Within 2.5%; 5% for n-gram, whose coverage rises, too, when k falls."""
    assert np.abs(errors(name, renewed=True)).max() < (0.05 if name == "ngram" else 0.025)


def test_renewal_takes_a_third_off_the_mean_error() -> None:
    """Over the four traffics together."""
    plain, renewed = (
        np.mean([np.abs(errors(name, renewed=each)).mean() for name in SCENARIO_NAMES]) for each in (False, True)
    )
    assert renewed < 0.67 * plain
