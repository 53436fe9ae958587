"""Rules, runbooks, dashboards and metrics name the same things, and each alert fires when it should and only then."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from pages import CAPTURES
from prometheus_client.parser import text_string_to_metric_families

from controller.act.actuator import Outcome
from controller.decide.decision import Action, Baseline
from controller.reason import Reason
from controller.serve.telemetry_table import FAMILIES
from controller.settings import VERBS
from deploy.prometheus import HASTE, ROOT, RULES, hasty
from deploy.promql import asked
from deploy.tools import call

CASES: Final = tuple(sorted((Path(__file__).parent / "prometheus_rules").glob("*.yaml")))
RUNBOOKS: Final = ROOT / "deploy" / "runbooks"
RUNBOOK_BASE: Final = "https://github.com/adaptive-k/adaptive-k/blob/main/"
DASHBOARDS: Final = tuple(sorted((ROOT / "deploy" / "grafana").glob("*.json")))
SECTIONS: Final = ("What it means", "How to confirm", "What to do now", "How to prevent")
TARGET_LABELS: Final = frozenset({"job", "instance", "namespace", "pod", "container", "service", "node", "cluster"})
"""Labels that Prometheus' own configuration gives."""
VALUES: Final = {
    "action": frozenset(Action),
    "reason": frozenset(Reason),
    "outcome": frozenset(Outcome),
    "basis": frozenset(Baseline),
    "against": frozenset({"k0", "no_speculation"}),
    "schedule": frozenset({"recommended", "in_force", "launch"}),
}
"""What may be asked of labels whose values are closed lists."""
pytestmark = pytest.mark.timeout(120, func_only=True)  # installing Prometheus takes as long as it takes
NAME: Final = re.compile(r"\badaptive_k(?:_[a-z0-9]|:)[a-z0-9_:]*")


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """All rules of a kind (`alert` or `record`) by name."""
    groups = chain.from_iterable(yaml.safe_load(each.read_text("utf-8"))["groups"] for each in RULES)
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


ALERTS: Final = rules("alert")
RECORDS: Final = rules("record")


def vllm_series() -> dict[str, frozenset[str]]:
    """The series that real vLLM servers served, with their labels; under both spellings of their names."""
    found: dict[str, frozenset[str]] = {}
    for page in CAPTURES:
        for family in text_string_to_metric_families(page.read_text("utf-8")):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, frozenset()) | frozenset(sample.labels)
    return found | {name.replace("vllm:", "vllm_"): labels for name, labels in found.items()}


def known() -> dict[str, frozenset[str]]:
    """Every series that an expression may name, with the labels of its own."""
    own = {each.name: frozenset(each.labels) for each in FAMILIES}
    vllm = {name: labels for name, labels in vllm_series().items() if name.startswith("vllm")}
    recorded = dict.fromkeys(RECORDS, frozenset({"model_name", "engine", "position"}))
    prometheus = {"up": frozenset(), "ALERTS": frozenset({"alertname", "alertstate", "severity", "model_name"})}
    return own | vllm | recorded | prometheus


KNOWN: Final = known()


def wrong(expression: str) -> list[str]:
    """What an expression names that is not there."""
    found = asked(expression)
    labels = frozenset(chain(TARGET_LABELS, *KNOWN.values()))
    return [
        *(f"no series {each.name}" for each in found.selectors if each.name not in KNOWN),
        *(
            f"{each.name} has no label {label}"
            for each in found.selectors
            for label in each.labels - KNOWN.get(each.name, frozenset()) - TARGET_LABELS
        ),
        *(f"no label {label}" for label in found.grouped - labels),
        *(
            f'no {label}="{value}"'
            for label, values in VALUES.items()
            for value in re.findall(rf'\b{label}="([^"]*)"', expression)
            if value not in values
        ),
    ]


@pytest.mark.parametrize("rule", [*ALERTS.values(), *RECORDS.values()], ids=[*ALERTS, *RECORDS])
def test_a_rule_names_only_what_there_is(rule: dict[str, Any]) -> None:
    """Series of our own table, of other rules, or of pages that real vLLM servers served."""
    assert wrong(rule["expr"]) == []


def test_a_misspelt_name_is_found() -> None:
    """The test above can fail: a series, a label, a label that is grouped by, and a value."""
    assert wrong("adaptive_k_margin_hihg_ratio < 0")
    assert wrong('adaptive_k_margin_ratio{basis="measured", baseline="k0"} < 0')
    assert wrong("sum by (reson) (adaptive_k_failures_total)")
    assert wrong('adaptive_k_failures_total{reason="no_such"} > 0')
    assert wrong("rate(vllm:spec_decode_num_drafts[5m])")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_complete(name: str) -> None:
    """One first word, `for`, a known severity, a fixed summary, a description with its target, and its runbook."""
    rule = ALERTS[name]
    assert name.startswith("AdaptiveK")
    assert rule["for"] != "0m"
    assert rule["labels"]["severity"] in {"warning", "info"}
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert "{{" not in notes["summary"]
    assert notes["summary"].endswith(".")
    assert "{{ or $labels.pod $labels.instance }}" in notes["description"]
    names = re.findall(r"\{\{[^}]*\$labels\.(?:model_name|engine|job|reason)[^}]*\}\}", notes["description"])
    assert names
    assert all("%.64q" in each for each in names if "model_name" in each)  # an operator's words: short, and on one line
    assert notes["runbook_url"] == f"{RUNBOOK_BASE}deploy/runbooks/{name}.md"
    assert (ROOT / notes["runbook_url"].removeprefix(RUNBOOK_BASE)).is_file()


