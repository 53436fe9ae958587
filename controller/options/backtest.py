"""The options of `controller backtest`."""

from typing import Literal

from pydantic import Field, model_validator

from controller.options.base import Duration, File, Url, seconds_of
from controller.options.fleet import FleetOptions
from controller.options.server import LoopOptions


class BacktestOptions(FleetOptions, LoopOptions):
    """Replay what Prometheus holds of the past: what the loop would have decided, and what that would have brought."""

    token_file: File | None = Field(None, description="File with a bearer token for Prometheus; read for each query.")
    ca_file: File | None = Field(None, description="PEM bundle to verify its certificate with.")
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
    picture: File | None = Field(
        None, description="Draw k and gain over time into this .png or .svg file (pip install 'adaptive-k[plot]')."
    )

    @model_validator(mode="after")
    def _long_enough(self) -> "BacktestOptions":
        if seconds_of(self.since) < 2 * seconds_of(self.step):
            raise ValueError("--since must be at least two times --step: a window lies between two passes")
        return self
