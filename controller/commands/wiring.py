"""From settings to the loop: what several verbs share."""

import math
import sys
from pathlib import Path
from typing import Final

from controller.act.actuator import RecommendOnly
from controller.clock import Clock
from controller.decide.policy import PolicySettings
from controller.loop import Controller
from controller.model.profile import read_profile
from controller.model.step_table import StepTable
from controller.observe.errors import cause
from controller.observe.source import MetricsSource
from controller.settings import ModelOptions, RecommendOptions, RunOptions, SettingsError

PROFILE_LIMIT_BYTES: Final = 4 * 1024 * 1024


def controller(options: RecommendOptions | RunOptions, source: MetricsSource, clock: Clock) -> Controller:
    """The loop, recommending only."""
    policy = PolicySettings(
        minimum_gain=options.minimum_gain,
        minimum_drafts=options.minimum_drafts,
        cooldown_seconds=options.cooldown_seconds if isinstance(options, RunOptions) else 0.0,
        max_batch=options.max_num_seqs,
    )
    stated_k = None if options.k is None else float(options.k)
    return Controller(
        source,
        clock,
        RecommendOnly(),
        policy,
        method=options.method,
        stated_k=stated_k,
        capture_limit_tokens=options.capture_limit_tokens or math.inf,
        profile=profile(options),
    )


def profile(options: ModelOptions) -> StepTable | None:
    """The profile that the options name; an unusable one is an error of usage."""
    if options.profile is None:
        return None
    try:
        return read_profile(_text(options.profile))
    except (OSError, ValueError) as error:
        why = cause(error) if isinstance(error, OSError | UnicodeDecodeError) else str(error)
        raise SettingsError(
            f"the profile {options.profile} cannot be used: {why}. A profile is CSV with the columns batch, k, "
            "step_ms, or JSON as `controller calibrate` saves it."
        ) from error


def _text(path: Path) -> str:
    with path.open("rb") as file:
        body = file.read(PROFILE_LIMIT_BYTES + 1)
    if len(body) > PROFILE_LIMIT_BYTES:
        raise ValueError(f"it is larger than {PROFILE_LIMIT_BYTES} bytes")
    return body.decode("utf-8")


def say(text: str) -> None:
    """A line for the person at the terminal; data goes to stdout, this does not."""
    print(text, file=sys.stderr, flush=True)
