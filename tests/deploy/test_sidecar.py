"""The named templates in the chart of somebody's vLLM server, as deploy/helm-sidecar-example shows it."""

import shutil
from pathlib import Path

import pytest

from controller.options.run import RunOptions
from controller.settings import load
from deploy.manifests import MINORS, Object, not_restricted, only, ours, settings_file, validate
from deploy.tools import CHART, ROOT, Tools

EXAMPLE = ROOT / "deploy" / "helm-sidecar-example"
RECOMMEND = "--set=adaptive-k.config.mode=recommend"


@pytest.fixture(scope="session")
def vllm_chart(helm4: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its dependency, as `helm dependency build` brings it."""
    folder = tmp_path_factory.mktemp("charts")
    shutil.copytree(CHART, folder / "helm" / "adaptive-k")
    chart = Path(shutil.copytree(EXAMPLE, folder / "deploy" / EXAMPLE.name))
    helm4.helm("dependency", "build", chart)
    return chart


def pod(manifests: list[Object]) -> Object:
    """The spec of vLLM's pod."""
    spec: Object = only(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def test_the_example_lints_and_fits_kubernetes(tools: Tools, vllm_chart: Path) -> None:
    """For each way in which it can be used."""
    tools.helm("lint", "--strict", vllm_chart)
    for argument in ("--set=adaptive-k.enabled=true", "--set=adaptive-k.enabled=false", RECOMMEND):
        for minor in MINORS:
            validate(tools.render(vllm_chart, argument), minor)


def test_the_sidecar_is_native_and_holds_nothing_up(tools: Tools, vllm_chart: Path) -> None:
    """vLLM's start waits for a startup probe of a sidecar, and its Service for a readiness probe."""
    *_, sidecar = pod(tools.render(vllm_chart))["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("adaptive-k", "Always")
    assert "livenessProbe" in sidecar
    assert not {"startupProbe", "readinessProbe"} & set(sidecar)


def test_adaptive_k_runs_restricted_beside_vllm(helm4: Tools, vllm_chart: Path) -> None:
    """Whatever vLLM's own container may do."""
    spec = pod(helm4.render(vllm_chart))
    for container in ours(spec):
        assert not_restricted(container, spec["volumes"]) == []


def test_both_containers_have_the_token_and_the_plugin_in_the_same_place(helm4: Tools, vllm_chart: Path) -> None:
    """vLLM finds the plugin by PYTHONPATH and VLLM_PLUGINS, which are the operator's words."""
    spec = pod(helm4.render(vllm_chart))
    (vllm,) = spec["containers"]
    environment = {each["name"]: each.get("value") for each in vllm["env"]}
    mounts = {each["mountPath"]: each for each in vllm["volumeMounts"]}
    assert environment["VLLM_PLUGINS"] == "adaptive_k"
    assert mounts[environment["PYTHONPATH"]] == {
        "name": "adaptive-k-plugin",
        "mountPath": "/adaptive-k-plugin",
        "readOnly": True,
    }
    copier, sidecar = spec["initContainers"]
    assert copier["volumeMounts"] == [{"name": "adaptive-k-plugin", "mountPath": "/plugin"}]
    token = mounts[str(Path(environment["AK_VLLM_TOKEN_FILE"]).parent)]
    assert token["readOnly"] is True
    assert token in sidecar["volumeMounts"]


def test_the_sidecar_asks_vllm_on_the_loopback(helm4: Tools, vllm_chart: Path, tmp_path: Path) -> None:
    """Nothing but the pod itself is needed."""
    path = tmp_path / "config.yaml"
    path.write_text(settings_file(helm4.render(vllm_chart)), "utf-8")
    options = load("run", {"config": path}, {})
    assert isinstance(options, RunOptions)
    assert (options.url, options.mode) == ("http://127.0.0.1:8000", "apply")


def test_a_recommending_sidecar_leaves_vllms_container_alone(helm4: Tools, vllm_chart: Path) -> None:
    """The same container, to the byte, as without adaptive-k."""
    without = pod(helm4.render(vllm_chart, "--set=adaptive-k.enabled=false"))
    beside = pod(helm4.render(vllm_chart, RECOMMEND, "--set=adaptive-k.pluginTokenSecret.name="))
    assert beside["containers"] == without["containers"]
    assert [each["name"] for each in beside["initContainers"]] == ["adaptive-k"]


def test_taken_out_it_leaves_no_trace(tools: Tools, vllm_chart: Path) -> None:
    """No object, and no word in the pod."""
    manifests = tools.render(vllm_chart, "--set=adaptive-k.enabled=false")
    assert [each["kind"] for each in manifests] == ["Deployment"]
    assert "adaptive" not in str(manifests)


def test_a_pod_monitor_selects_vllms_pod(helm4: Tools, vllm_chart: Path) -> None:
    """By a label that the templates bring along."""
    manifests = helm4.render(vllm_chart, "--set=adaptive-k.podMonitor.enabled=true")
    labels = only(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert only(manifests, "PodMonitor")["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--set=adaptive-k.vllm.plugins=", "VLLM_PLUGINS in full"),
        ("--set=adaptive-k.vllm.pythonPath=", "PYTHONPATH in full"),
        ("--set=adaptive-k.vllm.pythonPath=/elsewhere", "must name vllm.pluginFolder"),
        ("--set=adaptive-k.attach=standalone", "set attach to sidecar"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(tools: Tools, vllm_chart: Path, argument: str, words: str) -> None:
    """VLLM_PLUGINS is an allowlist: a guess would switch plugins off."""
    url = "--set=adaptive-k.config.url=http://127.0.0.1:8000"
    ran = tools.helm("template", "release", vllm_chart, argument, url, check=False)
    assert ran.code != 0
    assert words in ran.err


def test_a_rollout_from_vllms_pod_shows_its_token_to_one_container(helm4: Tools, vllm_chart: Path) -> None:
    """vLLM's container never sees it."""
    rollout = "--set=adaptive-k.rollout.enabled=true,adaptive-k.rollout.name=release,adaptive-k.config.mode=rollout"
    manifests = helm4.render(vllm_chart, rollout, "--set=adaptive-k.serviceAccount.name=vllm")
    spec = pod(manifests)
    holders = [
        each["name"]
        for each in [*spec["initContainers"], *spec["containers"]]
        if any(mount["name"] == "adaptive-k-api" for mount in each["volumeMounts"])
    ]
    assert holders == ["adaptive-k"]
    assert only(manifests, "RoleBinding")["subjects"][0]["name"] == "vllm"
