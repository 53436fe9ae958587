"""The chart under Helm 3 and 4: what it makes, what it refuses, and that it may do nothing it need not."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.act.rollout.api import SERVICE_ACCOUNT
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.workload import Kind
from controller.options.run import RunOptions
from controller.options.verbs import ResetOptions
from controller.settings import load
from deploy.manifests import MINORS, Object, not_restricted, of_kind, only, ours, pod_specs, settings_file, validate
from deploy.tools import CHART, Tools

CASES = sorted((CHART / "ci").glob("*.yaml"))
IDS = [path.stem.removesuffix("-values") for path in CASES]
FULL = CHART / "ci" / "standalone-full-values.yaml"
ROLLOUT = CHART / "ci" / "rollout-values.yaml"
FLEET = CHART / "ci" / "fleet-values.yaml"
STANDALONE = CHART / "ci" / "standalone-values.yaml"
MONITORING = "--api-versions=monitoring.coreos.com/v1/PodMonitor"
RULES = "groups:\n  - name: example\n    rules:\n      - alert: Example\n        expr: up == 0\n        annotations:\n"
RULES += '          summary: "{{ $labels.job }} is down"\n'
every_case = pytest.mark.parametrize("values", CASES, ids=IDS)


@every_case
def test_the_chart_lints_without_a_warning(tools: Tools, values: Path) -> None:
    """`helm lint --strict` counts warnings as errors."""
    tools.helm("lint", "--strict", CHART, "--values", values)


@every_case
def test_helm_3_and_helm_4_make_the_same(helm3: Tools, helm4: Tools, values: Path) -> None:
    """Object by object."""
    assert helm3.render(CHART, "--values", values) == helm4.render(CHART, "--values", values)


@every_case
@pytest.mark.parametrize("minor", MINORS)
def test_every_object_fits_kubernetes(helm4: Tools, values: Path, minor: str) -> None:
    """Strictly: an unknown field is a fault."""
    validate(helm4.render(CHART, "--values", values), minor)


@every_case
def test_every_object_says_which_release_it_belongs_to(helm4: Tools, values: Path) -> None:
    """So that one can see that nothing is left after it is gone."""
    for each in helm4.render(CHART, "--values", values):
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "release"
        assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "adaptive-k"


@every_case
def test_the_command_takes_the_configuration_that_the_chart_writes(helm4: Tools, values: Path, tmp_path: Path) -> None:
    """Each option that was given arrives, and the files that it names are mounted."""
    manifests = helm4.render(CHART, "--values", values)
    path = tmp_path / "config.yaml"
    path.write_text(settings_file(manifests), "utf-8")
    options = load("run", {"config": path}, {})
    assert isinstance(options, RunOptions)
    for name, value in yaml.safe_load(values.read_text("utf-8")).get("config", {}).items():
        assert getattr(options, name.replace("-", "_")) == value
    for spec in pod_specs(manifests):
        folders = [mount["mountPath"] for mount in ours(spec)[0]["volumeMounts"]]
        for value in options.model_dump().values():
            assert not isinstance(value, Path) or str(value.parent) in folders


def test_a_reset_in_the_pod_needs_no_option(helm4: Tools, tmp_path: Path) -> None:
    """At three in the morning nobody looks for the token's path: `controller reset` reads the same file."""
    path = tmp_path / "config.yaml"
    path.write_text(settings_file(helm4.render(CHART, "--values", FULL)), "utf-8")
    options = load("reset", {"config": path}, {})
    assert isinstance(options, ResetOptions)
    assert (options.url, str(options.plugin_token_file)) == (
        "https://vllm.models.svc:8443",
        "/etc/adaptive-k/plugin-token/token",
    )


