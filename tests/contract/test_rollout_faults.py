"""Whatever the API server does, nothing crashes, nothing is half changed, and the outcome has a name and a remedy."""

import copy
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract.kubernetes_double import (
    Fault,
    answer,
    cut,
    cut_after,
    cut_within,
    drip,
    flood,
    hang,
    status,
)
from contract.kubernetes_objects import (
    CONFIG,
    config_of,
    container,
    deployment,
    leader_worker_set,
    stateful_set,
)
from contract.rollout_bench import AFTER, CHANGE, HOLD, Bench, bench, server
from fakes import ManualClock
from loopback import Loopback, self_signed, unused_port
from loopback import answer as http_answer

from controller.act.rollout.actuator import RolloutActuator
from controller.act.rollout.api import ApiServer, in_cluster
from controller.act.rollout.result import RolloutOutcome, RolloutResult, RolloutStop
from controller.clock import SystemClock

FAULTS: dict[str, tuple[Callable[..., None], RolloutOutcome, str]] = {
    "401": (status(401, "Unauthorized"), RolloutOutcome.UNAUTHENTICATED, "not expired"),
    "403": (status(403, "cannot do that"), RolloutOutcome.FORBIDDEN, "cannot do that - grant it in the Role"),
    "404": (status(404), RolloutOutcome.NOT_FOUND, "check namespace, kind and name"),
    "409": (status(409), RolloutOutcome.CHANGED_MEANWHILE, "looks anew"),
    "400": (status(400, "webhook says no"), RolloutOutcome.REJECTED, "webhook says no"),
    "422 of a webhook": (
        status(422, 'admission webhook "policy.example" denied the request: args are fixed'),
        RolloutOutcome.REJECTED,
        "args are fixed",
    ),
    "429": (status(429, retry_after="7"), RolloutOutcome.RATE_LIMITED, "asked again in 7 s"),
    "429 with a date": (
        status(429, retry_after="Fri, 15 Jan 2027 08:00:00 GMT"),
        RolloutOutcome.RATE_LIMITED,
        "asked again in 10 s",
    ),
    "500": (status(500, "etcd is ill"), RolloutOutcome.API_ERROR, "etcd is ill - look at its health"),
    "503": (status(503, retry_after="30"), RolloutOutcome.API_ERROR, "asked again in 30 s"),
    "redirect": (status(302), RolloutOutcome.REJECTED, "with 302"),
    "cut": (cut, RolloutOutcome.API_UNREACHABLE, "the connection was closed"),
    "no JSON": (answer(b"<html>"), RolloutOutcome.API_ERROR, "is not JSON"),
    "deep JSON": (answer(b"[" * 100_000), RolloutOutcome.API_ERROR, "is not JSON"),
    "no object": (answer(b"[]"), RolloutOutcome.API_ERROR, "not an object"),
    "no text": (answer(b"\xff\xfe"), RolloutOutcome.API_ERROR, "is not JSON"),
    "error without a Status": (answer(b"bad gateway", 502), RolloutOutcome.API_ERROR, "with 502"),
}


class HastyClock(ManualClock):
    """A second passes with every look at it."""

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        self.advance(1.0)
        return self.now


def sound(result: RolloutResult) -> None:
    """What every answer is: one line for people, without traces of code."""
    assert result.sentence.isprintable()
    assert result.sentence.endswith(".")
    assert re.search(r"Error\b|0x|urllib3|Traceback|token-of", result.sentence) is None


def untouched(found: Bench, before: dict[str, Any]) -> None:
    """The workload is what it was, to the byte."""
    assert found.workload == before


