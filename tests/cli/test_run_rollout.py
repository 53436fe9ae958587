"""`controller run --mode rollout`: a process between a vLLM server and an API server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
from calling import Command
from contract.kubernetes_double import TOKEN, Double, Fault, Sent, status
from contract.kubernetes_objects import CONFIG, NAME, NAMESPACE, config_of, deployment
from fakes import ManualClock
from running import Running, running
from store_double import GrowingStore, serving

from controller.act.rollout.result import Edit, RolloutOutcome, RolloutResult
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.workload import Kind
from controller.commands.exit_codes import OK, USAGE
from controller.commands.rollout import Teller, rollout_settings
from controller.options.run import RunOptions
from controller.reason import Reason
from controller.settings import load
from controller.simulator.server import SimulatedServer

WORKLOAD = ("--mode", "rollout", "--rollout-kind", "Deployment", "--rollout-name", NAME)
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/adaptive-k-deployment-{NAME}"


@dataclass
class Cluster:
    """An API server with one Deployment that runs vLLM, and the service account of its pods."""

    double: Double
    path: str
    folder: Path
    options: tuple[str, ...]

    @property
    def workload(self) -> dict[str, Any]:
        """The Deployment as it is now."""
        return self.double.objects[self.path]

    def sent(self, verb: str) -> list[Sent]:
        """The requests of one verb."""
        return [each for each in self.double.sent if each.verb == verb]

    def finish(self) -> None:
        """Every pod is of the new template, and available."""

        def edit(thing: dict[str, Any]) -> None:
            thing["status"]["observedGeneration"] = thing["metadata"]["generation"]

        self.double.change(self.path, edit)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Deployment at rest."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text(f"{NAMESPACE}\n")
    with Double() as double:
        path = double.put(deployment())
        account = ("--rollout-service-account", str(tmp_path))
        yield Cluster(double, path, tmp_path, (*WORKLOAD, "--rollout-api-url", double.url, *account))


@contextmanager
def rolling(cluster: Cluster, *options: str) -> Iterator[tuple[Running, SimulatedServer]]:
    """A sidecar beside a server whose text no drafter can guess, with its step times as measured before."""
    with SimulatedServer("zero-and-back", speed=10) as server:
        truth = server.engines[0].phase_truth()
        rows = [f"{batch},{k},{truth.step_seconds(batch, k) * 1e3}" for batch in (1, 32, 256) for k in (0, 2, 5)]
        profile = cluster.folder / "profile.csv"
        profile.write_text("\n".join(("batch,k,step_ms", *rows)))
        with running(server.url, *cluster.options, "--profile", str(profile), *options) as sidecar:
            yield sidecar, server


def told(outcome: str) -> Any:
    """The log says that a rollout stands so."""
    return lambda line: (line["event"], line.get("outcome")) == ("rollout", outcome)


def test_speculation_that_loses_is_rolled_out_of_the_deployment_once(cluster: Cluster) -> None:
    """One patch under the Lease, signed with the pod's name, with an Event; then the rollout is watched."""
    with rolling(cluster) as (sidecar, _):
        started = sidecar.wait_for(told("started"))
        sidecar.wait_for(told("rolling"), started)
        assert sidecar.end() == OK
    (patch,) = cluster.sent("patch")
    line = next(each for each in sidecar.log if told("started")(each))
    assert (line["before"], line["after"], line["patch"]) == (CONFIG, config_of(cluster.workload), patch.body)
    assert json.loads(line["after"])["num_speculative_tokens_per_batch_size"][0][2] == 0
    (event,) = cluster.double.events()
    assert event["reason"] == "SpeculationRolloutStarted"
    assert event["reportingInstance"].startswith(f"{gethostname()}:")
    assert cluster.double.objects[LEASE]["spec"]["holderIdentity"] == event["reportingInstance"]
    decision = next(each for each in sidecar.log if each.get("outcome") == "rolling" and each["event"] == "decision")
    assert decision["reason"] == Reason.SPECULATION_LOSES


FLEET = {"survival": (0.02, 0.0, 0.0, 0.0), "batch": 64.0, "request_steps": 640_000, "step_seconds": 0.05}


@contextmanager
def rolling_a_fleet(cluster: Cluster, store: GrowingStore) -> Iterator[Running]:
    """The same with many servers, seen through Prometheus."""
    with serving(store) as url, running(None, "--prometheus-url", url, *cluster.options) as sidecar:
        yield sidecar


def test_a_workload_of_many_replicas_is_rolled_for_what_they_do_together(cluster: Cluster) -> None:
    """One row of the store, one decision, one patch."""
    with rolling_a_fleet(cluster, GrowingStore({"a": FLEET})) as sidecar:
        sidecar.wait_for(told("started"))
        assert sidecar.end() == OK
    (patch,) = cluster.sent("patch")
    assert patch.body


