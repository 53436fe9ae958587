"""The kustomize Components over the examples, and over workloads that are none of them."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.options.run import RunOptions
from controller.settings import load
from deploy.manifests import MINORS, Object, not_restricted, of_kind, only, ours, settings_file, validate
from deploy.tools import CHART, KUBERNETES, Tools

EXAMPLES = sorted(path for path in (KUBERNETES / "examples").iterdir() if path.is_dir())
APPLYING = [path for path in EXAMPLES if path.name != "vllm-ngram-cpu"]
IMAGE = "registry.example/adaptive-k:0.1.0"
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
every_applying = pytest.mark.parametrize("example", APPLYING, ids=[path.name for path in APPLYING])
Write = Callable[..., Path]


def attached(manifests: list[Object]) -> Object:
    """The workload that adaptive-k was put into."""
    (found,) = (each for each in manifests if "adaptive-k.io/attach" in each["metadata"].get("labels", {}))
    return found


def pod(workload: Object) -> Object:
    """The spec of its pods."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def environment(container: Object) -> dict[str, Any]:
    """Its variables."""
    return {each["name"]: each.get("value") for each in container.get("env", [])}


@every_example
def test_an_example_builds_alike_with_both_generations(helm3: Tools, helm4: Tools, example: Path) -> None:
    """kustomize 5.5 and 5.7."""
    assert helm3.kustomize(example) == helm4.kustomize(example)


@every_example
@pytest.mark.parametrize("minor", MINORS)
def test_an_example_fits_kubernetes(helm4: Tools, example: Path, minor: str) -> None:
    """Strictly."""
    validate(helm4.kustomize(example), minor)


@every_example
def test_without_adaptive_k_everything_is_as_it_was(helm4: Tools, example: Path) -> None:
    """What the Components add is all that they change: taken out of the result, the base is left."""
    base, built = helm4.kustomize(example / "base"), helm4.kustomize(example)
    assert [without(each) for each in built if ours_by_name(each) is False] == base


@every_example
def test_what_adaptive_k_brings_can_be_removed_by_one_label(helm4: Tools, example: Path) -> None:
    """So that nothing is left that nobody knows the origin of."""
    brought = [each for each in helm4.kustomize(example) if ours_by_name(each)]
    assert {each["kind"] for each in brought} == {"ConfigMap", "PodMonitor"}
    for each in brought:
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "adaptive-k"


def ours_by_name(each: Object) -> bool:
    """Whether an object is adaptive-k's own."""
    return bool(each["metadata"]["name"].startswith("adaptive-k"))


def without(each: Object) -> Object:
    """An object without what names adaptive-k; VLLM_PLUGINS and PYTHONPATH without its part."""
    each = copy.deepcopy(each)
    each["metadata"].get("labels", {}).pop("adaptive-k.io/attach", None)
    if each["kind"] != "Deployment":
        return each
    template = each["spec"]["template"]
    template["metadata"]["labels"].pop("adaptive-k.io/attached", None)
    spec = template["spec"]
    for part in ("initContainers", "volumes"):
        spec[part] = [item for item in spec.get(part, []) if not item["name"].startswith("adaptive-k")]
        if not spec[part]:
            del spec[part]
    for container in spec["containers"]:
        container["env"] = [mine for item in container.get("env", []) for mine in theirs(item)]
        mounts = container.get("volumeMounts", [])
        container["volumeMounts"] = [item for item in mounts if not item["name"].startswith("adaptive-k")]
        for part in ("env", "volumeMounts"):
            if not container[part]:
                del container[part]
    return each


def theirs(variable: Object) -> list[Object]:
    """A variable of vLLM's container as it was; none when it was not there."""
    if variable["name"] == "AK_VLLM_TOKEN_FILE":
        return []
    for name, separator, mine in (("VLLM_PLUGINS", ",", "adaptive_k"), ("PYTHONPATH", ":", "/adaptive-k-plugin")):
        if variable["name"] == name:
            rest = [part for part in variable["value"].split(separator) if part != mine]
            return [variable | {"value": separator.join(rest)}] if rest else []
    return [variable]


@every_example
def test_adaptive_k_runs_restricted_in_every_example(helm4: Tools, example: Path) -> None:
    """Whatever the rest of the pod may do; and its image is the operator's."""
    spec = pod(attached(helm4.kustomize(example)))
    for container in ours(spec):
        assert not_restricted(container, spec["volumes"]) == []
        assert container["image"] == IMAGE


@every_example
def test_the_command_takes_the_configuration_of_an_example(helm4: Tools, example: Path, tmp_path: Path) -> None:
    """File, variables and arguments together; the files that they name are mounted."""
    manifests = helm4.kustomize(example)
    path = tmp_path / "config.yaml"
    path.write_text(settings_file(manifests), "utf-8")
    *_, sidecar = ours(pod(attached(manifests)))
    variables = environment(sidecar)
    assert variables.pop("ADAPTIVE_K_CONFIG") == "/etc/adaptive-k/config/config.yaml"
    assert sidecar["args"] == ["run", "--listen", "0.0.0.0:9460"]
    given = {name.removeprefix("ADAPTIVE_K_").lower(): value for name, value in variables.items()}
    options = load("run", {"config": path, **given}, {})
    assert isinstance(options, RunOptions)
    folders = [each["mountPath"] for each in sidecar["volumeMounts"]]
    files = [value for value in options.model_dump().values() if isinstance(value, Path)]
    assert {str(file.parent) for file in files} <= set(folders)
    assert options.mode == ("apply" if example in APPLYING else "recommend")


