"""The options of `controller run`."""

from typing import Any, Final, Literal

from pydantic import Field, model_validator

from controller.options.base import File, Listen, Positive, Url
from controller.options.fleet import FleetOptions
from controller.options.rollout import RolloutOptions
from controller.options.server import LoopOptions, ServerOptions

FLEET_INTERVAL_SECONDS: Final = 60.0
"""Between two passes over a fleet, unless told otherwise."""


class WatchOptions(LoopOptions, ServerOptions):
    """What is watched, how its k is changed live, and when."""

    url: Url = Field("http://127.0.0.1:8000", description="Address of the vLLM server; /metrics is added.")
    interval_seconds: Positive = Field(
        10.0, description="Time between two scrapes, give or take a tenth; 60 with Prometheus."
    )
    cooldown_seconds: float = Field(
        60.0,
        ge=0,
        allow_inf_nan=False,
        description="Least time between two changes at the present load, and between two at other batch sizes; "
        "roll-backs and proven probes do not wait.",
    )
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
    plugin_token_file: File | None = Field(
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
    freeze_file: File | None = Field(None, description="While this file exists, as --freeze.")
    stand_down_seconds: float = Field(
        900.0, ge=0, allow_inf_nan=False, description="Keep out this long after somebody else's `controller reset`."
    )
    checkpoint: File | None = Field(
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
        200,
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
