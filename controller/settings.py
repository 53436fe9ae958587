"""Every option, declared once: flag, environment variable, YAML key, help and documentation all come from here.

Precedence: flag > environment > YAML file > default.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from controller.files import text_of
from controller.fleet_options import GROUPS_MAX, FleetOptions
from controller.model.drafter import Method
from controller.options import (
    ENV_PREFIX,
    Duration,
    Expression,
    Listen,
    Options,
    Positive,
    SettingsError,
    Url,
    seconds_of,
)
from controller.plain import plain
from controller.rollout_options import RolloutOptions
from controller.whatif_options import WhatIfOptions

__all__ = ["CONFIG_ENV", "ENV_PREFIX", "VERBS", "Options", "SettingsError", "known_fields", "load"]

FILE_BYTES_MAX: Final = 256 * 1024
"""Of a settings file."""
CONFIG_ENV: Final = f"{ENV_PREFIX}CONFIG"
_KUBERNETES: Final = re.compile(
    rf"{ENV_PREFIX}(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
)
"""Kubernetes gives every pod variables for each Service; one named adaptive-k must not stop the sidecar."""


FLEET_INTERVAL_SECONDS: Final = 60.0
"""Between two passes over a fleet, unless told otherwise."""


class Output(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CONFIG = "config"


class AccessOptions(Options):
    """What a server wants to see, and what it must show."""

    token_file: Path | None = Field(None, description="File with a bearer token for the server; read for each scrape.")
    ca_file: Path | None = Field(None, description="PEM bundle to verify the server's certificate with.")


class ServerOptions(AccessOptions):
    """Which vLLM server, and how to reach it."""

    url: Url | None = Field(None, description="Address of the vLLM server; /metrics is added.")
    timeout_seconds: Positive = Field(5.0, description="For one whole scrape.")
    page_limit_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="A larger page is refused.")


class ModelOptions(Options):
    """What the counters cannot tell."""

    method: Method | None = Field(
        None,
        description="Drafting method, as in --speculative-config; tells how short drafts are to be read.",
    )
    k: int | None = Field(
        None, ge=0, le=256, description="The k in force, where the counters cannot tell (n-gram, suffix)."
    )

    capture_limit_tokens: int | None = Field(
        None, ge=1, description="The server's max_cudagraph_capture_size: larger steps are taken to cost more."
    )
    moe_models: Expression | None = Field(
        None,
        description="Models that are mixtures of experts, as a regular expression looked for in model_name, in either "
        "case: their steps grow with every token. Without it, those of well-known names; $^ for none.",
    )
    profile: Path | None = Field(
        None, description="Step times measured before (CSV or JSON), as a start; `controller calibrate` makes one."
    )


class PolicyOptions(Options):
    """When a change is worth it."""

    minimum_gain: float | None = Field(
        None,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Least gain in throughput that the lower bound must clear: 0.03 without one, 0.01 when applying.",
    )
    minimum_drafts: float = Field(300, ge=1, allow_inf_nan=False, description="Least evidence, in verified drafts.")
    max_num_seqs: int = Field(
        256, ge=1, le=65536, description="The server's --max-num-seqs: the largest batch of the schedule."
    )


class RecommendOptions(FleetOptions, PolicyOptions, ModelOptions, ServerOptions):
    """Read one window of a server, of many, or two saved pages, and say what k should be."""

    source: tuple[Path, ...] = Field(
        (), description="Two or more saved pages of /metrics in order of time, instead of a server."
    )
    seconds: Positive | None = Field(None, description="Time between the saved pages.")
    window_seconds: Positive | None = Field(
        None, description="How long to watch a running server, 30 without one; with Prometheus the last so many, 300."
    )
    output: Output = Field(Output.TABLE, description="Form of the answer.")
    explain: bool = Field(False, description="Show where each number comes from.")
    exit_code: bool = Field(False, description="Exit with 10 when a change is recommended.")

    @model_validator(mode="after")
    def _one_source(self) -> "RecommendOptions":
        if bool(self.url) + bool(self.source) + bool(self.prometheus_url) != 1:
            raise ValueError("give --url of a running server, --prometheus-url of many, or --source with saved pages")
        if self.prometheus_url and self.output is Output.CONFIG:
            raise ValueError("-o config is for one server: a fleet has many; -o json holds the schedule of each")
        if len(self.source) == 1:
            raise ValueError("--source needs at least two pages: one from before the window and one from after it")
        return self


class WatchOptions(PolicyOptions, ModelOptions, ServerOptions):
    """What is watched, how its k is changed live, and when."""

    url: Url = Field("http://127.0.0.1:8000", description="Address of the vLLM server; /metrics is added.")
    interval_seconds: Positive = Field(
        10.0, description="Time between two scrapes, give or take a tenth; 60 with Prometheus."
    )
    cooldown_seconds: float = Field(60.0, ge=0, description="Least time between two changes.", allow_inf_nan=False)
    listen: Listen = Field(
        "127.0.0.1:9460", description="Where to serve the status page, /metrics, /livez, /readyz and /recommendation."
    )
    mode: Literal["recommend", "apply", "rollout"] = Field(
        "recommend",
        description=(
            "recommend changes nothing; apply changes k in the running engine, by its plugin; rollout edits the "
            "Kubernetes workload, which restarts it."
        ),
    )
    plugin_token_file: Path | None = Field(
        None, description="File with the engine plugin's token; read for each request. Needed to apply."
    )
    owner: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:/@-]{1,128}$",
        description="Name under which schedules are held; adaptive-k@HOSTNAME without one.",
    )
    ttl_seconds: int = Field(
        120, ge=10, le=3600, description="The engine returns to its launch schedule when not renewed for this long."
    )
    allow_k_without_graph: bool = Field(
        False, description="Apply a k that vLLM captured no CUDA graph for, at the price of slower steps."
    )
    objective: Literal["throughput", "tpot"] = Field(
        "throughput", description="tpot: the fewest drafts that meet --tpot-target-ms, else the lowest latency."
    )
    tpot_target_ms: Positive | None = Field(
        None, description="Time per output token that must not be exceeded; above it nothing is explored."
    )
    exploration_budget: float = Field(
        0.01, ge=0, le=0.2, description="Share of throughput that measuring another k may cost; 0 never explores."
    )
    freeze: bool = Field(False, description="Change nothing; what is in force, or being rolled out, is kept.")
    freeze_file: Path | None = Field(None, description="While this file exists, as --freeze.")
    stand_down_seconds: float = Field(
        900.0, ge=0, allow_inf_nan=False, description="Keep out this long after somebody else's `controller reset`."
    )
    checkpoint: Path | None = Field(
        None, description="File that keeps what was learnt across restarts; nothing is kept without one."
    )

    @model_validator(mode="after")
    def _complete(self) -> "WatchOptions":
        if self.mode == "apply" and self.plugin_token_file is None:
            raise ValueError("--mode apply needs --plugin-token-file: without a token nothing changes a server")
        if self.objective == "tpot" and self.tpot_target_ms is None:
            raise ValueError("--objective tpot needs --tpot-target-ms")
        if self.mode == "apply" and self.ttl_seconds < 2 * self.interval_seconds:
            raise ValueError("--ttl-seconds must be at least twice --interval-seconds: a schedule must outlive a pass")
        return self


class RunOptions(RolloutOptions, FleetOptions, WatchOptions):
    """Watch a server, or many, for ever, log every decision and export it."""

    groups_max: int = Field(
        GROUPS_MAX,
        ge=1,
        le=100_000,
        description="Most groups that are told apart, and exported; those with the fewest servers are left out.",
    )
    warm_up_seconds: float = Field(
        900.0, ge=0, allow_inf_nan=False, description="With Prometheus: learn from the last so many seconds at first."
    )

    @model_validator(mode="before")
    @classmethod
    def _patient(cls, values: Any) -> Any:
        """A store has nothing new more often than it scrapes."""
        if isinstance(values, dict) and values.get("prometheus_url"):
            return {"interval_seconds": FLEET_INTERVAL_SECONDS, "group_by": "namespace"} | values
        return values

    @model_validator(mode="after")
    def _many_or_one(self) -> "RunOptions":
        if self.prometheus_url is None:
            return self
        if self.mode == "apply":
            raise ValueError(
                "--mode apply changes k at a server, by its plugin, and Prometheus has none: run a sidecar beside each "
                "server, or use --mode rollout for one workload"
            )
        if self.group_by is None:
            raise ValueError("--group-by must name labels: own metrics would not tell the servers of a fleet apart")
        if "url" in self.model_fields_set:
            raise ValueError("give --url of one server or --prometheus-url of many, not both")
        if self.plugin_token_file is not None:
            raise ValueError("--plugin-token-file is for one server: the plugin is not reached at Prometheus")
        if self.checkpoint is not None:
            raise ValueError(
                "--checkpoint is for one server: a fleet is learnt anew from Prometheus (--warm-up-seconds)"
            )
        return self

    @model_validator(mode="after")
    def _one_workload(self) -> "RunOptions":
        if self.mode == "rollout" and not (self.rollout_kind and self.rollout_name):
            raise ValueError("--mode rollout needs --rollout-kind and --rollout-name: the workload that runs vLLM")
        return self


class BacktestOptions(FleetOptions, PolicyOptions, ModelOptions, AccessOptions):
    """Replay what Prometheus holds of the past: what the loop would have decided, and what that would have brought."""

    prometheus_url: Url = Field(description="Address of a Prometheus API, without /api/v1.")
    group_by: str | None = Field(
        "namespace,model_name",
        pattern=FleetOptions.model_fields["group_by"].metadata[0].pattern,
        description="Labels, joined by commas: one decision for all servers that share them, and the model.",
    )
    since: Duration = Field("7d", description="How far back history begins.")
    step: Duration = Field("30s", description="Time between two passes; no shorter than that between two scrapes.")
    cooldown_seconds: float = Field(60.0, ge=0, description="Least time between two changes.", allow_inf_nan=False)
    output: Literal["table", "json"] = Field("table", description="Form of the answer.")
    picture: Path | None = Field(
        None, description="Draw k and gain over time into this .png or .svg file (pip install 'adaptive-k[plot]')."
    )

    @model_validator(mode="after")
    def _long_enough(self) -> "BacktestOptions":
        if seconds_of(self.since) < 2 * seconds_of(self.step):
            raise ValueError("--since must be at least two times --step: a window lies between two passes")
        return self


class ResetOptions(ServerOptions):
    """Return a server to its launch schedule at once, whoever holds another."""

    url: Url = Field("http://127.0.0.1:8000", description="Address of the vLLM server.")
    plugin_token_file: Path = Field(description="File with the engine plugin's token.")


class DoctorOptions(ServerOptions):
    """Say what a server is, what can be done with it, and what to fix."""

    url: Url = Field("http://127.0.0.1:8000", description="Address of the vLLM server.")
    output: Literal["table", "json"] = Field("table", description="Form of the answer.")


class CalibrateOptions(ModelOptions):
    """Merge saved pages of servers launched at different k into a profile of step times."""

    source: tuple[Path, ...] = Field(
        description="Saved pages in pairs: before and after of one server, before and after of the next, ..."
    )
    page_limit_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="A larger page is refused.")
    save: Path | None = Field(None, description="File to save the profile in; printed without one.")

    @model_validator(mode="after")
    def _pairs(self) -> "CalibrateOptions":
        if len(self.source) % 2:
            raise ValueError("--source needs an even number of pages: before and after of each server")
        return self


class LaunchConfigOptions(Options):
    """Print the launch configuration under which k can later be changed live."""

    method: Method = Field(description="Drafting method.")
    model: str | None = Field(None, description="The drafter's model, for methods that have one.")
    k_max: int = Field(5, ge=1, le=64, description="Largest k to allow: num_speculative_tokens.")
    max_num_seqs: int = Field(256, ge=2, le=65536, description="The server's --max-num-seqs.")
    schedule: str | None = Field(
        None,
        description="Wanted schedule, [[lowest batch, highest batch, k], ...]; k_max everywhere without one.",
    )
    recommendation: Path | None = Field(None, description="Take the schedule from a saved `recommend -o json` instead.")


class SimulateOptions(Options):
    """Serve a simulated vLLM server that knows the truth."""

    scenario: str = Field("code-to-prose", description="Traffic and hardware; `--scenario list` names them all.")
    listen: Listen = Field("127.0.0.1:8000", description="Where to serve.")
    speed: Positive = Field(1.0, le=1000, description="Simulated seconds per second.")
    seed: int = Field(0, ge=0, description="Same seed, same server.")
    k: int | None = Field(None, ge=1, le=64, description="num_speculative_tokens; the scenario's own without one.")
    developer_mode: bool = Field(False, description="Answer /server_info, as VLLM_SERVER_DEV_MODE=1 does.")
    plugin_token_file: Path | None = Field(
        None,
        description="File with the engine plugin's token: k can then be changed live, as by `run --mode apply`.",
    )


class DemoOptions(Options):
    """Start a simulated server and watch the recommendation follow its traffic."""

    scenario: str = Field("code-to-prose", description="Traffic and hardware; `simulate --scenario list` names them.")
    speed: Positive = Field(10.0, le=200, description="Simulated seconds per second.")
    seed: int = Field(0, ge=0, description="Same seed, same demo.")
    passes: int = Field(18, ge=2, le=10000, description="Windows to show.")
    window_seconds: Positive = Field(10.0, description="Simulated seconds of one window.")


class SchemaOptions(Options):
    """Print the JSON Schema of the JSON answers."""

    of: Literal["recommend", "backtest"] = Field("recommend", description="Whose answer.")


VERBS: Final[dict[str, type[Options]]] = {
    "recommend": RecommendOptions,
    "run": RunOptions,
    "backtest": BacktestOptions,
    "reset": ResetOptions,
    "doctor": DoctorOptions,
    "calibrate": CalibrateOptions,
    "launch-config": LaunchConfigOptions,
    "simulate": SimulateOptions,
    "demo": DemoOptions,
    "whatif": WhatIfOptions,
    "schema": SchemaOptions,
}


_SOURCES: Final = frozenset({"url", "prometheus_url", "source"})


def load(verb: str, flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Options:
    """The settings of one verb.

    Args:
        verb: A key of `VERBS`.
        flags: What the command line gave, by field name; and `config`, the YAML file.
        environment: The process's variables; only their names are looked at here.

    Raises:
        SettingsError: An unknown variable or key, or a value that does not fit.
    """
    given = dict(flags)
    variables = os.environ if environment is None else environment
    _refuse_unknown_variables(variables)
    config = given.pop("config", None) or variables.get(CONFIG_ENV)
    if given.keys() & _SOURCES and verb == "recommend":
        given = {"url": None, "prometheus_url": None, "source": ()} | given  # a flag beats the environment and the file
    options = VERBS[verb]
    # a class of its own carries the file's values, so that no state is shared between two loads
    bound = type(options.__name__, (options,), {"from_file": _yaml(Path(config)) if config else {}, "__doc__": None})
    try:
        settings: Options = bound(**given)
    except ValueError as error:
        raise SettingsError(_readable(error)) from error
    return settings


def known_fields() -> frozenset[str]:
    """The name of every option of every verb."""
    return frozenset(name for options in VERBS.values() for name in options.model_fields)


def _refuse_unknown_variables(variables: Iterable[str]) -> None:
    known = sorted({name.upper() for name in known_fields()} | {CONFIG_ENV.removeprefix(ENV_PREFIX)})
    for name in sorted(variables):
        option = name.removeprefix(ENV_PREFIX)
        if option != name and option not in known and not _KUBERNETES.fullmatch(name):
            raise SettingsError(f"The environment variable {name} is not an option{_guess(option, known, ENV_PREFIX)}")


def _yaml(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415  # only where there is a settings file

    from controller.plain_yaml import plain_yaml  # noqa: PLC0415

    try:
        content = plain_yaml(text_of(path, FILE_BYTES_MAX))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise SettingsError(f"The settings file {path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"The settings file {path} must hold `option: value` lines.")
    known = sorted(known_fields())
    found = {str(key).replace("-", "_"): value for key, value in content.items()}
    for key in found:
        if key not in known:
            raise SettingsError(
                f"The settings file {path} has {plain(key)!r}, which is not an option{_guess(key, known)}"
            )
    return found


def _guess(name: str, known: list[str], prefix: str = "") -> str:
    name = name[:80]  # comparing takes its time
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else "."


def _readable(error: ValueError) -> str:
    """pydantic's findings as sentences, without the offending value where it might be a secret."""
    problems = []
    for problem in getattr(error, "errors", list)():
        where = ".".join(str(part) for part in problem["loc"])
        flag = f"--{where.replace('_', '-')}: " if where else ""
        said = "it must be given" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        problems.append(flag + said)
    if list_field := re.search(r'field "(\w+)"', str(error)):  # pydantic-settings decodes lists before it validates
        problems.append(f"{ENV_PREFIX}{list_field[1].upper()} must be a JSON list")
    return "; ".join(problems) or str(error)
