"""The options of `controller whatif`: many, since each is one number that a person may happen to know."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from controller.options.base import File, Options, Positive


class Figure(StrEnum):
    """What `whatif --plot` draws."""

    K = "k"
    BATCH = "batch"
    PLANE = "plane"
    TEXTBOOK = "textbook"


class WhatIfOptions(Options):
    """Price every k from a few numbers, without a server."""

    alpha: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Acceptance of a draft, given that all before it were; 0-1."
    )
    acceptance: str | None = Field(
        None,
        description="Acceptance by position, such as 0.68,0.39,0.20: each the share of all drafts, as vLLM logs it "
        "(unconditional), so that it never rises.",
    )
    mean_length: str | None = Field(
        None,
        description="Mean acceptance length, bonus token included: one, measured at --k, or those measured at "
        "k=1,2,3..., such as 1.8,2.4,2.87.",
    )
    k: int | None = Field(None, ge=1, le=64, description="The k in force: that of --mean-length, --observed-tpot-ms.")
    c: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="Time of one draft token / time of one target step."
    )
    target_tpot_ms: Positive | None = Field(None, description="Time per output token of the target, not drafting.")
    draft_tpot_ms: Positive | None = Field(None, description="Time per output token of the drafter run alone.")
    observed_tpot_ms: Positive | None = Field(
        None, description="Time per output token measured at --k: tells what a draft costs in truth."
    )
    overhead: float = Field(
        0.0, ge=0, le=100, allow_inf_nan=False, description="What drafting at all adds to a step, as a share of it."
    )
    batch: Positive | None = Field(None, le=65536, description="Decoding requests; 1 without it. Wants --half-batch.")
    half_batch: Positive | None = Field(
        None,
        description="Batch at which half of a step without drafts is fixed cost: verifying k drafts costs "
        "k batch / (batch + half-batch) of it. Free verification without one.",
    )
    k_max: int | None = Field(
        None, ge=1, le=64, description="Largest k; as far as acceptance is given, or 8, without one."
    )
    recommendation: File | None = Field(
        None, description="Take acceptance and cost, where no option states them, from a saved `recommend -o json`."
    )
    compare: tuple[Path, ...] = Field(
        (), description="Two saved `recommend -o json`, before and after a change of drafter: what it brought."
    )
    plot: File | None = Field(None, description="Draw into this .png or .svg file (pip install 'adaptive-k[plot]').")
    figure: Figure = Field(
        Figure.K,
        description="What to draw: speed over k; the best k over batch; best k on the plane of acceptance and cost; "
        "or the textbook's curves.",
    )
    output: Literal["table", "json"] = Field("table", description="Form of the answer.")
