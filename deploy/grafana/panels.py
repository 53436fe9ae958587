"""Panels as Grafana's JSON, with what all of ours have in common."""  # noqa: INP001

from typing import Any, Final

Json = dict[str, Any]
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
"""The same colour means the same in every panel: blue is now, green is recommended or good, red is an alert's limit."""
DASHED: Final = {"custom.lineStyle": {"fill": "dash", "dash": [6, 4]}}
PALETTE: Final = {"mode": "palette-classic"}


def query(expression: str, legend: str = "") -> Json:
    """A query over the time that is shown; the panel gives it its letter."""
    return {"expr": expression, "legendFormat": legend, "range": True, "instant": False, "format": "time_series"}


def row_query(expression: str) -> Json:
    """A query of this moment, whose labels become a table's columns."""
    return {"expr": expression, "legendFormat": "", "range": False, "instant": True, "format": "table"}


def fixed(colour: str) -> Json:
    """Always this colour."""
    return {"mode": "fixed", "fixedColor": colour}


def steps(*pairs: tuple[float | None, str]) -> Json:
    """Thresholds: from which value on which colour; the first has no value."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in pairs]}


def states(words: dict[int, tuple[str, str]]) -> list[Json]:
    """Numbers shown as a word in a colour."""
    options = {
        str(n): {"text": text, "color": colour, "index": i} for i, (n, (text, colour)) in enumerate(words.items())
    }
    return [{"type": "value", "options": options}]


def override(name: str, **properties: Any) -> Json:
    """How one series or column differs from its panel; `custom__x` stands for `custom.x`."""
    found = [{"id": name.replace("__", "."), "value": value} for name, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": found}


def band(low: str, high: str, colour: str) -> list[Json]:
    """Two bounds as one band, out of legend and tooltip's way."""
    common = {
        "color": fixed(colour),
        "custom.lineWidth": 0,
        "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False},
    }
    return [
        override(low, **common),
        override(high, **common, **{"custom.fillBelowTo": low, "custom.fillOpacity": 20}),
    ]


def stat(title: str, description: str, targets: list[Json], *, width: int, **look: Any) -> Json:
    """Numbers or words to be read from afar, of this moment."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    }
    now = [{**each, "range": False, "instant": True} for each in targets]
    return _panel("stat", title, description, now, (width, 4), options, {}, {"unit": "none", **look})


def table(
    title: str, description: str, targets: list[Json], *, width: int, transformations: list[Json], **look: Any
) -> Json:
    """Rows of this moment."""
    options: Json = {
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "fields": ""},
    }
    sort_by = look.pop("sort_by", None)
    if sort_by is not None:
        options["sortBy"] = [{"displayName": sort_by, "desc": True}]
    custom = {
        "align": "auto",
        "cellOptions": look.pop("cells", {"type": "auto"}),
        "minWidth": look.pop("least_width", 60),
    }
    made = _panel("table", title, description, targets, (width, 8), options, custom, {"unit": "none", **look})
    return {**made, "transformations": transformations}


def timeseries(title: str, description: str, targets: list[Json], *, unit: str, width: int = 8, **look: Any) -> Json:
    """Lines over time; every fixed limit of an alert is drawn."""
    options = {
        "legend": {
            "displayMode": "list",
            "placement": "bottom",
            "showLegend": True,
            "calcs": look.pop("calcs", ["lastNotNull"]),
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    least, most = look.pop("soft", (None, None))
    stacked = look.pop("stacked", False)
    custom: Json = {
        "drawStyle": "bars" if stacked else "line",
        "lineInterpolation": "linear",
        "lineWidth": 0 if stacked else 2,
        "fillOpacity": 80 if stacked else 0,
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": False,
        "axisPlacement": "auto",
        "axisLabel": look.pop("axis", ""),
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": look.pop("thresholds_shown", "off")},
    }
    if least is not None:
        custom |= {"axisSoftMin": least, "axisSoftMax": most}
    return _panel("timeseries", title, description, targets, (width, 8), options, custom, {"unit": unit, **look})


def _panel(
    kind: str,
    title: str,
    description: str,
    targets: list[Json],
    size: tuple[int, int],
    options: Json,
    custom: Json,
    look: Json,
) -> Json:
    defaults: Json = {
        "unit": look["unit"],
        "color": look.get("color", {"mode": "thresholds"} if kind == "stat" else PALETTE),
        "thresholds": look.get("thresholds", steps((None, "text" if kind == "stat" else "transparent"))),
        "mappings": look.get("mappings", []),
        "noValue": look["no_value"],
    }
    defaults |= {name: look[name] for name in ("decimals", "min", "max") if name in look}
    if custom:
        defaults["custom"] = custom
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "targets": [
            {**each, "refId": letter, "datasource": DATASOURCE, "editorMode": "code"}
            for letter, each in zip("ABCDEFGH", targets, strict=False)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": look.get("overrides", [])},
        "options": options,
    }