EVERY_OPTION: dict[str, dict[str, Any]] = {
    "one server": {
        "url": "https://vllm:8443", "token-file": "/a/token", "ca-file": "/a/ca", "timeout-seconds": 2.5,
        "page-limit-bytes": 123456789, "method": "eagle3", "k": 0, "capture-limit-tokens": 1048576,
        "moe-models": "moe|-a\\d+b$", "profile": "/a/profile", "minimum-gain": 0.07, "minimum-drafts": 1000000,
        "max-num-seqs": 65536,
        "interval-seconds": 7, "cooldown-seconds": 0, "listen": "0.0.0.0:9461", "mode": "apply",
        "plugin-token-file": "/a/plugin", "owner": "me@cluster", "ttl-seconds": 3600, "allow-k-without-graph": True,
        "objective": "tpot", "tpot-target-ms": 12.5, "exploration-budget": 0, "freeze": True, "freeze-file": "/a/f",
        "stand-down-seconds": 60, "checkpoint": "/a/checkpoint", "rollout-kind": "StatefulSet", "rollout-name": "vllm",
        "rollout-namespace": "models", "rollout-container": "engine", "rollout-variable": "SPECULATIVE_CONFIG",
        "rollout-schedule": False, "rollout-dry-run": True, "rollout-minimum-interval-hours": 12,
        "rollout-changes-per-day": 1, "rollout-horizon-hours": 24, "rollout-startup-seconds": 900,
        "rollout-timeout-seconds": 7200, "rollout-settle-seconds": 0, "rollout-api-url": "http://127.0.0.1:8001",
        "rollout-service-account": "/a/account",
    },
    "many servers": {
        "prometheus-url": "https://prometheus:9090", "match": 'job="vllm"', "group-by": "namespace,workload",
        "username-file": "/a/user", "password-file": "/a/password", "org-id": "team-a", "query-timeout-seconds": 12.5,
        "answer-limit-bytes": 123456789, "groups-max": 1000, "warm-up-seconds": 0, "mode": "recommend",
    },
}  # fmt: skip
"""All options of `controller run`, as far as they go together."""


@pytest.mark.parametrize("case", EVERY_OPTION)
def test_every_option_can_be_set_together_and_arrives(tools: Tools, tmp_path: Path, case: str) -> None:
    """Large whole numbers too, which Helm holds as floats."""
    config = EVERY_OPTION[case]
    every = {name.replace("-", "_") for each in EVERY_OPTION.values() for name in each}
    assert every == set(RunOptions.model_fields), "a new option belongs here"
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": config}), "utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(settings_file(tools.render(CHART, "--values", values)), "utf-8")
    options = load("run", {"config": path}, {})
    found = {name: getattr(options, name.replace("-", "_")) for name in config}
    assert {name: str(value) if isinstance(value, Path) else value for name, value in found.items()} == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("{}", "set config.url"),
        ("config: {url: 'http://v:1', mode: apply}", "pluginTokenSecret.name"),
        ("config: {url: 'http://v:1', objective: tpot}", "tpot-target-ms"),
        ("{config: {url: 'http://v:1', mode: apply, ttl-seconds: 15}, pluginTokenSecret: {name: t}}", "at least twice"),
        ("config: {url: 'http://v:1', interval: 5}", "interval"),
        ("config: {url: 'http://v:1', interval-seconds: fast}", "interval-seconds"),
        ("config: {url: 'http://v:1', mode: rollout-please}", "mode"),
        ("config: {url: 'ftp://v'}", "url"),
        ("{config: {url: 'http://v:1'}, imaeg: {tag: x}}", "imaeg"),
        ("{config: {url: 'http://v:1'}, image: {digest: latest}}", "digest"),
        ("{config: {url: 'http://v:1'}, rollout: {enabled: true}}", "rollout.name"),
        ("{attach: sidecar, rollout: {enabled: true, name: v}}", "serviceAccount.name"),
        (
            "{config: {url: 'http://v:1'}, rollout: {enabled: true, name: v}, serviceAccount: {create: false}}",
            "all of them would get the Role",
        ),
        ("{attach: sidecar, rollout: {enabled: true, name: v}, serviceAccount: {name: default}}", "would get the Role"),
        ("config: {url: 'http://v:1', mode: rollout}", "go together"),
        ("{config: {url: 'http://v:1', mode: recommend}, rollout: {enabled: true, name: v}}", "go together"),
        ("{config: {url: 'http://v:1', rollout-name: w}, rollout: {enabled: true, name: v}}", 'the Role is for "v"'),
        ("{config: {url: 'http://v:1', rollout-namespace: w}, rollout: {enabled: true, name: v}}", "rollout-namespace"),
        ("{attach: sidecar, config: {prometheus-url: 'http://p'}}", "from outside"),
        ("config: {prometheus-url: 'http://p', url: 'http://v:1'}", "not both"),
        ("config: {prometheus-url: 'http://p', mode: apply, plugin-token-file: /t}", "applied live"),
        ("config: {url: 'http://v:1', match: 'a=\"b\"'}", "set config.prometheus-url"),
        ("config: {prometheus-url: 'http://p', match: up}", "match"),
        ("{attach: sidecar, networkPolicy: {enabled: true}}", "cut vLLM off"),
        ("{attach: sidecar, vllm: {plugins: lora_filesystem_resolver}}", "plugins"),
    ],
)
def test_a_wrong_value_is_refused_by_name(refusal: Callable[[str], str], values: str, words: str) -> None:
    """Before anything reaches the cluster."""
    assert words in refusal(values)


