"""The options of `controller recommend`."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, model_validator

from controller.options.base import Positive
from controller.options.fleet import FleetOptions
from controller.options.server import LoopOptions, ServerOptions


class Output(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CONFIG = "config"


class RecommendOptions(FleetOptions, LoopOptions, ServerOptions):
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
