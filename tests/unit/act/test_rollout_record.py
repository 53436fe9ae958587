"""The record on the workload comes back as it was written, or stops everything."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.act.rollout.record import (
    EXPECTED,
    PREFIX,
    Expected,
    Phase,
    Record,
    annotation_operations,
    read_record,
)
from controller.act.rollout.result import RolloutOutcome, RolloutStop

POSITIVE = st.floats(1e-6, 1e9)
RECORDS = st.builds(
    Record,
    changed_unix_seconds=st.integers(0, 4_000_000_000).map(float),
    changes_that_day=st.integers(0, 1000),
    previous=st.text(max_size=20),
    applied=st.text(max_size=20),
    phase=st.sampled_from(Phase),
    phase_unix_seconds=st.integers(0, 4_000_000_000).map(float),
    setbacks=st.integers(0, 1000),
    expected=st.builds(
        Expected,
        k_before=st.integers(0, 64),
        k=st.integers(0, 64),
        gain=POSITIVE,
        batch=POSITIVE,
        tokens_per_second=st.none() | POSITIVE,
        spread=st.floats(1, 100),
        tokens_per_step=POSITIVE,
    ),
)
RECORD = Record(1.8e9, 1, "before", "after", Phase.ROLLING, 1.8e9, 0, Expected(5, 2, 1.2, 64.0, 1000.0, 1.01, 2.0))


def annotated(kept: dict[str, str]) -> dict[str, Any]:
    """A workload with these annotations."""
    return {"metadata": {"annotations": kept}}


@given(RECORDS)
def test_a_record_comes_back_as_it_was_written(record: Record) -> None:
    """Every field of it."""
    assert read_record(annotated(record.annotations())) == record


@pytest.mark.parametrize("kept", [None, {}, {"deployment.kubernetes.io/revision": "3"}])
def test_a_workload_that_was_never_changed_has_no_record(kept: dict[str, str] | None) -> None:
    """Other annotations are none of ours."""
    assert read_record({"metadata": {"annotations": kept}}) is None
    assert read_record({"metadata": {}}) is None


@pytest.mark.parametrize("name", sorted(RECORD.annotations()))
@pytest.mark.parametrize("value", [None, "", "x", "[]", "-1", "9" * 30, "2027-01-15/x", '{"k": 1}'])
def test_a_record_that_is_damaged_anywhere_is_not_believed(name: str, value: str | None) -> None:
    """The two texts may be anything, but they must be there."""
    kept = RECORD.annotations()
    del kept[name]
    if value is not None:
        kept[name] = value
    if value is not None and name.endswith("-config"):
        assert read_record(annotated(kept)) is not None
        return
    with pytest.raises(RolloutStop) as caught:
        read_record(annotated(kept))
    assert caught.value.outcome is RolloutOutcome.RECORD_UNREADABLE
    assert "to start anew" in caught.value.sentence


@pytest.mark.parametrize(
    "field",
    [
        '"k": true',
        '"k": 1.5',
        '"gain": 0',
        '"gain": NaN',
        '"batch": -1',
        '"spread": 0.5',
        '"tokens_per_step": Infinity',
    ],
)
def test_an_expectation_of_impossible_numbers_is_not_believed(field: str) -> None:
    """They would be divided by."""
    kept = RECORD.annotations()
    kept[EXPECTED] = kept[EXPECTED][:-1] + f", {field}}}"
    with pytest.raises(RolloutStop):
        read_record(annotated(kept))


def test_a_count_of_another_day_is_not_believed() -> None:
    """The day and the instant come from one write."""
    kept = RECORD.annotations() | {f"{PREFIX}changes-today": "2027-01-14/1"}
    with pytest.raises(RolloutStop):
        read_record(annotated(kept))


def test_changes_are_counted_by_the_day_in_utc() -> None:
    """A new day begins with none."""
    record = replace(RECORD, changes_that_day=2)
    assert record.changes_on(record.changed_unix_seconds + 3600) == 2
    assert record.changes_on(record.changed_unix_seconds + 24 * 3600) == 0


def test_annotations_are_made_where_there_are_none() -> None:
    """`add` into nothing would fail."""
    paths = [each["path"] for each in annotation_operations({"metadata": {}}, RECORD)]
    assert paths[0] == "/metadata/annotations"
    assert paths[1].startswith("/metadata/annotations/adaptive-k.io~1")
    assert "/metadata/annotations" not in [each["path"] for each in annotation_operations(annotated({}), RECORD)]


@pytest.mark.parametrize(
    "changed",
    [
        {"tokens_per_second": 0},
        {"tokens_per_second": 1e-300, "spread": 1e308},
        {"tokens_per_second": 1e-300, "tokens_per_step": 1e308},
        {"k_before": 10**400},
        {"gain": 10**400},
        {"gain": float("nan")},
        {"k": True},
        {"batch": "64"},
    ],
)
def test_an_expectation_that_nothing_could_be_measured_against_is_refused(changed: dict[str, Any]) -> None:
    """Anybody may write annotations, and the arithmetic of the next pass must not fail on them."""
    kept = RECORD.annotations()
    kept[EXPECTED] = json.dumps(json.loads(kept[EXPECTED]) | changed)
    with pytest.raises(RolloutStop) as caught:
        read_record(annotated(kept))
    assert caught.value.outcome is RolloutOutcome.RECORD_UNREADABLE
