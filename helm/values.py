"""The chart's values, declared once: values.yaml, its schema and VALUES.md are written from here by `make docs`.

What `controller run` can be told is not declared here: `config` takes its options from `controller.settings`.
"""  # noqa: INP001

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from controller.flags import default_text, describe
from controller.options.run import RunOptions

ROOT: Final = Path(__file__).parents[1]
CHART: Final = Path(__file__).parent / "adaptive-k"
NOTE: Final = "made by helm/values.py: edit the declarations there, then run `make docs`"
DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""The newest one that Helm 3 reads; Helm 4 reads it too."""
SHIPPED: Final = (("deploy/prometheus", "*.yaml"), ("deploy/grafana", "*.json"))
"""Files that the chart carries copies of, because a chart cannot read outside of its folder."""
WIDTH: Final = 116

Strings = dict[str, str]
Objects = list[dict[str, Any]]


class Values(BaseModel):
    """A group of values: unknown keys are refused, names are in camelCase as in all charts."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Image(Values):
    """The image of the sidecar; it holds the plugin for vLLM too."""

    repository: str = Field("adaptive-k", min_length=1, description="Where you pushed it; without registry and tag.")
    tag: str = Field("", description="The chart's appVersion without one.")
    digest: str = Field("", pattern=r"^(sha256:[0-9a-f]{64})?$", description="Wins over the tag.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field("IfNotPresent", description="As in Kubernetes.")


class TokenSecret(Values):
    """A token in a Secret that you made; the chart makes none."""

    name: str = Field("", description="The Secret; none without a name.")
    key: str = Field("token", min_length=1, description="The key in it.")


class BasicAuthSecret(Values):
    """User and password for Prometheus, of `config.prometheus-url`, in a Secret that you made; the chart makes none."""

    name: str = Field("", description="The Secret, such as one of type kubernetes.io/basic-auth; none without a name.")
    username_key: str = Field("username", min_length=1, description="The key of the user.")
    password_key: str = Field("password", min_length=1, description="The key of the password.")


class CaConfigMap(Values):
    """The PEM bundle that the certificate of vLLM, or of Prometheus, is verified with, in a ConfigMap that you made."""

    name: str = Field("", description="The ConfigMap; none without a name.")
    key: str = Field("ca.crt", min_length=1, description="The key in it.")


class ProfileConfigMap(Values):
    """Step times measured before, as `controller calibrate` saves them, in a ConfigMap that you made."""

    name: str = Field("", description="The ConfigMap; none without a name.")
    key: str = Field("profile.json", min_length=1, description="The key in it.")


class FreezeConfigMap(Values):
    """A brake: while this ConfigMap exists and has the key, nothing is changed. Make it only then."""

    name: str = Field("", description="The ConfigMap; no such brake without a name.")
    key: str = Field("freeze", min_length=1, description="The key in it.")


class Vllm(Values):
    """What vLLM's own container is told; only for `attach: sidecar` with `config.mode: apply`, and then required."""

    plugins: str = Field(
        "",
        pattern=r"^(([^,\s]+,)*adaptive_k(,[^,\s]+)*)?$",
        description=(
            "VLLM_PLUGINS in full: adaptive_k and every other plugin in use. It is an allowlist: what it does not name "
            "stops loading, platforms and LoRA resolvers included."
        ),
    )
    python_path: str = Field("", description="PYTHONPATH in full: pluginFolder, and what vLLM's container has already.")
    plugin_folder: str = Field(
        "/adaptive-k-plugin", pattern="^/[^:]+$", description="Where the plugin appears in vLLM's container."
    )


class Rollout(Values):
    """Lets the sidecar change the workload's launch configuration, for servers without the plugin.

    How carefully is said by the options `config.rollout-...`; try `config.rollout-dry-run` first.
    """

    enabled: bool = Field(
        False, description="Run in `mode: rollout`, with the Role, the RoleBinding and the Lease that this needs."
    )
    kind: Literal["Deployment", "StatefulSet", "LeaderWorkerSet"] = Field(
        "Deployment", description="Kind of the one workload."
    )
    name: str = Field("", description="Its name, in the release's namespace. Required when enabled.")


class ServiceAccount(Values):
    """Its token is mounted for the rollout only, into adaptive-k's container only."""

    create: bool = Field(True, description="Make one, for `attach: standalone`.")
    name: str = Field(
        "",
        description=(
            "The release's own name without one. With `attach: sidecar`: that of the workload's pods, which then need "
            "`automountServiceAccountToken: false`, or vLLM's own container gets the token as well."
        ),
    )
    annotations: Strings = Field({}, description="For the ServiceAccount.")


class PodMonitor(Values):
    """Has the Prometheus operator scrape adaptive-k."""

    enabled: bool | Literal["auto"] = Field("auto", description="auto: when the cluster knows PodMonitor.")
    interval: str = Field("15s", pattern=r"^\d+(ms|s|m)$", description="Time between two scrapes.")
    labels: Strings = Field({}, description="Labels by which your Prometheus selects PodMonitors.")


class PrometheusRule(Values):
    """Alerts and recording rules of deploy/prometheus."""

    enabled: bool | Literal["auto"] = Field("auto", description="auto: when the cluster knows PrometheusRule.")
    labels: Strings = Field({}, description="Labels by which your Prometheus selects rules.")


class Dashboard(Values):
    """The dashboards of deploy/grafana, as a ConfigMap for Grafana's sidecar."""

    enabled: bool = Field(False, description="Make the ConfigMap.")
    labels: Strings = Field({"grafana_dashboard": "1"}, description="Labels by which your Grafana selects it.")
    annotations: Strings = Field({}, description="For the ConfigMap, such as a folder in Grafana.")


class NetworkPolicy(Values):
    """For `attach: standalone`. In vLLM's own pod it would cut vLLM off, and is refused."""

    enabled: bool = Field(False, description="Make it.")
    ingress_from: Objects = Field([], description="Who may scrape: peers as in NetworkPolicy; anybody when empty.")
    egress_to: Objects = Field([], description="Where vLLM is: peers as in NetworkPolicy; anywhere when empty.")


class ChartValues(Values):
    """All values of the chart, in the order of values.yaml."""

    attach: Literal["standalone", "sidecar"] = Field(
        "standalone",
        description=(
            "standalone: a Deployment beside one vLLM server, or for many with config.prometheus-url. "
            "sidecar: no Deployment; your own chart depends on this "
            "one and includes its templates in vLLM's pod."
        ),
    )
    enabled: bool = Field(True, description="For the `condition:` of a chart that depends on this one; not read here.")
    name_override: str = Field("", description="Instead of the chart's name in names.")
    fullname_override: str = Field("", description="Instead of release and chart in names.")
    image: Image = Field(Image())
    image_pull_secrets: Objects = Field([], description="As in a pod, for `attach: standalone`.")
    config: dict[str, Any] = Field(
        {"listen": "0.0.0.0:9460"},
        description=(
            "Any option of `controller run`, by its flag's name; see docs/configuration.md. The files of the values "
            "below are filled in. `listen` must be reachable from outside of the pod: the kubelet and Prometheus ask "
            "there."
        ),
    )
    server_token_secret: TokenSecret = Field(
        TokenSecret(), description="The bearer token for vLLM's /metrics, or for Prometheus."
    )
    basic_auth_secret: BasicAuthSecret = Field(BasicAuthSecret())
    plugin_token_secret: TokenSecret = Field(
        TokenSecret(), description="The token of the engine plugin; required for `config.mode: apply`."
    )
    ca_config_map: CaConfigMap = Field(CaConfigMap())
    profile_config_map: ProfileConfigMap = Field(ProfileConfigMap())
    freeze_config_map: FreezeConfigMap = Field(FreezeConfigMap())
    vllm: Vllm = Field(Vllm())
    rollout: Rollout = Field(Rollout())
    service_account: ServiceAccount = Field(ServiceAccount())
    resources: dict[str, Any] = Field(
        {"requests": {"cpu": "10m", "memory": "80Mi"}, "limits": {"memory": "128Mi"}},
        description=(
            "Of adaptive-k's container. In a Guaranteed pod give a limit for cpu too, and requests equal to the "
            "limits, or the pod becomes Burstable. Many servers need more memory: see docs/fleet.md."
        ),
    )
    assigned_user: bool = Field(
        False,
        description=(
            "Leave uid, gid and fsGroup to the platform, never root, instead of 65532: OpenShift's restricted-v2 "
            "refuses any but the namespace's own."
        ),
    )
    pod_annotations: Strings = Field({}, description="For the pod of `attach: standalone`.")
    pod_labels: Strings = Field({}, description="For the pod of `attach: standalone`.")
    node_selector: Strings = Field({}, description="As in a pod, for `attach: standalone`.")
    tolerations: Objects = Field([], description="As in a pod, for `attach: standalone`.")
    affinity: dict[str, Any] = Field({}, description="As in a pod, for `attach: standalone`.")
    pod_monitor: PodMonitor = Field(PodMonitor())
    prometheus_rule: PrometheusRule = Field(PrometheusRule())
    dashboard: Dashboard = Field(Dashboard())
    network_policy: NetworkPolicy = Field(NetworkPolicy())


def documents() -> dict[Path, str]:
    """Every generated file of the chart and its text."""
    written = {
        CHART / "values.yaml": f"# {NOTE}\n" + "\n".join(_yaml(ChartValues, "")) + "\n",
        CHART / "values.schema.json": json.dumps(_schema(), indent=2) + "\n",
        CHART / "VALUES.md": "\n".join(_tables()) + "\n",
    }
    return written | copies()


def copies() -> dict[Path, str]:
    """The rules and dashboards that the chart carries, by where they lie in it."""
    found = {}
    for folder, pattern in SHIPPED:
        for source in sorted((ROOT / folder).rglob(pattern)):
            text = source.read_text("utf-8")
            if source.suffix == ".json" or "groups" in (yaml.safe_load(text) or {}):  # tests of rules stay at home
                found[CHART / "files" / Path(folder).name / source.name] = text
    return found


def option_schemas() -> dict[str, Any]:
    """The JSON Schema of each option of `controller run`, by its flag's name."""
    whole = RunOptions.model_json_schema()
    return {
        name.replace("_", "-"): _plain(whole["properties"][name], whole.get("$defs", {}))
        for name in RunOptions.model_fields
    }


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """An option's schema without titles and references, and without null: that is said by leaving the option out."""
    kept: dict[str, Any] = {}
    if "$ref" in schema:
        kept = _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for part in schema.get("anyOf", ()):
        if part.get("type") != "null":
            kept |= _plain(part, definitions)
    kept |= {name: value for name, value in schema.items() if name not in ("title", "anyOf", "$ref", "format")}
    return {name: value for name, value in kept.items() if name != "default" or value is not None}


def _schema() -> dict[str, Any]:
    whole = ChartValues.model_json_schema(by_alias=True)
    definitions = whole.pop("$defs")
    properties = {name: _expanded(schema, definitions) for name, schema in whole["properties"].items()}
    properties["config"] |= {"properties": option_schemas(), "additionalProperties": False}
    properties["global"] = {"description": "Helm hands a parent chart's globals down.", "type": "object"}
    return {
        "$schema": DIALECT,
        "$comment": NOTE,
        "title": "Values of the chart adaptive-k",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _expanded(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions in place, without titles."""
    kept = {name: value for name, value in schema.items() if name not in ("title", "$ref")}
    if "$ref" in schema:
        kept.pop("default", None)  # that of a group is those of its members
        kept = _expanded(definitions[schema["$ref"].rpartition("/")[2]], definitions) | kept
    if "properties" in kept:
        kept["properties"] = {name: _expanded(each, definitions) for name, each in kept["properties"].items()}
    return kept


def _yaml(group: type[Values], indent: str) -> Iterator[str]:
    for name, field in group.model_fields.items():
        if not indent:
            yield ""
        for line in textwrap.wrap(_meaning(field), WIDTH - len(indent)):
            yield f"{indent}# {line}"
        key, nested = to_camel(name), _group(field)
        if nested:
            yield f"{indent}{key}:"
            yield from _yaml(nested, indent + "  ")
        else:
            text = yaml.safe_dump({key: _default(field)}, sort_keys=False, default_flow_style=False)
            yield textwrap.indent(text.rstrip("\n"), indent)


def _tables() -> Iterator[str]:
    yield "# Values"
    yield f"<!-- {NOTE} -->"
    yield "Helm refuses any other key, and any value that does not fit: `values.schema.json` is made from the same"
    yield "declarations.\n"
    yield from _table(_rows(ChartValues, ""))
    yield "\n## Options below `config`"
    yield "Those of `controller run`, by the flag's name.\n"
    yield from _table(
        (f"config.{name.replace('_', '-')}", describe(field), default_text(field), field.description or "")
        for name, field in RunOptions.model_fields.items()
    )


def _rows(group: type[Values], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in group.model_fields.items():
        key, nested = prefix + to_camel(name), _group(field)
        if nested:
            yield key, "", "", _meaning(field)
            yield from _rows(nested, f"{key}.")
        else:
            default = _default(field)
            yield key, _kind(field), "" if default in ("", [], {}) else json.dumps(default), _meaning(field)


def _table(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    yield "| Value | Type | Default | Meaning |"
    yield "| --- | --- | --- | --- |"
    for key, kind, default, meaning in rows:
        cells = (f"`{key}`", kind, f"`{default}`" if default else "", meaning)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _group(field: FieldInfo) -> type[Values] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Values) else None


def _meaning(field: FieldInfo) -> str:
    nested = _group(field)
    return field.description or " ".join((nested.__doc__ or "").split() if nested else ())


def _default(field: FieldInfo) -> Any:
    assert field.default is not PydanticUndefined, "every value has a default"
    return field.default


def _kind(field: FieldInfo) -> str:
    words = {"str": "text", "bool": "true or false", "dict": "map", "list": "list"}
    text = str(getattr(field.annotation, "__name__", field.annotation))
    origin = getattr(field.annotation, "__origin__", None)
    if choices := getattr(field.annotation, "__args__", ()):
        if origin in (dict, list):
            return words[origin.__name__]
        names = [choice for each in choices for choice in getattr(each, "__args__", (each,))]
        return " or ".join(words.get(getattr(each, "__name__", ""), str(each)) for each in names)
    return words.get(text, text)
