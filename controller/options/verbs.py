"""The options of the smaller verbs."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from controller.model.drafter import Method
from controller.options.base import File, Listen, Options, Positive, Url
from controller.options.server import ModelOptions, ServerOptions


class ResetOptions(ServerOptions):
    """Return a server to its launch schedule at once, whoever holds another."""

    url: Url = Field("http://127.0.0.1:8000", description="Address of the vLLM server.")
    token_file: File | None = Field(None, description="Not sent here: the engine plugin has a token of its own.")
    plugin_token_file: File = Field(description="File with the engine plugin's token.")


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
    save: File | None = Field(None, description="File to save the profile in; printed without one.")

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
    recommendation: File | None = Field(None, description="Take the schedule from a saved `recommend -o json` instead.")


class SimulateOptions(Options):
    """Serve a simulated vLLM server that knows the truth."""

    scenario: str = Field("code-to-prose", description="Traffic and hardware; `--scenario list` names them all.")
    listen: Listen = Field("127.0.0.1:8000", description="Where to serve.")
    speed: Positive = Field(1.0, le=1000, description="Simulated seconds per second.")
    seed: int = Field(0, ge=0, description="Same seed, same server.")
    k: int | None = Field(None, ge=1, le=64, description="num_speculative_tokens; the scenario's own without one.")
    developer_mode: bool = Field(False, description="Answer /server_info, as VLLM_SERVER_DEV_MODE=1 does.")
    plugin_token_file: File | None = Field(
        None,
        description="File with the engine plugin's token: k can then be changed live, as by `run --mode apply`.",
    )


class DemoOptions(Options):
    """Start a simulated server and watch the recommendation follow its traffic."""

    scenario: str = Field("code-to-prose", description="Traffic and hardware; `simulate --scenario list` names them.")
    speed: Positive = Field(10.0, le=200, description="Simulated seconds per second.")
    seed: int = Field(0, ge=0, description="Same seed, same traffic.")
    passes: int = Field(18, ge=2, le=10000, description="Windows to show.")
    window_seconds: Positive = Field(10.0, description="Simulated seconds of one window.")


class SchemaOptions(Options):
    """Print the JSON Schema of the JSON answers."""

    of: Literal["recommend", "backtest"] = Field("recommend", description="Whose answer.")
