"""Scenarios as data: the published schema of a scenario file.

`benchmarks/scenario.schema.json` is made from the classes below; a test fails while it is stale.
"""

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from controller.simulator.grids import GRIDS

_DAY: Final = 86_400.0

Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Seconds = Annotated[float, Field(ge=0, le=_DAY)]
Batch = Annotated[int, Field(ge=1, le=1024)]
K = Annotated[int, Field(ge=0, le=16)]
StepMs = Annotated[float, Field(gt=0, le=60_000)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LengthsDocument(_Document):
    """Token counts: log-normal with the given mean, cut to [least, most]."""

    mean: Annotated[float, Field(ge=1, le=32_768, description="Mean in tokens.")]
    spread: Annotated[float, Field(ge=0, le=2, description="Standard deviation of the logarithm.")] = 0.5
    least: Annotated[int, Field(ge=1, le=32_768)] = 1
    most: Annotated[int, Field(ge=1, le=32_768)] = 4096


class StretchesDocument(_Document):
    """Acceptance in bursts: easy and hard stretches of text take turns."""

    easy_tokens: Annotated[float, Field(ge=1, le=1000, description="Mean length of an easy stretch.")]
    hard_tokens: Annotated[float, Field(ge=1, le=1000, description="Mean length of a hard stretch.")]
    logit_difference: Annotated[
        float, Field(ge=0, le=6, description="How much higher the logit of acceptance is in an easy stretch.")
    ]


class WorkloadDocument(_Document):
    """One kind of traffic."""

    name: Name
    survival: Annotated[
        tuple[Probability, ...],
        Field(
            min_length=1,
            max_length=16,
            description=(
                "P(the first j drafts are all accepted | the step drafts) for j = 1..k_max, as a server shows it that "
                "drafts k_max; spread, bursts and matches leave this expectation as it is."
            ),
        ),
    ]
    prompt_tokens: LengthsDocument
    output_tokens: LengthsDocument
    spread_between_requests: Annotated[
        float, Field(ge=0, le=2, description="Standard deviation of an offset that each request adds to every logit.")
    ] = 0.0
    bursts: StretchesDocument | None = None
    coverage: Annotated[
        float, Field(gt=0, le=1, description="Share of steps that draft at all: below 1 for n-gram and suffix.")
    ] = 1.0
    match_tokens: Annotated[
        float | None,
        Field(ge=1.01, le=1000, description="Mean length of a match that is looked up; null always drafts k."),
    ] = None


class CostDocument(_Document):
    """What a step takes: a grid by name, or one's own. Exactly one of `grid` and `step_ms` is given."""

    grid: Annotated[str | None, Field(description=f"One of: {', '.join(GRIDS)}.")] = None
    scale: Annotated[float, Field(gt=0, le=1000, description="Every time is multiplied by it.")] = 1.0
    batches: Annotated[tuple[Batch, ...] | None, Field(min_length=1, max_length=64)] = None
    ks: Annotated[tuple[K, ...] | None, Field(min_length=1, max_length=17)] = None
    step_ms: Annotated[
        tuple[tuple[StepMs, ...], ...] | None,
        Field(min_length=1, max_length=64, description="Milliseconds of a step, step_ms[batch][k]."),
    ] = None
    k0_tax: Annotated[
        float, Field(ge=0, le=1, description="What the idle drafter adds to a step at k=0; 0 if the grid has it.")
    ] = 0.0
    prefill_ms_per_token: Annotated[float, Field(ge=0, le=100)] = 0.025
    kv_ms_per_token: Annotated[
        float, Field(ge=0, le=1, description="Per token of context beyond reference_context_tokens.")
    ] = 0.00005
    reference_context_tokens: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    capture_limit_tokens: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Steps of more tokens have no CUDA graph.")
    ] = None
    beyond_capture_factor: Annotated[float, Field(ge=1, le=10)] = 1.6


class PhaseDocument(_Document):
    """Load and traffic from start_seconds on. Exactly one of the two kinds of load is given."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["concurrency"], "properties": {"concurrency": {"type": "integer"}}},
                {"required": ["requests_per_second"], "properties": {"requests_per_second": {"type": "number"}}},
            ]
        }
    )
    start_seconds: Seconds
    mix: Annotated[
        dict[Name, Annotated[float, Field(ge=0, le=1e6)]],
        Field(min_length=1, max_length=64, description="Weight of each workload among new requests."),
    ]
    concurrency: Annotated[
        int | None, Field(ge=0, le=4096, description="Closed loop: so many clients, each with one request at a time.")
    ] = None
    requests_per_second: Annotated[
        float | None, Field(ge=0, le=10_000, description="Open loop: Poisson arrivals, whatever the server does.")
    ] = None


class EventDocument(_Document):
    """Something that happens to the server."""

    at_seconds: Seconds
    kind: Literal["restart"]
    down_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0


class NoiseDocument(_Document):
    """What makes equal steps unequal: noise of every step, and a drift that correlates stretches of them."""

    step_sigma: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    drift_sigma: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    drift_memory: Annotated[
        float, Field(ge=0, le=0.999, description="Correlation of the drift from 64 steps to the next 64.")
    ] = 0.9


Method = Literal["eagle", "eagle3", "mtp", "draft_model", "ngram", "suffix", "medusa"]


class ScenarioDocument(_Document):
    """A server, its traffic, and how long both are watched."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: Annotated[str, Field(min_length=1, max_length=400)]
    duration_seconds: Annotated[float, Field(ge=60, le=_DAY)]
    k_max: Annotated[int, Field(ge=1, le=16, description="num_speculative_tokens at launch.")]
    method: Method = "eagle"
    launch_schedule: Annotated[
        tuple[tuple[Batch, Batch, K], ...] | None,
        Field(max_length=256, description="[lowest batch, highest batch, k]; null for k_max at every batch."),
    ] = None
    max_num_seqs: Batch = 256
    max_num_batched_tokens: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    kv_cache_tokens: Annotated[int, Field(ge=1024, le=100_000_000)] = 400_000
    cost: CostDocument
    noise: NoiseDocument = NoiseDocument()
    workloads: Annotated[tuple[WorkloadDocument, ...], Field(min_length=1, max_length=64)]
    load: Annotated[tuple[PhaseDocument, ...], Field(min_length=1, max_length=1000)]
    repeat_every_seconds: Annotated[
        float | None, Field(gt=0, le=_DAY, description="Load and events start over; null goes on with the last.")
    ] = None
    events: Annotated[tuple[EventDocument, ...], Field(max_length=1000)] = ()
    sudden_switch_at_seconds: Annotated[
        Seconds | None, Field(description="When traffic changes suddenly, and following it is timed.")
    ] = None


class FileDocument(_Document):
    """A file of scenarios for `benchmarks/control.py`."""

    model_config = ConfigDict(title="adaptive-k scenarios")
    version: Literal[1]
    scenarios: Annotated[tuple[ScenarioDocument, ...], Field(min_length=1, max_length=64)]


def schema_text() -> str:
    """The JSON schema of a scenario file (draft 2020-12)."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **FileDocument.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"
