"""What the deployment documents tell an operator to write is what works."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from controller.settings import load
from deploy.manifests import of_kind, only, ours, validate
from deploy.tools import KUBERNETES, ROOT, Tools, objects

WALKTHROUGH = (ROOT / "deploy" / "walkthrough.md").read_text("utf-8")
DOCUMENTS = (
    ROOT / "deploy" / "README.md",
    ROOT / "deploy" / "walkthrough.md",
    ROOT / "helm" / "adaptive-k" / "README.md",
)
EAGLE = KUBERNETES / "examples" / "vllm-eagle"


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_link_leads_somewhere(path: Path) -> None:
    """A file, or a heading of the same page."""
    text = path.read_text("utf-8")
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link[1:] in headings if link.startswith("#") else (path.parent / link).exists(), link


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The operator's folder as the walkthrough lays it out, with the kustomization of its second step."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    folder = tmp_path / "mine"
    shutil.copytree(EAGLE / "base", folder / "vllm")
    shutil.copytree(EAGLE / "attach", folder / "attach")
    shutil.copy(EAGLE / "config.yaml", folder)
    (folder / "kustomization.yaml").write_text(blocks()[0], "utf-8")
    return folder


def blocks() -> list[str]:
    """The YAML in the walkthrough."""
    return re.findall(r"```yaml\n(.*?)```", WALKTHROUGH, re.DOTALL)


def test_the_first_kustomization_of_the_walkthrough_only_adds(tools: Tools, mine: Path) -> None:
    """A sidecar, and its configuration; vLLM's own container is as it was."""
    before, after = tools.kustomize(mine / "vllm"), tools.kustomize(mine)
    validate(after, "1.29")
    was, now = (only(manifests, "Deployment")["spec"]["template"]["spec"] for manifests in (before, after))
    assert now["containers"] == was["containers"]
    assert [each["name"] for each in ours(now)] == ["adaptive-k"]
    assert len(after) == len(before) + 1


def test_the_second_kustomization_of_the_walkthrough_applies(tools: Tools, mine: Path) -> None:
    """With both lists joined, as it says; forgetting the inputs fails with the message that it shows."""
    first, second = (yaml.safe_load(block) for block in blocks())
    forgetful = first | {"components": second["components"]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(forgetful), "utf-8")
    message = "nothing selected by ConfigMap.[noVer].[noGrp]/adaptive-k-vllm.[noNs]:data.VLLM_PLUGINS"
    assert message in WALKTHROUGH
    assert message in tools.kubectl("kustomize", mine, check=False).err
    joined = forgetful | {"configMapGenerator": first["configMapGenerator"] + second["configMapGenerator"]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(joined), "utf-8")
    after = objects(tools.kubectl("kustomize", mine).out)
    assert [each["name"] for each in ours(only(after, "Deployment")["spec"]["template"]["spec"])] == [
        "adaptive-k-plugin",
        "adaptive-k",
    ]
    assert len(of_kind(after, "ConfigMap")) == 1, "the inputs do not reach the cluster"


def test_the_commands_of_the_walkthrough_run_in_the_pod(tmp_path: Path) -> None:
    """`recommend` and `reset` read the settings of `run` that lie there, in the file and in the variables."""
    path = tmp_path / "config.yaml"
    path.write_text("method: eagle\nmax-num-seqs: 256\nlisten: 0.0.0.0:9460\ncheckpoint: /a/b\n", "utf-8")
    variables = {"ADAPTIVE_K_CONFIG": str(path), "ADAPTIVE_K_MODE": "apply", "ADAPTIVE_K_PLUGIN_TOKEN_FILE": "/t"}
    load("recommend", {"url": "http://127.0.0.1:8000"}, variables)
    load("reset", {"plugin_token_file": variables["ADAPTIVE_K_PLUGIN_TOKEN_FILE"]}, variables)