def test_nothing_is_rolled_while_several_workloads_match(cluster: Cluster) -> None:
    """Nobody could say which of them is meant; the rows are named."""
    with rolling_a_fleet(cluster, GrowingStore({"a": FLEET, "b": FLEET})) as sidecar:
        seen = sidecar.wait_for(lambda line: line.get("reason") == "too_many_groups")
        sidecar.wait_for(lambda line: line.get("reason") == "too_many_groups", seen)
        assert sidecar.end() == OK
    assert "ns-a/llama, ns-b/llama" in sidecar.log[seen - 1]["message"]
    assert cluster.sent("patch") == []


def test_a_rollout_is_seen_through_while_the_server_is_down_for_it(cluster: Cluster) -> None:
    """No page can be read, and the workload is looked at all the same."""
    with rolling(cluster) as (sidecar, server):
        started = sidecar.wait_for(told("started"))
        server.close()
        down = sidecar.wait_for(lambda line: line.get("reason") == "server_unreachable", started)
        cluster.finish()
        sidecar.wait_for(told("settling"), down)
        assert cluster.workload["metadata"]["annotations"]["adaptive-k.io/phase"] == "settling"
        sidecar.wait_for(lambda line: line.get("reason") == "server_unreachable", len(sidecar.log))
        page = sidecar.get("/")[1]
        assert "rolls the workload" in page
        assert "The workload is being rolled." in page
        assert "the gain is being measured" in page or "its gain is measured next" in page
        assert sidecar.end() == OK
    assert len([each for each in sidecar.log if told("rolling")(each)]) == 1, "what is still so is not told again"


def test_a_dry_run_shows_the_patch_and_changes_nothing(cluster: Cluster) -> None:
    """The API server checks it; not even a Lease or an Event is written."""
    before = cluster.double.version
    with rolling(cluster, "--rollout-dry-run") as (sidecar, _):
        position = sidecar.wait_for(told("dry_run"))
        sidecar.wait_for(lambda line: line["event"] == "decision", position)
        assert sidecar.end() == OK
    line = sidecar.log[position - 1]
    assert line["patch"] in [each.body for each in cluster.sent("patch")]
    assert {"op": "replace", "path": "/spec/template/spec/containers/0/args/3", "value": line["after"]} in line["patch"]
    assert {each.query["dryRun"] for each in cluster.sent("patch")} == {"All"}
    assert {each.verb for each in cluster.double.sent} == {"get", "patch"}
    assert (config_of(cluster.workload), cluster.double.version) == (CONFIG, before)


def test_frozen_nothing_is_begun(cluster: Cluster, tmp_path: Path) -> None:
    """Until the file is gone."""
    freeze = tmp_path / "freeze"
    freeze.touch()
    with rolling(cluster, "--freeze-file", str(freeze)) as (sidecar, _):
        frozen = sidecar.wait_for(lambda line: line.get("outcome") == "frozen")
        assert cluster.sent("patch") == []
        freeze.unlink()
        sidecar.wait_for(told("started"), frozen)


def test_what_the_api_server_refuses_is_told_counted_and_does_not_stop_the_watch(cluster: Cluster) -> None:
    """By name, with the remedy; recommending goes on."""
    cluster.double.faults.append(Fault("patch", status(403, "forbidden to you"), times=1000))
    with rolling(cluster) as (sidecar, _):
        told_at = sidecar.wait_for(told("forbidden"))
        sidecar.wait_for(lambda line: line["event"] == "decision" and line["outcome"] == "failed", told_at - 1)
        assert "forbidden to you - grant it in the Role" in sidecar.log[told_at - 1]["message"]
        assert json.loads(sidecar.get("/recommendation")[1])["servers"][0]["recommendation"]["k"] == 0
        counted = 'adaptive_k_actuation_failures_total{engine="0",model_name="org/model",reason="rollout_refused"}'
        assert counted.partition("{")[0] in sidecar.get("/metrics")[1]
        assert sidecar.end() == OK
    assert config_of(cluster.workload) == CONFIG


