"""One replica acts at a time; a holder that is gone is succeeded, and no clock of another node is believed."""

import re
from pathlib import Path
from typing import Any

import pytest
from contract.kubernetes_double import Fault, cut, status
from contract.kubernetes_objects import NAMESPACE
from contract.rollout_bench import CHANGE, HOLD, Bench, bench

from controller.act.rollout.result import RolloutOutcome

PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/adaptive-k-deployment-vllm"


def lease(found: Bench) -> dict[str, Any]:
    """Its spec."""
    spec: dict[str, Any] = found.double.objects[PATH]["spec"]
    return spec


def held_by(found: Bench, holder: str, renewed: str = "2027-01-15T08:00:00.000000Z") -> None:
    """Somebody holds the Lease."""
    found.double.put(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": PATH.rpartition("/")[2], "namespace": NAMESPACE},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 60,
                "acquireTime": renewed,
                "renewTime": renewed,
                "leaseTransitions": 4,
            },
        }
    )


def test_the_first_one_creates_the_lease_before_it_changes_anything(tmp_path: Path) -> None:
    """With every field, and microseconds."""
    with bench(tmp_path) as found:
        found.act()
        verbs = [(each.verb, each.path.rpartition("/")[2]) for each in found.double.sent]
        assert verbs[:4] == [
            ("get", "vllm"),
            ("get", "adaptive-k-deployment-vllm"),
            ("create", "leases"),
            ("patch", "vllm"),
        ]
        spec = lease(found)
        assert spec["holderIdentity"] == "pod-a"
        assert spec["leaseTransitions"] == 0
        assert re.fullmatch(r"2027-01-15T08:00:00\.\d{6}Z", spec["renewTime"])


def test_two_replicas_that_want_the_same_change_make_it_once(tmp_path: Path) -> None:
    """The second one waits for the first."""
    with bench(tmp_path) as found:
        other = found.replica("pod-b")
        assert found.act().outcome is RolloutOutcome.STARTED
        result = other.act("m", "0", CHANGE)
        assert result.outcome is RolloutOutcome.NOT_LEADER
        assert "pod-a holds the Lease" in result.sentence
        assert sum(each.verb == "patch" for each in found.double.sent) == 1


def test_a_lease_is_renewed_while_a_change_is_under_way_and_not_more_often_than_needed(tmp_path: Path) -> None:
    """Every third of its duration."""
    with bench(tmp_path) as found:
        found.act()
        other = found.replica("pod-b")
        for _ in range(30):
            assert found.act(HOLD).outcome is RolloutOutcome.ROLLING
            assert other.act("m", "0", HOLD).outcome is RolloutOutcome.NOT_LEADER
            found.clock.advance(10)
        assert sum(each.verb == "update" for each in found.double.sent) == 14
        assert lease(found)["leaseTransitions"] == 0


def test_a_lease_that_is_not_renewed_is_taken_over_after_its_duration_by_our_own_clock(tmp_path: Path) -> None:
    """Whatever its renewTime says: the holder's clock may be a year ahead or behind."""
    for renewed in ("2020-01-01T00:00:00.000000Z", "2040-01-01T00:00:00.000000Z"):
        with bench(tmp_path) as found:
            held_by(found, "pod-z", renewed)
            assert found.act().outcome is RolloutOutcome.NOT_LEADER
            found.clock.advance(59)
            assert found.act().outcome is RolloutOutcome.NOT_LEADER
            found.clock.advance(1)
            assert found.act().outcome is RolloutOutcome.STARTED
            assert lease(found)["holderIdentity"] == "pod-a"
            assert lease(found)["leaseTransitions"] == 5


@pytest.mark.parametrize("holder", ["", "pod-a"])
def test_a_lease_that_was_given_back_or_is_ours_is_taken_at_once(tmp_path: Path, holder: str) -> None:
    """A restarted container has the same name as before."""
    with bench(tmp_path) as found:
        held_by(found, holder)
        assert found.act().outcome is RolloutOutcome.STARTED
        assert lease(found)["leaseTransitions"] == (5 if holder == "" else 4)


def test_a_lease_without_any_field_is_taken(tmp_path: Path) -> None:
    """Every one of them is optional."""
    with bench(tmp_path) as found:
        held_by(found, "x")
        del found.double.objects[PATH]["spec"]
        assert found.act().outcome is RolloutOutcome.STARTED


def test_a_lease_that_was_stolen_stops_us_at_once(tmp_path: Path) -> None:
    """The thief sees to the change; we watch from afar, and never roll back."""
    with bench(tmp_path) as found:
        found.act()
        found.fail()
        held_by(found, "thief")
        result = found.act(HOLD)
        assert result.outcome is RolloutOutcome.NOT_LEADER
        assert "thief holds the Lease" in result.sentence
        assert found.phase == "rolling"


def test_losing_the_race_for_the_lease_is_not_an_error(tmp_path: Path) -> None:
    """Neither at its creation nor at its renewal."""
    for setting in ("create", "update"):
        with bench(tmp_path) as found:
            if setting == "update":
                held_by(found, "")
            found.double.faults.append(Fault(setting, status(409), about="/leases"))
            result = found.act()
            assert result.outcome is RolloutOutcome.NOT_LEADER
            assert "just now" in result.sentence
            assert found.phase is None
            assert found.act().outcome is RolloutOutcome.STARTED


def test_a_lease_that_cannot_be_given_back_is_a_warning(tmp_path: Path) -> None:
    """It runs out by itself."""
    with bench(tmp_path) as found:
        found.act()
        found.fail()
        found.actuator.tend()
        found.finish()
        found.double.faults.append(Fault("update", cut, about="/leases"))
        result = found.actuator.tend()
        assert result.outcome is RolloutOutcome.ROLLED_BACK
        (warning,) = result.warnings
        assert "runs out by itself" in warning
