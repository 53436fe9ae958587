"""What enters vLLM's environment: the standard library, vLLM, and nothing that Python 3.10 does not know."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

import controller

ROOT = Path(__file__).parents[3]
MODULES = sorted((ROOT / "controller" / "engine").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_a_module_imports_the_standard_library_vllm_and_its_neighbours(path: Path) -> None:
    """Absolute imports name the standard library or vLLM; relative ones stay within the folder."""
    tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 10))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = {(node.module or "").partition(".")[0]}
        else:
            assert not isinstance(node, ast.ImportFrom) or node.level == 1
            continue
        assert roots <= sys.stdlib_module_names | {"vllm"}


def test_the_wheel_brings_nothing_along_and_both_halves_share_a_name() -> None:
    """VLLM_PLUGINS names what may load: one name must not be able to load one half."""
    project = tomllib.loads((ROOT / "engine-plugin" / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dependencies"] == []
    groups = project["entry-points"]
    assert sorted(groups) == ["vllm.endpoint_plugins", "vllm.general_plugins"]
    assert [list(names) for names in groups.values()] == [["adaptive_k"]] * 2
    for target in (target for names in groups.values() for target in names.values()):
        module, _, name = target.partition(":")
        source = (ROOT / "controller" / "engine" / f"{module.removeprefix('adaptive_k_vllm.')}.py").read_text("utf-8")
        defined = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in defined


def test_the_sidecars_wheel_leaves_the_plugin_out() -> None:
    """Two copies under two names would sooner or later be two versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"] == ["controller/engine"]
    assert controller.__version__
