"""The dashboard is whole: what Grafana would trip over, what a reader would miss, and where it and the alerts part."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.prometheus import ROOT, RULES, Prometheus, prometheus, wait_until, watched
from deploy.promql import asked

FOLDER: Final = ROOT / "deploy" / "grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "adaptive-k.json").read_text("utf-8"))
ROWS: Final = [each for each in DASHBOARD["panels"] if each["type"] == "row"]
PANELS: Final = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
TARGETS: Final = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
VARIABLES: Final = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
ANNOTATIONS: Final = {each["name"]: each for each in DASHBOARD["annotations"]["list"]}
PROMETHEUS_ANNOTATION: Final = {"titleFormat", "textFormat", "useValueForTime"}
"""Keys of Grafana's Prometheus data source, which the SDK leaves out of its model of annotations."""
ALERTS: Final = {
    rule["alert"]: rule["expr"]
    for path in RULES
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
SELECTED: Final = {
    "adaptive_k_": {"namespace", "job", "pod", "instance"},
    "vllm": {"namespace", "pod", "model_name", "engine"},
    "ALERTS": {"namespace", "pod"},
}
"""What a selector has to be narrowed by, so that the variables mean something."""
SIDECARS: Final = re.compile("adaptive_k_(build_info|cycles|failures|last_success|cycle_duration|scrape)")
"""Series of the sidecar as a whole, which have no model and no engine."""
RARE: Final = {"failed: {{reason}}"}
"""Queries that are empty when all is well."""
PATIENCE_SECONDS: Final = 90.0
register_default_plugins()
by_title: Final = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def plain(expression: str) -> str:
    """With everything selected, and an interval of a minute."""
    for name in VARIABLES:
        expression = expression.replace(f'"${name}"', '".*"')
    return expression.replace("$__rate_interval", "1m")


def unselected(expression: str) -> str:
    """Without matchers and white space."""
    return re.sub(r"\s+", "", re.sub(r"\{[^{}]*\}", "", expression))


def panel(title: str) -> dict[str, Any]:
    """The panel of this title."""
    return next(each for each in PANELS if each["title"] == title)


def limits(title: str) -> set[float]:
    """Where a panel's colours change."""
    found = panel(title)["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return {each["value"] for each in found if each["value"] is not None}


def test_the_file_is_what_the_code_makes(tmp_path: Path) -> None:
    """`make docs` writes it."""
    made = tmp_path / "made.json"
    subprocess.run([sys.executable, FOLDER / "dashboard.py", made], check=True)
    assert made.read_text("utf-8") == (FOLDER / "adaptive-k.json").read_text("utf-8")


def test_grafanas_own_model_knows_every_key() -> None:
    """Read into Grafana's types and written again, nothing is lost and nothing changes."""
    known = json.loads(json.dumps(DASHBOARD))
    for each in known["annotations"]["list"]:
        for name in PROMETHEUS_ANNOTATION:
            del each[name]
    again = json.loads(json.dumps(Dashboard.from_json(known), cls=JSONEncoder))
    assert lost(known, again) == []


def test_a_key_that_grafana_does_not_know_is_found() -> None:
    """The test above can fail: at the top, in a panel, in how it looks and in a query."""
    places: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
        lambda whole: whole,
        lambda whole: whole["panels"][1],
        lambda whole: whole["panels"][1]["fieldConfig"]["defaults"],
        lambda whole: whole["panels"][1]["options"],
        lambda whole: whole["panels"][1]["targets"][0],
    )
    for place in places:
        wrong = json.loads(json.dumps(DASHBOARD))
        place(wrong)["desciption"] = "x"
        again = json.loads(json.dumps(Dashboard.from_json(wrong), cls=JSONEncoder))
        assert any(each.endswith("desciption") for each in lost(wrong, again)), place


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """Where something of the first is missing in the second, or another."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            fault
            for key, value in before.items()
            for fault in (lost(value, after[key], f"{where}.{key}") if key in after else [f"{where}.{key}"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            fault for i, pair in enumerate(zip(before, after, strict=True)) for fault in lost(*pair, f"{where}[{i}]")
        ]
    return [] if before == after else [where]


def test_there_are_four_rows_and_at_most_fourteen_panels() -> None:
    """More cannot be read at night."""
    assert [each["title"].partition(":")[0] for each in ROWS] == ["Outcome", "Acceptance", "Economics", "Controller"]
    assert len(PANELS) <= 14


def test_panels_lie_beside_each_other_without_gaps() -> None:
    """24 columns, nothing on top of another, and every id once."""
    cells = [cells_of(each["gridPos"]) for each in DASHBOARD["panels"]]
    assert not any(one & other for one, other in combinations(cells, 2))
    covered = set(chain.from_iterable(cells))
    assert covered == {(x, y) for x in range(24) for y in range(max(y for _, y in covered) + 1)}
    assert len({each["id"] for each in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def cells_of(place: dict[str, int]) -> set[tuple[int, int]]:
    """The cells of the grid that a panel covers."""
    return {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}


@by_title
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """A description in sentences, a unit, thresholds, and words for when there is nothing to show."""
    look = panel["fieldConfig"]["defaults"]
    assert len(panel["description"].split()) >= 10
    assert panel["description"].endswith(".")
    assert look["unit"]
    assert look["thresholds"]["steps"][0]["value"] is None
    assert look["noValue"]
    assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])


@by_title
def test_what_looks_different_is_there(panel: dict[str, Any]) -> None:
    """Every override is of a series or column that the panel has."""
    names = {each["legendFormat"] for each in panel["targets"]}
    names |= {
        name for each in panel.get("transformations", ()) for name in each["options"].get("renameByName", {}).values()
    }
    shapes = [re.sub(r"\\\{\\\{.*?\\\}\\\}", ".+", re.escape(each)) for each in names if each]
    for override in panel["fieldConfig"]["overrides"]:
        assert any(re.fullmatch(shape, override["matcher"]["options"]) for shape in shapes), override["matcher"]
        below = [each["value"] for each in override["properties"] if each["id"] == "custom.fillBelowTo"]
        assert set(below) <= names


def test_every_data_source_is_the_one_that_was_chosen() -> None:
    """Nothing names a data source of whoever made it."""
    found = list(datasources(DASHBOARD))
    assert len(found) >= len(PANELS) + len(TARGETS) + len(ANNOTATIONS)
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in found)


def datasources(node: Any) -> Iterator[Any]:
    """Every `datasource` anywhere."""
    if isinstance(node, dict):
        if "datasource" in node:
            yield node["datasource"]
        yield from chain.from_iterable(map(datasources, node.values()))
    elif isinstance(node, list):
        yield from chain.from_iterable(map(datasources, node))


def test_every_query_is_narrowed_by_the_variables() -> None:
    """Each selector that is not only joined to, or recorded from what is; and each variable is used."""
    expressions = [target["expr"] for _, target in TARGETS] + [each["expr"] for each in ANNOTATIONS.values()]
    for expression in expressions:
        joined = set(re.findall(r"on \([^)]*\) (\w+)\)", expression))
        for selector in asked(plain(expression)).selectors:
            start = next((each for each in SELECTED if selector.name.startswith(each)), None)
            if start is None or selector.name in joined:
                continue
            wanted = SELECTED[start]
            if start == "adaptive_k_" and not SIDECARS.match(selector.name):
                wanted = wanted | {"model_name", "engine"}
            assert wanted <= selector.labels, selector
    for name in VARIABLES:
        assert f'"${name}"' in "".join(expressions) or name == "datasource"


def test_state_follows_the_alerts() -> None:
    """What the first row calls down, stale, not applied and so on is what would alert, by the same expressions."""
    state = unselected(panel("adaptive-k")["targets"][0]["expr"])
    for condition in (
        *ALERTS["AdaptiveKStale"].split(" or "),
        *(ALERTS[f"AdaptiveK{name}"] for name in ("Down", "ActuationFailing", "NotApplied", "Flapping")),
    ):
        assert unselected(condition) in state, condition


@pytest.mark.parametrize(
    ("title", "alert"),
    [
        ("Throughput over k=0", "AdaptiveKNegativeMargin"),
        ("Throughput over k=0", "AdaptiveKNegativeMarginModelled"),
        ("Acceptance by draft position", "AdaptiveKAcceptanceCollapsed"),
    ],
)
def test_a_limit_that_is_drawn_is_that_of_its_alert(title: str, alert: str) -> None:
    """And the description names the alert."""
    (limit,) = limits(title)
    assert limit in {float(each) for each in re.findall(r"< ([\d.]+)", ALERTS[alert])}
    assert alert in panel(title)["description"]


def test_every_alert_that_is_mentioned_exists() -> None:
    """In descriptions."""
    mentioned = set(re.findall(r"\bAdaptiveK[A-Z]\w+", " ".join(each["description"] for each in PANELS)))
    assert mentioned
    assert mentioned <= set(ALERTS)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, prometheus_tools: None) -> Iterator[Prometheus]:
    """A real Prometheus with our rules, beside a sidecar that steers a server of mixed workloads."""
    folder = tmp_path_factory.mktemp("seen")
    options = ("--mode", "apply", "--ttl-seconds", "3600", "--capture-limit-tokens", "512")
    with (
        watched("mixed-workloads", folder, speed=2.0, options=options) as pair,
        prometheus(folder, pair.scrape("mixed"), rules=RULES) as watcher,
    ):
        yield watcher


@pytest.mark.timeout(180, func_only=True)  # installing Prometheus takes as long as it takes
def test_no_panel_is_empty_under_live_control(seen: Prometheus) -> None:
    """Every query of every panel finds something, but for those that are empty when all is well."""

    def empty() -> list[tuple[str, str]]:
        return [
            (title, target["expr"])
            for title, target in TARGETS
            if target["legendFormat"] not in RARE and not seen.query(plain(target["expr"]))
        ]

    wait_until(lambda: not empty(), PATIENCE_SECONDS, empty)
    (state,) = seen.values(plain(panel("adaptive-k")["targets"][0]["expr"]))
    assert state == 0, "not fine"
    for _, target in TARGETS:
        if target["legendFormat"] in RARE:
            seen.query(plain(target["expr"]))


def test_every_variable_finds_its_values(seen: Prometheus) -> None:
    """Prometheus has the series, with the label where it does not come from Kubernetes."""
    for name, variable in VARIABLES.items():
        if variable["type"] == "datasource":
            continue
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found is not None
        assert found[2] == name
        series = seen.query(plain(found[1]))
        assert series
        assert name in {"namespace", "pod"} or all(each["metric"][name] for each in series)


def test_changes_are_marked_when_they_happened(seen: Prometheus) -> None:
    """The value of the annotation's query is a time in milliseconds, as Grafana wants it."""
    marks = ANNOTATIONS["k changes"]
    assert marks["useValueForTime"] is True
    wait_until(lambda: bool(seen.query(plain(marks["expr"]))), PATIENCE_SECONDS, marks["expr"])
    (now,) = seen.values("vector(time() * 1000)")
    for value in seen.values(plain(marks["expr"])):
        assert now - 3_600_000 < value <= now + 1000
    seen.query(plain(ANNOTATIONS["Alerts"]["expr"]))
