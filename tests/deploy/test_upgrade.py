"""Whoever installed an earlier chart can upgrade: the same values, no object that would have to be deleted first."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.released import FOLDER, broken, promises
from deploy.tools import CHART, Tools

RELEASES = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
CASES = [(version, name) for version, cases in RELEASES.items() for name in cases]


@pytest.mark.parametrize(("version", "name"), CASES)
def test_the_values_of_an_earlier_chart_upgrade_in_place(tools: Tools, version: str, name: str, tmp_path: Path) -> None:
    """They are taken, and every object is still there under its name with what cannot be changed on it."""
    case = RELEASES[version][name]
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(case["values"]), "utf-8")
    assert broken(case["objects"], promises(tools.render(CHART, "--values", values, "--is-upgrade"))) == []


def test_there_is_a_release_to_upgrade_from() -> None:
    """The present version's own promises are on record."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["version"]
    assert version in RELEASES, "run: PYTHONPATH=tests python -m deploy.released"


@pytest.mark.parametrize("change", ["selector", "name"])
def test_a_broken_promise_is_found(change: str) -> None:
    """Another selector is refused by the API server; another name leaves the old object's pods until it is deleted."""
    before: dict[str, Any] = next(iter(RELEASES.values()))["standalone"]["objects"]
    now = copy.deepcopy(before)
    if change == "selector":
        now["Deployment/release-adaptive-k"]["selector"]["matchLabels"]["tier"] = "new"
    else:
        now["Deployment/adaptive-k"] = now.pop("Deployment/release-adaptive-k")
    assert broken(before, now) == ["Deployment/release-adaptive-k"]
