"""A rollout is judged as `kubectl rollout status` does."""

from typing import Any

import pytest
from contract.kubernetes_objects import deployment, leader_worker_set, stateful_set
from hypothesis import given
from hypothesis import strategies as st

from controller.act.rollout.event import event
from controller.act.rollout.workload import State, other_manager, progress, replicas_of, starts_in_a_row

COUNT = st.integers(0, 4)


@given(COUNT, COUNT, COUNT, COUNT, st.integers(0, 2), st.sampled_from([deployment, stateful_set]))
def test_a_rollout_is_done_when_all_wanted_are_new_and_available_and_no_old_one_is_left(
    wanted: int, present: int, updated: int, available: int, observed: int, make: Any
) -> None:
    """And the present spec was observed."""
    thing = make(replicas=wanted)
    thing["status"] |= {
        "observedGeneration": observed,
        "replicas": present,
        "updatedReplicas": updated,
        "availableReplicas": available,
    }
    done = observed >= 1 and updated >= wanted and available >= wanted and present <= updated
    assert progress(thing).state is (State.DONE if done else State.GOING)


def test_a_status_that_is_not_there_yet_is_a_rollout_that_goes_on() -> None:
    """A workload that was created just now."""
    thing = deployment()
    del thing["status"]
    assert progress(thing).state is State.GOING
    thing["status"] = {"observedGeneration": 1}
    assert progress(thing).sentence == "0 of 2 replicas updated, 0 available"


@pytest.mark.parametrize(
    ("thing", "starts"),
    [
        (deployment(replicas=8), 2),  # 25% more and 25% fewer: four at a time
        (deployment(replicas=1), 1),
        (deployment(replicas=8, strategy={"type": "Recreate"}), 1),
        (deployment(replicas=8, strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}), 8),
        (deployment(replicas=10, strategy={"rollingUpdate": {"maxSurge": "11%", "maxUnavailable": "19%"}}), 4),
        (stateful_set(replicas=8), 8),
        (leader_worker_set(replicas=8), 8),
    ],
)
def test_pods_start_as_many_at_a_time_as_the_strategy_allows(thing: dict[str, Any], starts: int) -> None:
    """The rest wait for them."""
    assert starts_in_a_row(thing) == starts


def test_replicas_that_are_left_out_are_one() -> None:
    """The API server's default."""
    thing = deployment()
    del thing["spec"]["replicas"]
    assert replicas_of(thing) == 1


def test_the_last_other_writer_of_the_containers_is_named() -> None:
    """Not ourselves, and not who wrote the status or the replicas."""
    thing = deployment()
    fields: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {}}}}}
    thing["metadata"]["managedFields"] += [
        {"manager": "helm", "time": "2027-01-01T00:00:00Z", "fieldsV1": fields},
        {"manager": "adaptive-k", "time": "2028-01-01T00:00:00Z", "fieldsV1": fields},
        {"manager": "hpa", "time": "2029-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]
    assert other_manager(thing, "adaptive-k") == "helm"
    del thing["metadata"]["managedFields"]
    assert other_manager(thing, "adaptive-k") is None


@pytest.mark.parametrize("note", ["x" * 2000, "é" * 1000, "k=2 yields more."])
def test_an_event_fits_its_limits(note: str) -> None:
    """The note in bytes, the instance in characters; no character is cut in two."""
    found = event(deployment(), reason="R", note=note, warning=False, instance="i" * 300, unix_seconds=0.0)
    assert len(found["note"].encode()) <= 1024
    assert note.startswith(found["note"])
    assert len(found["reportingInstance"]) == 128
