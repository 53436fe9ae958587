"""What several verbs are told: which server, how to reach it, what its counters cannot tell, and when to change."""

from pydantic import Field

from controller.model.drafter import Method
from controller.options.base import Expression, File, Options, Positive, Url


class AccessOptions(Options):
    """What a server wants to see, and what it must show."""

    token_file: File | None = Field(None, description="File with a bearer token for the server; read for each request.")
    ca_file: File | None = Field(None, description="PEM bundle to verify the server's certificate with.")


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
        description="Models that are mixtures of experts, as a regular expression looked for in model_name, upper "
        "and lower case alike: their steps grow with every token. Without it, those of well-known names; $^ for none.",
    )
    profile: File | None = Field(
        None, description="Step times measured before (CSV or JSON), as a start; `controller calibrate` makes one."
    )


class PolicyOptions(Options):
    """When a change is worth it."""

    minimum_gain: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description=(
            "Least gain in throughput that the lower bound must clear, as a share: 0.03 is 3%, and what holds without "
            "one; 0.01 when applying."
        ),
    )
    minimum_drafts: float = Field(300, ge=1, allow_inf_nan=False, description="Least evidence, in verified drafts.")
    max_num_seqs: int = Field(
        256, ge=1, le=65536, description="The server's --max-num-seqs: the largest batch of the schedule."
    )


class LoopOptions(PolicyOptions, ModelOptions):
    """What every verb that runs the loop is told of it."""