@every_applying
def test_vllm_gets_the_plugin_beside_what_it_had(helm4: Tools, example: Path) -> None:
    """Both variables hold what the base had; the plugin and the token are mounted where they say."""
    before = environment(pod(base_of(helm4, example))["containers"][0])
    vllm = pod(attached(helm4.kustomize(example)))["containers"][0]
    after = environment(vllm)
    for name, separator in (("VLLM_PLUGINS", ","), ("PYTHONPATH", ":")):
        had = set(filter(None, (before.get(name) or "").split(separator)))
        assert had < set(after[name].split(separator))
    mounts = {each["mountPath"]: each["name"] for each in vllm["volumeMounts"] if each.get("readOnly")}
    assert mounts["/adaptive-k-plugin"] == "adaptive-k-plugin"
    assert mounts[str(Path(after["AK_VLLM_TOKEN_FILE"]).parent)] == "adaptive-k-plugin-token"


def base_of(tools: Tools, example: Path) -> Object:
    """The workload of an example as it was."""
    now = attached(tools.kustomize(example))
    (before,) = (
        each
        for each in of_kind(tools.kustomize(example / "base"), now["kind"])
        if each["metadata"]["name"] == now["metadata"]["name"]
    )
    return before


@pytest.mark.parametrize("name", ["adaptive-k", "adaptive-k-vllm"])
def test_a_forgotten_input_fails_the_build_by_name(tools: Tools, overlay: Write, name: str) -> None:
    """A pod that waits for a ConfigMap would be found out much later."""
    ran = tools.kubectl("kustomize", overlay(DEPLOYMENT, forget=name), check=False)
    assert ran.code != 0
    assert f"ConfigMap.[noVer].[noGrp]/{name}.[noNs]" in ran.err


def test_a_stateful_set_and_a_bare_container_are_patched_too(tools: Tools, overlay: Write) -> None:
    """Without env, volumeMounts or volumes of its own, and under any name of container."""
    workload = attached(tools.kustomize(overlay(DEPLOYMENT.replace("kind: Deployment", "kind: StatefulSet"))))
    assert workload["kind"] == "StatefulSet"
    (container,) = pod(workload)["containers"]
    assert environment(container)["VLLM_PLUGINS"] == "adaptive_k"
    assert len(container["volumeMounts"]) == 2
    assert [each["name"] for each in ours(pod(workload))] == ["adaptive-k-plugin", "adaptive-k"]


def test_a_workload_without_the_label_is_left_alone(tools: Tools, overlay: Write) -> None:
    """Such as the router beside vLLM."""
    folder = overlay(DEPLOYMENT.replace("adaptive-k.io/attach", "example.com/other"))
    before = yaml.safe_load(DEPLOYMENT.replace("adaptive-k.io/attach", "example.com/other"))
    assert only(tools.kustomize(folder), "Deployment") == before


def test_a_prefix_of_names_reaches_the_configuration(tools: Tools, overlay: Write) -> None:
    """As llm-d's recipes have one."""
    manifests = tools.kustomize(overlay(DEPLOYMENT, prefix="mine-"))
    volumes = {each["name"]: each for each in pod(attached(manifests))["volumes"]}
    (settings,) = (each for each in of_kind(manifests, "ConfigMap") if "config.yaml" in each["data"])
    assert settings["metadata"]["name"].startswith("mine-adaptive-k-")
    assert volumes["adaptive-k-config"]["configMap"]["name"] == settings["metadata"]["name"]


def test_the_pod_monitor_finds_the_pods(helm4: Tools) -> None:
    """By the label that the Component puts on them, at a port that they have."""
    manifests = helm4.kustomize(EXAMPLES[0])
    spec = only(manifests, "PodMonitor")["spec"]
    template = attached(manifests)["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    *_, sidecar = ours(template["spec"])
    assert [each["port"] for each in spec["podMetricsEndpoints"]] == [port["name"] for port in sidecar["ports"]]


def test_chart_and_component_run_the_same_container(helm4: Tools) -> None:
    """The same restrictions, resources, port and probe, however it was attached."""
    (chart,) = ours(pod(only(helm4.render(CHART, "--values", CHART / "ci" / "standalone-values.yaml"), "Deployment")))
    *_, component = ours(pod(attached(helm4.kustomize(EXAMPLES[0]))))
    for part in ("name", "securityContext", "resources", "ports", "livenessProbe"):
        assert chart[part] == component[part]


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: some, labels: {adaptive-k.io/attach: "true"}}
spec:
  selector: {matchLabels: {app: some}}
  template:
    metadata: {labels: {app: some}}
    spec:
      containers:
        - {name: whatever, image: vllm}
"""


@pytest.fixture
def overlay(tmp_path: Path) -> Write:
    """Writes an operator's kustomization over a workload."""

    def write(workload: str, *, forget: str = "", prefix: str = "") -> Path:
        shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
        folder = tmp_path / "mine"
        folder.mkdir()
        inputs = [
            {"name": "adaptive-k", "literals": ["config.yaml=method: ngram"]},
            {"name": "adaptive-k-vllm", "literals": ["VLLM_PLUGINS=adaptive_k", "PYTHONPATH=/adaptive-k-plugin"]},
        ]
        kustomization = {
            "resources": ["workload.yaml"],
            "components": ["../kubernetes/apply"],
            "configMapGenerator": [each for each in inputs if each["name"] != forget],
            "namePrefix": prefix,
        }
        (folder / "workload.yaml").write_text(workload, "utf-8")
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
        return folder

    return write
