"""Guards hold a change back for as long as they say, and name what is left."""

from dataclasses import replace
from typing import Any

import pytest
from contract.kubernetes_objects import CONFIG, NAME, NAMESPACE, container, deployment
from contract.rollout_bench import AFTER, CHANGE
from hypothesis import given
from hypothesis import strategies as st

from controller.act.rollout.guards import refuse_too_soon, wanted_text
from controller.act.rollout.place import find_place
from controller.act.rollout.record import Expected, Phase, Record
from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.workload import Kind
from controller.decide.decision import Decision

SETTINGS = RolloutSettings(NAMESPACE, Kind.DEPLOYMENT, NAME, "pod-a")
RECORD = Record(1.8e9, 1, "a", "b", Phase.SETTLED, 1.8e9, 0, Expected(5, 2, 1.2, 64.0, 1000.0, 1.01, 2.0))
HOUR = 3600.0


def text(config: str = CONFIG, decision: Decision = CHANGE, **settings: Any) -> str:
    """The config that carries the decision out."""
    return wanted_text(find_place(deployment(container(config)), None, None), decision, replace(SETTINGS, **settings))


def refusal(now: float, record: Record = RECORD, settings: RolloutSettings = SETTINGS) -> RolloutOutcome | None:
    """Why not now; None when nothing is against it."""
    try:
        refuse_too_soon(record, settings, now)
    except RolloutStop as stop:
        return stop.outcome
    return None


def test_a_config_that_cannot_be_edited_is_told_with_its_place_on_one_line() -> None:
    """The container's name is the cluster's word, and the config's keys are anybody's."""
    odd = deployment(container(r'{"a\nb": 1, "a\nb": 2, "method": "eagle"}') | {"name": "x\x1b[31m"})
    with pytest.raises(RolloutStop) as caught:
        wanted_text(find_place(odd, None, None), CHANGE, SETTINGS)
    assert caught.value.sentence.isprintable()
    assert r"container x\x1b[31m (/spec/" in caught.value.sentence
    assert r"it has 'a\nb' twice" in caught.value.sentence


@given(st.integers(0, 4), st.floats(-1e6, 1e9))
def test_the_interval_is_four_times_as_long_after_each_setback(setbacks: int, elapsed: float) -> None:
    """And a clock that was set back counts as no time at all."""
    interval = 6 * HOUR * 4**setbacks
    many = replace(SETTINGS, changes_a_day=1000)
    expected = RolloutOutcome.TOO_SOON if elapsed < interval else None
    now = RECORD.changed_unix_seconds + elapsed
    exact = now - RECORD.changed_unix_seconds  # as it can be represented
    expected = RolloutOutcome.TOO_SOON if exact < interval else None
    assert refusal(now, replace(RECORD, setbacks=setbacks), many) is expected


def test_after_a_revert_the_interval_runs_from_the_revert() -> None:
    """It is its author who wants peace."""
    record = replace(RECORD, phase=Phase.REVERTED, phase_unix_seconds=RECORD.changed_unix_seconds + HOUR, setbacks=1)
    assert refusal(RECORD.changed_unix_seconds + 25 * HOUR - 1, record) is RolloutOutcome.TOO_SOON
    assert refusal(RECORD.changed_unix_seconds + 25 * HOUR, record) is None


def test_a_day_ends_at_midnight_utc() -> None:
    """Then changes are counted anew."""
    record = replace(RECORD, changes_that_day=2)  # at 08:00
    assert refusal(record.changed_unix_seconds + 15 * HOUR, record) is RolloutOutcome.TOO_MANY_TODAY
    assert refusal(record.changed_unix_seconds + 16 * HOUR, record) is None


def test_a_schedule_is_preferred_where_it_can_be_run() -> None:
    """vLLM 0.24 and later."""
    assert text() == AFTER
    assert text(use_schedule=False) == CONFIG.replace(": 5", ": 2")
    assert text(decision=replace(CHANGE, schedule=())) == CONFIG.replace(": 5", ": 2")


@pytest.mark.parametrize("method", ["suffix", "medusa", "ngram_gpu", "extract_hidden_states"])
def test_a_method_of_fixed_k_gets_one_number(method: str) -> None:
    """A schedule would kill its engine."""
    config = CONFIG.replace("eagle", method)
    assert text(config) == config.replace(": 5", ": 2")


def test_a_method_that_nobody_names_is_not_guessed() -> None:
    """It might be one that a schedule kills."""
    config = CONFIG.replace('"method": "eagle", ', "")
    with pytest.raises(RolloutStop, match="--method"):
        text(config)
    assert "per_batch_size" in text(config, method="eagle")
    assert "per_batch_size" not in text(config, method="suffix")


def test_a_config_that_cannot_be_edited_is_named_with_its_place() -> None:
    """Container and pointer."""
    with pytest.raises(RolloutStop) as caught:
        text("{broken")
    assert caught.value.outcome is RolloutOutcome.BAD_CONFIG
    assert "container vllm (/spec/template/spec/containers/0/args/3)" in caught.value.sentence