@pytest.mark.parametrize(("fault", "outcome", "words"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("verb", ["get", "patch"])
def test_a_fault_is_named_and_nothing_is_changed(
    tmp_path: Path, verb: str, fault: Callable[..., None], outcome: RolloutOutcome, words: str
) -> None:
    """And once it is over, the change is made, once."""
    with bench(tmp_path) as found:
        before = copy.deepcopy(found.workload)
        found.double.faults.append(Fault(verb, fault, about="/deployments"))
        result = found.act()
        assert result.outcome is outcome
        assert words in result.sentence
        sound(result)
        untouched(found, before)
        found.clock.advance(60)
        assert found.act().outcome is RolloutOutcome.STARTED
        assert config_of(found.workload) == AFTER


@pytest.mark.parametrize("verb", ["get", "patch"])
def test_a_body_that_drips_is_given_up_on_when_the_time_for_all_of_it_is_over(tmp_path: Path, verb: str) -> None:
    """Although every byte comes in time."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault(verb, drip, about="/deployments"))
        actuator = RolloutActuator(found.settings, server(found.double, found.token_file), HastyClock())
        result = actuator.act("m", "0", CHANGE)
        assert result.outcome is RolloutOutcome.API_UNREACHABLE
        assert "no answer within 10 s" in result.sentence
        sound(result)


@pytest.mark.parametrize("verb", ["get", "patch"])
def test_an_api_server_that_is_silent_is_given_up_on(tmp_path: Path, verb: str) -> None:
    """Within the timeout."""
    with bench(tmp_path) as found:
        before = copy.deepcopy(found.workload)
        found.double.faults.append(Fault(verb, hang, about="/deployments"))
        actuator = RolloutActuator(
            found.settings, server(found.double, found.token_file, timeout_seconds=0.3), SystemClock()
        )
        result = actuator.act("m", "0", CHANGE)
        assert result.outcome is RolloutOutcome.API_UNREACHABLE
        assert "no answer within 0.3 s" in result.sentence
        assert ("not known whether" in result.sentence) is (verb == "patch")
        sound(result)
        untouched(found, before)


@pytest.mark.parametrize("fault", [cut_after, cut_within])
def test_a_patch_whose_answer_is_lost_is_found_again_on_the_workload(
    tmp_path: Path, fault: Callable[..., None]
) -> None:
    """Nobody knows whether it arrived; the next pass looks, and does not do it twice."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("patch", fault))
        result = found.act()
        assert result.outcome is RolloutOutcome.API_UNREACHABLE
        assert "not known whether" in result.sentence
        assert found.phase == "rolling"
        found.clock.advance(10)
        assert found.act().outcome is RolloutOutcome.ROLLING
        assert found.workload["metadata"]["annotations"]["adaptive-k.io/changes-today"].endswith("/1")
        assert sum(each.verb == "patch" for each in found.double.sent) == 1


def test_a_body_of_100_mb_is_refused_at_the_limit_without_being_held(tmp_path: Path) -> None:
    """Memory is the model's."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("get", flood))
        tracemalloc.start()
        result = found.act()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.outcome is RolloutOutcome.API_ERROR
        assert "larger than 8388608 bytes" in result.sentence
        assert peak < 30_000_000


def test_a_write_between_our_read_and_our_patch_makes_the_patch_fail_whole(tmp_path: Path) -> None:
    """An HPA, a person, the Deployment's own controller: the tests within the patch see every one."""
    with bench(tmp_path) as found:
        races = [1]

        def race(sent: Any) -> None:
            if sent.verb == "patch" and races:
                races.pop()
                found.double.change(found.path, lambda thing: thing["spec"].__setitem__("replicas", 3))

        found.double.on_write = race
        result = found.act()
        assert result.outcome is RolloutOutcome.CHANGED_MEANWHILE
        sound(result)
        assert config_of(found.workload) == CONFIG
        assert found.phase is None
        found.finish()
        assert found.act().outcome is RolloutOutcome.STARTED


def test_a_patch_that_breaks_a_rule_of_the_server_is_told_from_a_race(tmp_path: Path) -> None:
    """Both are 422; only one of them lists causes."""
    with bench(tmp_path) as found:
        found.double.change(found.path, lambda thing: thing["spec"].__setitem__("colour", "blue"))
        found.finish()
        result = found.act()
        assert result.outcome is RolloutOutcome.REJECTED
        assert "colour" in result.sentence
        sound(result)


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """Not one request before the time."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("get", status(429, retry_after="120")))
        assert found.act().outcome is RolloutOutcome.RATE_LIMITED
        found.clock.advance(119)
        assert found.act().outcome is RolloutOutcome.RATE_LIMITED
        assert len(found.double.sent) == 1
        found.clock.advance(1)
        assert found.act().outcome is RolloutOutcome.STARTED


def test_an_api_server_that_is_gone_for_an_hour_is_asked_seldom_and_found_again(tmp_path: Path) -> None:
    """At most every five minutes; then everything goes on."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("get", cut, times=1000))
        for _ in range(360):
            result = found.act()
            assert result.outcome is RolloutOutcome.API_UNREACHABLE
            sound(result)
            found.clock.advance(10)
        assert 12 <= len(found.double.sent) <= 17
        found.double.faults.clear()
        found.clock.advance(300)
        assert found.act().outcome is RolloutOutcome.STARTED


def test_an_outage_in_the_middle_of_a_rollout_delays_it_and_loses_nothing(tmp_path: Path) -> None:
    """The failed rollout is rolled back as soon as the API server is back."""
    with bench(tmp_path) as found:
        found.act()
        found.fail()
        found.double.faults.append(Fault("get", status(503)))
        assert found.act(HOLD).outcome is RolloutOutcome.API_ERROR
        found.clock.advance(10)
        assert found.act(HOLD).outcome is RolloutOutcome.ROLLING_BACK
        assert config_of(found.workload) == CONFIG


def test_an_api_server_that_is_gone_for_an_hour_within_a_rollout_finds_one_replica_that_goes_on(tmp_path: Path) -> None:
    """The Lease ran out meanwhile; whoever comes first takes it, and the other one keeps out."""
    with bench(tmp_path) as found:
        other = found.replica("pod-b")
        found.act()
        other.tend()
        found.double.faults.append(Fault("get", cut, times=1000))
        for _ in range(360):
            assert {each.tend().outcome for each in (found.actuator, other)} == {RolloutOutcome.API_UNREACHABLE}
            found.clock.advance(10)
        found.double.faults.clear()
        found.clock.advance(300)
        found.finish()
        assert [each.tend().outcome for each in (other, found.actuator)] == [
            RolloutOutcome.SETTLING,
            RolloutOutcome.NOT_LEADER,
        ]
        assert sum(each.verb == "patch" for each in found.double.sent) == 2


def test_an_address_where_nothing_listens_is_named(tmp_path: Path) -> None:
    """With where to look."""
    with bench(tmp_path) as found:
        nowhere = ApiServer(f"http://127.0.0.1:{unused_port()}", found.token_file)
        result = RolloutActuator(found.settings, nowhere, found.clock).act("m", "0", CHANGE)
        assert result.outcome is RolloutOutcome.API_UNREACHABLE
        assert "connection refused" in result.sentence
        sound(result)


def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    """And so is a file that should hold the authority and is not there; with it, the request arrives."""
    certificate = self_signed(tmp_path)
    cases = {None: "cannot be verified: check the CA file", tmp_path / "none": "cannot be read: check it"}
    with bench(tmp_path) as found, Loopback(http_answer("{}"), certificate=certificate) as tls:
        for ca_file, words in cases.items():
            result = RolloutActuator(found.settings, ApiServer(tls.url, None, ca_file), found.clock).tend()
            assert result.outcome is RolloutOutcome.API_UNREACHABLE
            assert words in result.sentence
            sound(result)
        trusted = ApiServer(tls.url, None, certificate)
        assert RolloutActuator(found.settings, trusted, found.clock).tend().outcome is RolloutOutcome.API_ERROR


def test_a_token_that_was_rotated_is_read_anew(tmp_path: Path) -> None:
    """The kubelet replaces it every hour."""
    with bench(tmp_path) as found:
        found.act()
        found.double.token = "another"
        assert found.act().outcome is RolloutOutcome.UNAUTHENTICATED
        found.token_file.write_text("another")
        found.clock.advance(10)
        assert found.act().outcome is RolloutOutcome.ROLLING


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff", b"line\nline"])
def test_a_token_file_without_a_token_is_named(tmp_path: Path, content: bytes | None) -> None:
    """And nothing is sent."""
    with bench(tmp_path) as found:
        found.token_file.unlink()
        if content is not None:
            found.token_file.write_bytes(content)
        result = found.act()
        assert result.outcome is RolloutOutcome.UNAUTHENTICATED
        assert str(found.token_file) in result.sentence
        assert not found.double.sent


def test_a_pod_finds_its_api_server_in_its_environment(tmp_path: Path) -> None:
    """Also by an IPv6 address; elsewhere it is told what is missing."""
    (tmp_path / "token").write_text("t")
    host = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert in_cluster(host, tmp_path) == ApiServer("https://[fd00::1]:6443", tmp_path / "token", tmp_path / "ca.crt")
    for environment, folder in (({}, tmp_path), (host, tmp_path / "none")):
        with pytest.raises(RolloutStop, match="into adaptive-k's container alone"):
            in_cluster(environment, folder)


def test_without_the_role_each_verb_that_is_missing_is_named(tmp_path: Path) -> None:
    """The API server's own words say which."""
    for verb, about in (("get", "apps"), ("patch", "apps"), ("create", "coordination.k8s.io")):
        with bench(tmp_path) as found:
            for rule in found.double.rules:
                if rule["apiGroups"] == [about]:
                    rule["verbs"] = [each for each in rule["verbs"] if each != verb]
            before = copy.deepcopy(found.workload)
            result = found.act()
            assert result.outcome is RolloutOutcome.FORBIDDEN
            assert f"cannot {verb} resource" in result.sentence
            sound(result)
            untouched(found, before)


def watched(folder: Path, act: Callable[[Bench], Callable[..., None] | None]) -> tuple[RolloutResult, Bench]:
    """One pass in the middle of a rollout that may wait for news; the fault of the watch is given."""
    with bench(folder, watch_seconds=1.0) as found:
        found.act()
        fault = act(found)
        if fault is not None:
            found.double.faults.append(Fault("watch", fault))
        return found.act(HOLD), found


def test_a_watch_brings_the_news_within_the_pass(tmp_path: Path) -> None:
    """By the name alone, from the version that was read."""

    def act(found: Bench) -> Callable[..., None]:
        def finish(request: Any, carry_out: Callable[[], Any]) -> None:
            found.status(updatedReplicas=1)
            found.finish()
            carry_out()

        return finish

    result, found = watched(tmp_path, act)
    assert result.outcome is RolloutOutcome.SETTLING
    (watch,) = (each for each in found.double.sent if each.verb == "watch")
    assert watch.query["fieldSelector"] == "metadata.name=vllm"
    assert watch.query["timeoutSeconds"] == "1"


WATCHES: dict[str, Callable[..., None] | None] = {
    "nothing happens": None,
    "403": status(403),
    "410": status(410),
    "500": status(500),
    "cut": cut,
    "silence": hang,
    "garbage": answer(b"<html>\n{}\n[]\nnull\n"),
    "a bookmark": answer(b'{"type":"BOOKMARK","object":{"metadata":{}}}\n'),
    "deleted": answer(b'{"type":"DELETED","object":{}}\n'),
    "an event cut in two": answer(b'{"type":"MODIFIED","obj'),
}


@pytest.mark.parametrize("fault", WATCHES.values(), ids=WATCHES)
def test_a_watch_that_fails_costs_nothing_but_its_news(tmp_path: Path, fault: Callable[..., None] | None) -> None:
    """The next pass reads."""
    result, _ = watched(tmp_path, lambda _: fault)
    assert result.outcome is RolloutOutcome.ROLLING


def test_a_watch_whose_history_is_gone_begins_with_a_read(tmp_path: Path) -> None:
    """410 as the API server says it within the stream, after the version was compacted away."""

    def act(found: Bench) -> Callable[..., None]:
        def compact(request: Any, carry_out: Callable[[], Any]) -> None:
            found.finish()
            found.double.forget()
            carry_out()

        return compact

    result, found = watched(tmp_path, act)
    assert result.outcome is RolloutOutcome.SETTLING
    order = [each.verb for each in found.double.sent if each.verb in ("watch", "get") and "/deployments" in each.path]
    assert order[-2:] == ["watch", "get"]


def test_a_text_that_changes_during_the_watch_is_not_overwritten(tmp_path: Path) -> None:
    """A failed rollout is rolled back only while the text is ours."""

    def act(found: Bench) -> Callable[..., None]:
        def interfere(request: Any, carry_out: Callable[[], Any]) -> None:
            def edit(thing: dict[str, Any]) -> None:
                thing["spec"]["template"]["spec"]["containers"][0]["args"][3] = '{"method": "mtp"}'

            found.double.change(found.path, edit)
            found.fail(after_seconds=0)
            carry_out()

        return interfere

    result, found = watched(tmp_path, act)
    assert result.outcome is RolloutOutcome.REVERTED
    assert config_of(found.workload) == '{"method": "mtp"}'


HEADLESS = {"spec": {"containers": [container(args=["--headless", "--speculative-config", CONFIG])]}}
UNFIT: dict[str, tuple[dict[str, Any], RolloutOutcome, str]] = {
    "paused": (deployment(paused=True), RolloutOutcome.NOT_POSSIBLE, "kubectl rollout resume"),
    "scaled to zero": (deployment(replicas=0), RolloutOutcome.WORKLOAD_BUSY, "scaled to zero"),
    "short deadline": (deployment(progressDeadlineSeconds=60), RolloutOutcome.NOT_POSSIBLE, "less than the 300 s"),
    "one after the other": (
        stateful_set(replicas=20),
        RolloutOutcome.NOT_POSSIBLE,
        "6000 s to start one after the other, more than the 3600 s",
    ),
    "on delete": (stateful_set(updateStrategy={"type": "OnDelete"}), RolloutOutcome.NOT_POSSIBLE, "OnDelete"),
    "partition": (
        stateful_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}),
        RolloutOutcome.NOT_POSSIBLE,
        "partition",
    ),
    "partition of groups": (
        leader_worker_set(rolloutStrategy={"rollingUpdateConfiguration": {"partition": 1}}),
        RolloutOutcome.NOT_POSSIBLE,
        "partition",
    ),
    "old LeaderWorkerSet": (
        leader_worker_set() | {"status": {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}},
        RolloutOutcome.NOT_POSSIBLE,
        "update LWS",
    ),
    "workers with a config of their own": (
        leader_worker_set(leaderWorkerTemplate={"leaderTemplate": HEADLESS, "workerTemplate": HEADLESS}),
        RolloutOutcome.AMBIGUOUS,
        "/spec/leaderWorkerTemplate/workerTemplate/spec/containers/0/args/2",
    ),
}


