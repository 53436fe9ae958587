"""The API server double refuses what a real one refuses; one that accepts anything would prove nothing."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml
from contract.kubernetes_double import ROLE_DOCUMENT, TOKEN, Double, role_text
from contract.kubernetes_objects import CONFIG, deployment
from contract.kubernetes_rules import MINORS

from controller.act.rollout.record import Expected, Phase, Record
from controller.act.rollout.result import RolloutOutcome

WORKLOAD = "/apis/apps/v1/namespaces/serving/deployments/vllm"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/serving/leases"
EVENTS = "/apis/events.k8s.io/v1/namespaces/serving/events"
ARGUMENT = "/spec/template/spec/containers/0/args/3"
PATCH = "application/json-patch+json"
LEASE: dict[str, Any] = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "adaptive-k-deployment-vllm", "namespace": "serving"},
    "spec": {
        "holderIdentity": "a",
        "leaseDurationSeconds": 60,
        "acquireTime": "2027-01-15T08:00:00.000000Z",
        "renewTime": "2027-01-15T08:00:00.000000Z",
        "leaseTransitions": 0,
    },
}
EVENT: dict[str, Any] = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"generateName": "vllm-", "namespace": "serving"},
    "eventTime": "2027-01-15T08:00:00.000000Z",
    "reportingController": "adaptive-k.io/rollout",
    "reportingInstance": "pod-a",
    "action": "Rollout",
    "reason": "Started",
    "note": "It rolls.",
    "type": "Normal",
    "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm", "namespace": "serving"},
}


@pytest.fixture
def double() -> Iterator[Double]:
    """With one Deployment at version 101."""
    with Double() as found:
        found.put(deployment())
        yield found


def ask(double: Double, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    """One request of a client that is allowed to."""
    given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return requests.request(method, double.url + path, json=body, headers=given, timeout=10)


def test_a_patch_is_applied_whole_or_not_at_all(double: Double) -> None:
    """The first operation fits, the second does not."""
    before = copy.deepcopy(double.objects[WORKLOAD])
    operations = [
        {"op": "replace", "path": ARGUMENT, "value": "{}"},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
    ]
    found = ask(double, "PATCH", WORKLOAD, operations, Content_Type=PATCH)
    assert found.status_code == 422
    assert found.json()["details"] == {}
    assert double.objects[WORKLOAD] == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": ARGUMENT, "value": "another"},
        {"op": "replace", "path": "/spec/nothing/here", "value": 1},
        {"op": "replace", "path": "/spec/template/spec/containers/7/args", "value": []},
        {"op": "add", "path": "/metadata/annotations/adaptive-k.io~1phase", "value": "rolling"},
    ],
)
def test_an_operation_that_does_not_fit_is_a_422_without_causes(double: Double, operation: dict[str, Any]) -> None:
    """`add` makes no parents."""
    found = ask(double, "PATCH", WORKLOAD, [operation], Content_Type=PATCH)
    assert (found.status_code, found.json()["details"]) == (422, {})


@pytest.mark.parametrize(
    ("literal", "status"),
    [("a \\u0026\\u0026 \\u00e9", 422), ("a && \xe9", 422), ("a \\u0026\\u0026 \xe9", 200)],
)
def test_a_test_of_a_string_compares_what_is_written(double: Double, literal: str, status: int) -> None:
    """As Go writes it: the characters of HTML escaped, and no others."""
    double.change(
        WORKLOAD,
        lambda thing: thing["spec"]["template"]["spec"]["containers"][0]["args"].__setitem__(3, "a && \xe9"),
    )
    content = f'[{{"op": "test", "path": "{ARGUMENT}", "value": "{literal}"}}]'.encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": PATCH}
    assert requests.patch(double.url + WORKLOAD, data=content, headers=headers, timeout=10).status_code == status


def test_a_patch_raises_the_version_and_for_a_spec_the_generation(double: Double) -> None:
    """As controllers rely on it."""
    operations: list[dict[str, Any]] = [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    noted = ask(double, "PATCH", WORKLOAD, operations, Content_Type=PATCH).json()["metadata"]
    assert (noted["resourceVersion"], noted["generation"]) == ("102", 1)
    operations = [{"op": "replace", "path": ARGUMENT, "value": CONFIG + " "}]
    edited = ask(double, "PATCH", WORKLOAD, operations, Content_Type=PATCH).json()["metadata"]
    assert (edited["resourceVersion"], edited["generation"]) == ("103", 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", WORKLOAD, None, {"Authorization": "Bearer no"}, 401),
        ("GET", WORKLOAD.replace("vllm", "other"), None, {}, 403),
        ("DELETE", WORKLOAD, None, {}, 403),
        ("GET", "/api/v1/namespaces/serving/pods/x", None, {}, 404),
        ("GET", f"{LEASES}/adaptive-k-deployment-vllm", None, {}, 404),
        ("PATCH", WORKLOAD, [], {"Content_Type": "application/json"}, 415),
        ("PATCH", WORKLOAD, [{"op": "move", "path": "/a", "from": "/b"}], {"Content_Type": PATCH}, 400),
        ("PATCH", WORKLOAD, [{"op": "replace", "path": "/spec/replicas", "value": "x"}], {"Content_Type": PATCH}, 422),
    ],
)
def test_a_request_that_is_not_allowed_or_not_understood_is_refused(
    double: Double, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    """With the status of a real one."""
    assert ask(double, method, path, body, **headers).status_code == status


def test_a_lease_is_created_once_and_replaced_only_from_its_present_version(double: Double) -> None:
    """409 otherwise."""
    created = ask(double, "POST", LEASES, LEASE)
    assert created.status_code == 201
    assert ask(double, "POST", LEASES, LEASE).status_code == 409
    path = f"{LEASES}/{LEASE['metadata']['name']}"
    assert ask(double, "PUT", path, created.json()).status_code == 200
    assert ask(double, "PUT", path, created.json()).status_code == 409
    assert ask(double, "PUT", path, LEASE).status_code == 409


@pytest.mark.parametrize("minor", MINORS)
def test_the_role_of_the_document_is_a_role(minor: str) -> None:
    """As people will paste it."""
    kubernetes_validate.validate(yaml.safe_load(role_text()), minor, strict=True)


def test_the_document_explains_every_outcome_and_phase() -> None:
    """Nobody should meet a name that is not explained."""
    text = ROLE_DOCUMENT.read_text("utf-8")
    assert [each.value for each in RolloutOutcome if f"`{each.value}`" not in text] == []
    assert [each.value for each in Phase if f"`{each.value}`" not in text] == []


def test_the_document_removes_every_annotation() -> None:
    """Taken out, it leaves no trace."""
    commands = ROLE_DOCUMENT.read_text("utf-8").partition("## Take it out")[2]
    expected = Expected(5, 2, 1.2, 64.0, 1000.0, 1.01, 2.0)
    record = Record(0.0, 1, "{}", "{}", Phase.ROLLING, 0.0, 0, expected)
    assert [name for name in record.annotations() if f" {name}-" not in commands] == []


def _without(thing: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in thing.items() if key != name}


BAD: dict[str, tuple[str, dict[str, Any], Callable[[dict[str, Any]], dict[str, Any]], int]] = {
    "lease without microseconds": (LEASES, LEASE, lambda spec: spec | {"renewTime": "2027-01-15T08:00:00Z"}, 422),
    "lease of no duration": (LEASES, LEASE, lambda spec: spec | {"leaseDurationSeconds": 0}, 422),
    "lease with an unknown field": (LEASES, LEASE, lambda spec: spec | {"holder": "x"}, 422),
    "event without a time": (EVENTS, EVENT, lambda event: _without(event, "eventTime"), 422),
    "event without an action": (EVENTS, EVENT, lambda event: _without(event, "action"), 422),
    "event with a long note": (EVENTS, EVENT, lambda event: event | {"note": "x" * 1025}, 422),
    "event of the old form": (EVENTS, EVENT, lambda event: event | {"deprecatedCount": 1}, 422),
    "event of another type": (EVENTS, EVENT, lambda event: event | {"type": "Info"}, 422),
    "event about another namespace": (EVENTS, EVENT, lambda event: event | {"regarding": {"namespace": "x"}}, 422),
    "event elsewhere": (
        EVENTS,
        EVENT,
        lambda event: event | {"metadata": {"generateName": "x-", "namespace": "other"}},
        400,
    ),
}


@pytest.mark.parametrize(("path", "thing", "spoil", "status"), BAD.values(), ids=BAD)
def test_an_object_that_breaks_a_rule_is_refused(
    double: Double, path: str, thing: dict[str, Any], spoil: Callable[[dict[str, Any]], dict[str, Any]], status: int
) -> None:
    """And the sound one beside it is not."""
    bad = thing | {"spec": spoil(thing["spec"])} if "spec" in thing else spoil(thing)
    assert ask(double, "POST", path, thing).status_code == 201
    found = ask(double, "POST", path, bad)
    assert found.status_code == status
    assert not double.events() or double.events()[0] == EVENT