def test_the_options_reach_the_rollout_in_its_own_units(tmp_path: Path) -> None:
    """Hours as seconds; a slow loop renews its Lease in time, and a quick one never waits longer than a pass.

    The port tells two pods apart that share their node's network, and so its name.
    """
    (tmp_path / "namespace").write_text("models\n")
    given = {
        "mode": "rollout", "rollout_kind": "StatefulSet", "rollout_name": "vllm", "method": "eagle",
        "rollout_service_account": str(tmp_path), "rollout_container": "engine", "rollout_variable": "CONFIG",
        "rollout_schedule": False, "rollout_startup_seconds": 900, "rollout_horizon_hours": 24,
        "rollout_minimum_interval_hours": 12, "rollout_changes_per_day": 1, "rollout_timeout_seconds": 7200,
        "rollout_settle_seconds": 60, "rollout_dry_run": True,
    }  # fmt: skip

    def settings(**more: Any) -> RolloutSettings:
        options = load("run", given | more, {})
        assert isinstance(options, RunOptions)
        return rollout_settings(options)

    slow = settings(interval_seconds=45)
    assert slow == RolloutSettings(
        "models", Kind.STATEFUL_SET, "vllm", f"{gethostname()}:9460", "engine", "CONFIG", "eagle", use_schedule=False,
        startup_seconds=900, horizon_seconds=86_400, minimum_interval_seconds=43_200, changes_a_day=1,
        rollout_timeout_seconds=7200, settle_seconds=60, lease_seconds=135, dry_run=True,
    )  # fmt: skip
    assert settings(interval_seconds=2).watch_seconds == 1
    assert settings(interval_seconds=2).lease_seconds == 60
    assert settings(rollout_namespace="other").namespace == "other"
    assert settings(listen="[::]:9999").identity == f"{gethostname()}:9999"


@pytest.mark.parametrize(
    ("whole", "shown"),
    [
        ("{}", ("{}", '{"k":1}')),
        ("--speculative-config={}", ("--speculative-config={}", '--speculative-config={"k":1}')),
        ("export HF_TOKEN=hf_secret && vllm serve m -sc '{}' --api-key secret", ("…{}…", '…{"k":1}…')),
    ],
)
def test_what_stands_around_the_config_in_a_script_is_not_logged(
    caplog: pytest.LogCaptureFixture, whole: str, shown: tuple[str, str]
) -> None:
    """It may hold a token; the patch that is sent has all of it."""
    caplog.set_level("INFO", "adaptive_k")
    edit = Edit("/a", "{}", '{"k":1}')
    name = {"op": "test", "path": "/name", "value": "vllm"}
    patch = (
        name,
        {"op": "test", "path": "/a", "value": whole},
        {"op": "replace", "path": "/a", "value": whole.replace("{}", '{"k":1}')},
    )
    Teller(ManualClock()).tell(RolloutResult(RolloutOutcome.DRY_RUN, "So.", edit, patch))
    (record,) = caplog.records
    logged = json.loads(record.message)["patch"]
    assert logged[0] == name
    assert tuple(each["value"] for each in logged[1:]) == shown
    assert "secret" not in record.message


def test_what_lasts_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Six lines a minute would hide the one that matters."""
    caplog.set_level("INFO", "adaptive_k")
    teller = Teller(ManualClock())
    for outcome, sentence in (
        (RolloutOutcome.NOTHING_TO_DO, "All is well."),
        (RolloutOutcome.TOO_SOON, "6 h are left."),
        (RolloutOutcome.TOO_SOON, "5.9 h are left."),
        (RolloutOutcome.NOTHING_TO_DO, "All is well."),
        (RolloutOutcome.FORBIDDEN, "You may not patch."),
        (RolloutOutcome.FORBIDDEN, "You may not patch."),
        (RolloutOutcome.FORBIDDEN, "You may not get."),
    ):
        teller.tell(RolloutResult(outcome, sentence))
    teller.tell(RolloutResult(RolloutOutcome.FORBIDDEN, "You may not get.", warnings=("No Event.",)))
    lines = [json.loads(line) for line in caplog.messages]
    assert [line["message"] for line in lines] == [
        "6 h are left.",
        "You may not patch.",
        "You may not get.",
        "You may not get.",
    ]
    assert lines[-1]["warnings"] == ["No Event."]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rollout-kind", "Deployment"), "--mode rollout needs --rollout-kind and --rollout-name"),
        (("--rollout-name", "vllm"), "--mode rollout needs --rollout-kind and --rollout-name"),
        (("--rollout-name", "vLLM!", "--rollout-kind", "Deployment"), "--rollout-name: "),
        (("--rollout-minimum-interval-hours", "0.1"), "--rollout-minimum-interval-hours: "),
        (("--rollout-api-url", "kubernetes"), "--rollout-api-url: an address like"),
        (WORKLOAD[2:], "this is not a pod with a service account"),
        ((*WORKLOAD[2:], "--rollout-api-url", "http://127.0.0.1:1"), "give --rollout-namespace"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options: tuple[str, ...], words: str, command: Command) -> None:
    """With one sentence, before anything is watched."""
    said = command("run", "--mode", "rollout", *options)
    assert (said.code, said.out) == (USAGE, "")
    assert words in said.err