@every_case
def test_adaptive_k_runs_restricted(helm4: Tools, values: Path) -> None:
    """The restricted Pod Security standard, a read-only root and a memory limit."""
    for spec in pod_specs(helm4.render(CHART, "--values", values)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in ours(spec):
            assert not_restricted(container, spec["volumes"]) == []


def test_the_user_can_be_left_to_the_platform(tools: Tools) -> None:
    """OpenShift refuses any uid, gid or fsGroup but its own; everything else stays as it was."""
    ours_alone, theirs = (
        only(tools.render(CHART, "--values", STANDALONE, *more), "Deployment")["spec"]["template"]["spec"]
        for more in ((), ("--set=assignedUser=true",))
    )
    for spec in (ours_alone, *ours(ours_alone)):
        for name in ("runAsUser", "runAsGroup", "fsGroup"):
            spec["securityContext"].pop(name, None)
    assert theirs == ours_alone
    assert theirs["securityContext"]["runAsNonRoot"] is True


def test_the_check_of_restrictions_finds_each_loosening(helm4: Tools) -> None:
    """A check that cannot fail is worth nothing."""
    (spec,) = pod_specs(helm4.render(CHART, "--values", STANDALONE))
    (container,) = ours(spec)
    for name in container["securityContext"]:
        loose = copy.deepcopy(container)
        del loose["securityContext"][name]
        if name != "runAsGroup":
            assert len(not_restricted(loose, spec["volumes"])) == 1, name
    host = [each | {"hostPath": {"path": "/"}} for each in spec["volumes"]]
    assert not_restricted(container, host) == ["hostPath"]


@every_case
def test_only_a_rollout_gets_a_service_account_token_or_a_role(helm4: Tools, values: Path) -> None:
    """Least privilege is none."""
    manifests = helm4.render(CHART, "--values", values)
    rollout = values == ROLLOUT
    assert bool(of_kind(manifests, "Role")) is bool(of_kind(manifests, "RoleBinding")) is rollout
    assert not {"ClusterRole", "ClusterRoleBinding", "Secret"} & {each["kind"] for each in manifests}
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for spec in pod_specs(manifests):
        assert spec["automountServiceAccountToken"] is False
        assert any("projected" in volume for volume in spec["volumes"]) is rollout


@pytest.mark.parametrize("kind", Kind)
def test_a_rollout_may_touch_one_workload_and_one_lease(tools: Tools, kind: Kind) -> None:
    """By name, under the name of the Lease that the actuator asks for; events cannot be limited to a name."""
    arguments = ("--values", ROLLOUT, "--set", f"rollout.kind={kind.value}")
    manifests = tools.render(CHART, *arguments)
    lease = RolloutSettings(namespace="default", kind=kind, name="vllm", identity="pod").lease
    assert only(manifests, "Lease")["metadata"]["name"] == lease
    assert only(manifests, "Role")["rules"] == [
        {
            "apiGroups": [kind.group],
            "resources": [kind.plural],
            "resourceNames": ["vllm"],
            "verbs": ["get", "patch", "watch"],
        },
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [lease],
            "verbs": ["get", "update"],
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ]
    (subject,) = only(manifests, "RoleBinding")["subjects"]
    deployment = only(manifests, "Deployment")
    assert subject["name"] == deployment["spec"]["template"]["spec"]["serviceAccountName"]


def test_a_rollout_is_switched_on_for_the_workload_of_the_role(tools: Tools, tmp_path: Path) -> None:
    """In its own namespace, which the mounted service account tells; how carefully is said below config."""
    manifests = tools.render(CHART, "--values", ROLLOUT, "--set", "config.rollout-dry-run=true")
    path = tmp_path / "config.yaml"
    path.write_text(settings_file(manifests), "utf-8")
    options = load("run", {"config": path}, {})
    assert isinstance(options, RunOptions)
    assert (options.mode, options.rollout_kind, options.rollout_name) == ("rollout", "StatefulSet", "vllm")
    assert options.rollout_dry_run
    (spec,) = pod_specs(manifests)
    (mount,) = (each for each in ours(spec)[0]["volumeMounts"] if each["name"] == "adaptive-k-api")
    assert Path(mount["mountPath"]) == SERVICE_ACCOUNT
    (volume,) = (each for each in spec["volumes"] if each["name"] == "adaptive-k-api")
    token, authority, downward = volume["projected"]["sources"]
    assert token["serviceAccountToken"]["path"] == "token"
    assert [each["path"] for each in authority["configMap"]["items"]] == ["ca.crt"]
    assert [each["path"] for each in downward["downwardAPI"]["items"]] == ["namespace"]


def test_the_probes_ask_where_adaptive_k_listens(tools: Tools) -> None:
    """One declaration: the port of config.listen."""
    (spec,) = pod_specs(tools.render(CHART, "--values", FULL))
    (container,) = ours(spec)
    assert container["ports"] == [{"name": "adaptive-k", "containerPort": 9999}]
    paths = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert paths == [{"path": "/livez", "port": "adaptive-k"}, {"path": "/readyz", "port": "adaptive-k"}]


def test_a_changed_configuration_restarts_the_standalone_pod(helm4: Tools) -> None:
    """Its settings are read at the start."""
    sums = {
        only(helm4.render(CHART, "--values", STANDALONE, "--set", f"config.k={k}"), "Deployment")["spec"]["template"][
            "metadata"
        ]["annotations"]["checksum/config"]
        for k in (1, 2)
    }
    assert len(sums) == 2


def test_a_pod_monitor_selects_the_pod_and_a_port_that_it_has(tools: Tools) -> None:
    """With no field that the Prometheus operator does not know."""
    manifests = tools.render(CHART, "--values", FULL)
    monitor, deployment = only(manifests, "PodMonitor"), only(manifests, "Deployment")
    template = deployment["spec"]["template"]
    assert set(monitor["spec"]) == {"selector", "podMetricsEndpoints"}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "adaptive-k", "path": "/metrics", "interval": "30s"}
    assert endpoint["port"] in [port["name"] for port in ours(template["spec"])[0]["ports"]]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_a_fleets_pod_asks_prometheus_and_its_metrics_keep_the_labels_of_the_servers(tools: Tools) -> None:
    """Credentials are mounted, no checkpoint is kept, and `namespace` is the server's, not that of our own pod."""
    manifests = tools.render(CHART, "--values", FLEET, MONITORING)
    config = yaml.safe_load(settings_file(manifests))
    assert config["prometheus-url"] == "https://mimir.monitoring.svc/prometheus"
    assert (config["username-file"], config["ca-file"]) == (
        "/etc/adaptive-k/basic-auth/username",
        "/etc/adaptive-k/ca/ca.crt",
    )
    assert not {"url", "checkpoint", "mode"} & set(config)
    (endpoint,) = only(manifests, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    (spec,) = pod_specs(manifests)
    (secret,) = [each["secret"] for each in spec["volumes"] if each["name"] == "adaptive-k-basic-auth"]
    assert secret == {
        "secretName": "mimir-login",
        "items": [{"key": "username", "path": "username"}, {"key": "password", "path": "password"}],
    }


@pytest.mark.parametrize(
    ("arguments", "there"),
    [((), False), ((MONITORING,), True), ((MONITORING, "--set=podMonitor.enabled=false"), False)],
    ids=["unknown to the cluster", "known", "known and unwanted"],
)
def test_a_pod_monitor_comes_with_the_prometheus_operator(tools: Tools, arguments: tuple[str], *, there: bool) -> None:
    """Where there is none, an object of its kind would fail the whole install."""
    assert bool(of_kind(tools.render(CHART, "--values", STANDALONE, *arguments), "PodMonitor")) is there


def test_rules_and_dashboards_reach_the_cluster_as_they_are(tools: Tools, tmp_path: Path) -> None:
    """Their braces belong to Prometheus and Grafana, not to Helm."""
    chart = Path(shutil.copytree(CHART, tmp_path / "adaptive-k"))
    shutil.rmtree(chart / "files", ignore_errors=True)
    for name, text in (("prometheus/some.rules.yaml", RULES), ("grafana/some.json", '{"title": "{{ job }}"}')):
        (chart / "files" / name).parent.mkdir(parents=True)
        (chart / "files" / name).write_text(text, "utf-8")
    manifests = tools.render(chart, "--values", FULL)
    rule = only(manifests, "PrometheusRule")
    assert (rule["metadata"]["name"], rule["spec"]) == ("ak-some-rules", yaml.safe_load(RULES))
    (dashboard,) = (each for each in of_kind(manifests, "ConfigMap") if "some.json" in each["data"])
    assert dashboard["data"]["some.json"].strip() == '{"title": "{{ job }}"}'
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_network_policy_lets_in_the_scrape_and_out_to_vllm(tools: Tools) -> None:
    """And to the names; to the API server only for a rollout."""
    policy = only(tools.render(CHART, "--values", FULL), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": "adaptive-k", "protocol": "TCP"}]
    assert len(ingress["from"]) == 1
    assert ports(policy) == {53}
    assert ports(only(tools.render(CHART, "--values", ROLLOUT), "NetworkPolicy")["spec"]) == {53, 443, 6443}


def ports(policy: Object) -> set[Any]:
    """The ports that a policy lets out to anywhere."""
    return {port["port"] for rule in policy["egress"] for port in rule.get("ports", []) if "to" not in rule}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (STANDALONE, ("watches http://vllm:8000", "nothing: it only recommends", "no ServiceAccount token")),
        (FULL, ("k (num_speculative_tokens) of the running engine", "for\n    60 s", "deploy/ak -c adaptive-k")),
        (ROLLOUT, ("StatefulSet vllm, which restarts its pods", "2 times a day, 6 h apart", "rollout.enabled=false")),
        (FLEET, ('the servers in https://mimir.monitoring.svc/prometheus that match {namespace=~"llm-.*"}',)),
        (CHART / "ci" / "sidecar-apply-values.yaml", ("in the pods whose template includes it", "adaptive-k-freeze")),
    ],
    ids=["standalone", "full", "rollout", "fleet", "sidecar-apply"],
)
def test_the_notes_say_what_will_be_changed(helm4: Tools, values: Path, says: tuple[str, ...]) -> None:
    """And how to stop it. Helm 3 shows notes only to those who have a cluster."""
    notes = helm4.helm("install", "release", CHART, "--values", values, "--dry-run=client").out.partition("NOTES:")[2]
    for words in says:
        assert words in notes
