"""The chart's values, schema and tables are those of the declarations, and the schema says what the command says."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import controller
from controller.options.base import SettingsError
from controller.options.run import RunOptions
from controller.settings import load
from deploy.tools import CHART, ROOT

sys.path.append(str(ROOT / "helm"))
from values import copies, documents, option_schemas

DOCUMENTS = documents()
OPTIONS: dict[str, dict[str, Any]] = option_schemas()
TOGETHER: dict[str, dict[str, Any]] = {
    "mode": {"plugin-token-file": "/token", "rollout-kind": "Deployment", "rollout-name": "vllm"},
    "objective": {"tpot-target-ms": 30},
    "ttl-seconds": {"interval-seconds": 1},
    "match": {"prometheus-url": "http://prometheus:9090"},
    "group-by": {"prometheus-url": "http://prometheus:9090"},
    "username-file": {"password-file": "/password"},
    "password-file": {"username-file": "/username"},
}
"""What some options need beside them."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_a_generated_file_of_the_chart_is_up_to_date(path: Path) -> None:
    """Otherwise: `make docs`."""
    assert path.read_text("utf-8") == DOCUMENTS[path], "stale: run `make docs`"


def test_the_chart_carries_every_rule_and_dashboard_and_no_other() -> None:
    """A copy whose source is gone would be shipped for ever."""
    assert {path for path in (CHART / "files").rglob("*") if path.is_file()} == set(copies())


def test_the_versions_of_chart_image_and_command_agree() -> None:
    """One release, one number."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    label = re.search(r'image\.version="([^"]+)"', (ROOT / "Dockerfile").read_text("utf-8"))
    assert label is not None
    assert chart["appVersion"] == label[1] == controller.__version__


def test_every_option_of_the_command_is_in_the_schema() -> None:
    """By its flag's name, with its meaning, and nothing else is."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))["properties"]["config"]
    flags = {name.replace("_", "-"): field.description for name, field in RunOptions.model_fields.items()}
    assert {name: each["description"] for name, each in schema["properties"].items()} == flags
    assert schema["additionalProperties"] is False


def fitting(schema: dict[str, Any]) -> list[Any]:
    """Values on the edges of what a schema allows."""
    if "enum" in schema:
        return list(schema["enum"])
    if schema["type"] == "boolean":
        return [True, False]
    if schema["type"] == "string":
        chosen = {
            "http": "https://host.example:8443/base",
            "^\\S+:": "[::]:9460",
            "^[a-z0-9]": "a-0",
            "^[-._A-Z": "A_0",
            "^[a-zA-Z_]": "namespace,pod",
            r"^\s*\{?": 'namespace="llm",job=~"v.*"',
        }
        return next(([text] for start, text in chosen.items() if start in schema.get("pattern", "")), ["a/b"])
    edges = [schema[edge] for edge in ("minimum", "maximum", "default") if edge in schema]
    if "exclusiveMinimum" in schema:
        edges.append(schema["exclusiveMinimum"] + 0.5)
    return edges


def wrong(schema: dict[str, Any]) -> list[Any]:
    """Values just outside of what a schema allows."""
    beyond: list[Any] = [[1]]
    if "minimum" in schema:
        beyond.append(schema["minimum"] - 1)
    if "maximum" in schema:
        beyond.append(schema["maximum"] + 1)
    if "exclusiveMinimum" in schema:
        beyond.append(schema["exclusiveMinimum"])
    if "enum" in schema or "pattern" in schema:
        beyond.append("no such thing")
    return beyond


@pytest.mark.parametrize("name", OPTIONS)
def test_schema_and_command_agree_on_an_option(name: str, tmp_path: Path) -> None:
    """What the schema lets through would otherwise stop the sidecar at its start, and vLLM's pod would be unready."""
    schema = OPTIONS[name]
    for value in (values := fitting(schema)):
        jsonschema.validate(value, schema)
        run_with(tmp_path, TOGETHER.get(name, {}) | {name: value})
    assert values
    for value in wrong(schema):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)
        with pytest.raises(SettingsError):
            run_with(tmp_path, TOGETHER.get(name, {}) | {name: value})


def run_with(folder: Path, config: dict[str, Any]) -> None:
    """What `controller run` would make of a settings file."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    load("run", {"config": path}, {})
