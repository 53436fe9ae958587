"""The dashboard as code: `make docs` writes adaptive-k.json anew, a test fails while that is stale.

python deploy/grafana/dashboard.py [FILE]
"""  # noqa: INP001

import json
import sys
from itertools import count
from pathlib import Path
from typing import Final

from outcome import outcome
from panels import DATASOURCE, Json
from queries import ALERTING, ENGINE, SIDECAR
from rows import acceptance, controller, economics

FILE: Final = Path(__file__).with_name("adaptive-k.json")
REPOSITORY: Final = "https://github.com/adaptive-k/adaptive-k/blob/main"
COLUMNS: Final = 24
ROWS: Final = {
    "Outcome: is it helping, what is it doing, is it healthy": outcome,
    "Acceptance: how well the drafter guesses": acceptance,
    "Economics: what a draft costs and brings": economics,
    "Controller: what it decided, and whether it was right": controller,
}


def dashboard() -> Json:
    """All of it, as Grafana imports it."""
    return {
        "uid": "adaptive-k",
        "title": "adaptive-k: speculative decoding",
        "description": "Whether speculative decoding pays on vLLM servers, and what adaptive-k does about it.",
        "tags": ["vllm", "speculative-decoding", "adaptive-k"],
        "schemaVersion": 41,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "preload": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "links": [
            _link("Runbooks", f"{REPOSITORY}/deploy/runbooks/README.md"),
            _link("Metrics", f"{REPOSITORY}/docs/metrics.md"),
            _link("Reasons", f"{REPOSITORY}/docs/reasons.md"),
        ],
        "annotations": {"list": _annotations()},
        "templating": {"list": _variables()},
        "panels": _laid_out(),
    }


def _laid_out() -> list[Json]:
    """Rows from top to bottom, panels from left to right."""
    numbers, placed, y = count(1), [], 0
    for title, panels in ROWS.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        placed.append(
            {"type": "row", "id": next(numbers), "title": title, "collapsed": False, "panels": [], "gridPos": place}
        )
        x, y = 0, y + 1
        for panel in panels():
            size = panel["gridPos"]
            placed.append({**panel, "id": next(numbers), "gridPos": {"x": x, "y": y, **size}})
            x += size["w"]
            if x == COLUMNS:
                x, y = 0, y + size["h"]
    return placed


def _variables() -> list[Json]:
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "skipUrlSync": False,
    }
    info = "adaptive_k_build_info"
    server = 'namespace=~"$namespace", job=~"$job"'
    return [
        source,
        _choice("namespace", "Namespace", info),
        _choice("job", "Job of adaptive-k", f'{info}{{namespace=~"$namespace"}}'),
        _choice("pod", "Pod", f"{info}{{{server}}}"),
        _choice("instance", "Instance of adaptive-k", f'{info}{{{server}, pod=~"$pod"}}'),
        _choice("model_name", "Model", f"adaptive_k_max_k{{{SIDECAR}}}"),
        _choice("engine", "Engine", f'adaptive_k_max_k{{{SIDECAR}, model_name=~"$model_name"}}'),
    ]


def _choice(label: str, title: str, series: str) -> Json:
    """Any of a label's values. All is `.*`, which also matches where there is no such label, as outside Kubernetes."""
    asked = f"label_values({series}, {label})"
    return {
        "type": "query",
        "name": label,
        "label": title,
        "datasource": DATASOURCE,
        "query": {"query": asked, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1},
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "skipUrlSync": False,
    }


def _annotations() -> list[Json]:
    changed = f"adaptive_k_last_change_timestamp_seconds{{{ENGINE}}} * 1000"
    return [
        # the value is the time: a change is marked when it happened, not when it was scraped
        _marks("k changes", "blue", changed, "k changed", "{{model_name}} engine {{engine}} {{pod}}", at_value=True),
        _marks("Alerts", "red", ALERTING, "{{alertname}}", "{{severity}}: {{model_name}} {{pod}} {{instance}}"),
    ]


def _marks(name: str, colour: str, expression: str, title: str, text: str, *, at_value: bool = False) -> Json:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": expression,
        "titleFormat": title,
        "textFormat": text,
        "useValueForTime": at_value,
    }


def _link(title: str, url: str) -> Json:
    return {
        "title": title,
        "url": url,
        "type": "link",
        "icon": "doc",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": True,
        "includeVars": False,
        "keepTime": False,
    }


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else FILE).write_text(json.dumps(dashboard(), indent=2) + "\n", "utf-8")