@pytest.mark.parametrize(("thing", "outcome", "words"), UNFIT.values(), ids=UNFIT)
def test_a_workload_that_would_not_roll_is_refused(
    tmp_path: Path, thing: dict[str, Any], outcome: RolloutOutcome, words: str
) -> None:
    """Before anything is sent but the read."""
    with bench(tmp_path, thing) as found:
        result = found.act()
        assert result.outcome is outcome
        assert words in result.sentence
        sound(result)
        assert [each.verb for each in found.double.sent] == ["get"]


@pytest.mark.parametrize(
    "status_fields", [{"availableReplicas": 1}, {"updatedReplicas": 1}, {"replicas": 3}, {"observedGeneration": 0}]
)
def test_a_workload_that_is_not_at_rest_is_left_alone(tmp_path: Path, status_fields: dict[str, int]) -> None:
    """Somebody else's rollout, an HPA that adds pods, a pod that is down."""
    with bench(tmp_path) as found:
        found.status(**status_fields)
        assert found.act().outcome is RolloutOutcome.WORKLOAD_BUSY
        found.finish()
        assert found.act().outcome is RolloutOutcome.STARTED


def test_an_answer_that_is_another_object_is_refused(tmp_path: Path) -> None:
    """The address may be that of something else that speaks JSON."""
    for body in (b"{}", b'{"kind": "Deployment", "metadata": {"name": "other"}}', b'{"metadata": null}'):
        with bench(tmp_path) as found:
            found.double.faults.append(Fault("get", answer(body)))
            result = found.act()
            assert result.outcome is RolloutOutcome.API_ERROR
            assert "is no Deployment" in result.sentence


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "template", "spec", "containers", 0, "name"), None),
        (("spec", "template", "spec", "containers", 0, "args"), [1]),
        (("spec", "template", "spec", "containers", 0), "vllm"),
        (("spec", "replicas"), "two"),
        (("spec", "progressDeadlineSeconds"), None),
        (("metadata", "managedFields"), 0.5),
        (("metadata", "annotations"), []),
        (("metadata", "uid"), 7),
        (("status", "conditions"), [None]),
        (("status", "updatedReplicas"), "1"),
    ],
)
def test_a_workload_that_kubernetes_would_not_tell_is_refused_by_the_field(
    tmp_path: Path, path: tuple[Any, ...], value: object
) -> None:
    """What stands in an API server's place may answer anything; the next true answer is acted on."""
    body = deployment()
    holder: Any = body
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("get", answer(json.dumps(body).encode())))
        result = found.act()
        assert result.outcome is RolloutOutcome.API_ERROR
        assert ".".join(map(str, path)) in result.sentence
        found.clock.advance(3600.0)
        assert found.act().outcome is RolloutOutcome.STARTED


def test_a_lease_that_kubernetes_would_not_tell_is_refused_by_the_field(tmp_path: Path) -> None:
    """Nothing is changed without it."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("get", answer(b'{"spec": {"leaseDurationSeconds": "15"}}'), about="leases"))
        result = found.act()
        assert result.outcome is RolloutOutcome.API_ERROR
        assert "spec.leaseDurationSeconds" in result.sentence
        assert config_of(found.workload) == CONFIG