def test_every_runbook_is_of_an_alert_and_in_the_index() -> None:
    """With its severity as in the rule."""
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(ALERTS)
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    for name, rule in ALERTS.items():
        assert f"| [{name}]({name}.md) | {rule['labels']['severity']} |" in index


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_how_and_what_now(name: str) -> None:
    """In this order, none of it empty, and beginning with the severity."""
    title, *parts = re.split(r"^## (.+)\n", (RUNBOOKS / f"{name}.md").read_text("utf-8"), flags=re.MULTILINE)
    assert title.startswith(f"# {name}\n{ALERTS[name]['labels']['severity']}: ")
    assert tuple(parts[::2]) == SECTIONS
    assert all(len(text.split()) >= 10 for text in parts[1::2])


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a kind in the runbooks, with the page that they are on."""
    for page in sorted(RUNBOOKS.glob("*.md")):
        for text in re.findall(rf"^```{kind}\n(.*?)^```", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE):
            yield page.name, text


def test_every_query_in_a_runbook_names_only_what_there_is() -> None:
    """A person copies them at night."""
    queries = list(blocks("promql"))
    assert len(queries) >= len(ALERTS)
    assert [(page, wrong(query)) for page, query in queries if wrong(query)] == []


def test_every_command_in_a_runbook_is_one() -> None:
    """The verbs and options of `controller` are those that there are."""
    lines = [line for _, text in blocks("sh") for line in text.splitlines() if "controller " in line]
    assert lines
    for line in lines:
        verb, *options = line.partition("controller ")[2].split()
        fields = VERBS[verb].model_fields
        assert {each.removeprefix("--").replace("-", "_") for each in options if each.startswith("--")} <= set(fields)


def test_every_option_that_a_runbook_mentions_exists() -> None:
    """Of some verb."""
    options = {name.replace("_", "-") for each in VERBS.values() for name in each.model_fields}
    for page in RUNBOOKS.glob("*.md"):
        mentioned = re.findall(r"`--([a-z-]+)[^`]*`", page.read_text("utf-8"))
        assert set(mentioned) <= options, page.name


@pytest.mark.parametrize("path", [*DASHBOARDS, *RUNBOOKS.glob("*.md")], ids=lambda path: path.name)
def test_every_name_of_ours_in_a_file_exists(path: Path) -> None:
    """In prose, in variables and annotations, wherever it stands."""
    assert {name for name in NAME.findall(path.read_text("utf-8")) if name not in KNOWN} == set()


def expressions(node: Any) -> Iterator[str]:
    """Every `expr` anywhere in a dashboard."""
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        yield from chain.from_iterable(map(expressions, node.values()))
    elif isinstance(node, list):
        yield from chain.from_iterable(map(expressions, node))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_query_of_a_dashboard_names_only_what_there_is(path: Path) -> None:
    """With a minute in place of Grafana's interval variables."""
    found = list(expressions(json.loads(path.read_text("utf-8"))))
    assert found
    plain = [re.sub(r"\$\{?__(rate_interval|interval|range)\}?", "1m", each) for each in found]
    assert [(each, wrong(each)) for each in plain if wrong(each)] == []


@pytest.mark.usefixtures("prometheus_tools")
def test_promtool_finds_nothing_to_complain_about() -> None:
    """With every lint there is, each of which is an error."""
    call("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.usefixtures("prometheus_tools")
def test_the_configuration_that_the_document_shows_is_one(tmp_path: Path) -> None:
    """`promtool check config`, with the rules beside it as the document has them."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", (RULES[0].parent / "README.md").read_text("utf-8"), re.DOTALL)
    for each in RULES:
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / "prometheus.yml").write_text(shown, "utf-8")
    call("promtool", "check", "config", tmp_path / "prometheus.yml")


@pytest.mark.usefixtures("prometheus_tools")
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_rules_do_what_their_cases_say(case: Path) -> None:
    """`promtool test rules`."""
    call("promtool", "test", "rules", case)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """And every recorded series is expected with a value somewhere, or another that is rests on it."""
    tests = [test for case in CASES for test in yaml.safe_load(case.read_text("utf-8"))["tests"]]
    asserted = [each for test in tests for each in test.get("alert_rule_test", ())]
    fires = {each["alertname"] for each in asserted if each["exp_alerts"]}
    silent = {each["alertname"] for each in asserted if not each["exp_alerts"]}
    assert fires == silent == set(ALERTS)
    values = [each["expr"] for test in tests for each in test.get("promql_expr_test", ()) if each["exp_samples"]]
    expected = {selector.name for each in values for selector in asked(each).selectors}
    inside = [selector.name for rule in RECORDS.values() for selector in asked(rule["expr"]).selectors]
    assert set(RECORDS) <= expected | set(inside)


def test_a_hasty_copy_changes_durations_only(tmp_path: Path) -> None:
    """So that what fires in the live test is what is shipped."""
    durations = re.compile(r"\b\d+(ms|[smhd])\b")
    for path in RULES:
        shipped, copy = path.read_text("utf-8"), hasty(path, tmp_path).read_text("utf-8")
        assert durations.sub("", shipped) == durations.sub("", copy)
        assert shipped.count("for: 15m") == copy.count(f"for: {15 * 60 * 1000 // HASTE}ms")
        assert not re.search(r"(for: |\[|offset |interval: )\d+[smhd]\b", copy)
