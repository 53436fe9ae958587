"""From settings to the loop: what several verbs share."""

import math
import re
from collections.abc import Mapping
from typing import Final

from controller.act.actuator import Actuator, RecommendOnly
from controller.clock import Clock
from controller.decide.policy_settings import PolicySettings
from controller.files import DOCUMENT_BYTES_MAX, text_of
from controller.live import Live
from controller.loop import Controller
from controller.memory import Learnt
from controller.model.profile import read_profile
from controller.model.step_table import StepTable
from controller.model.target import NAMES_OF_MIXTURES
from controller.observe.errors import cause
from controller.observe.snapshot import Key
from controller.observe.source import MetricsSource, SpeculationSource
from controller.options.base import SettingsError
from controller.options.server import LoopOptions, ModelOptions, PolicyOptions

RECOMMENDED_GAIN: Final = 0.03
"""Least gain of a change that may cost a restart."""


def controller(
    options: LoopOptions,
    source: MetricsSource,
    clock: Clock,
    *,
    policy: PolicySettings | None = None,
    actuator: Actuator | None = None,
    plugin: SpeculationSource | None = None,
    live: Live | None = None,
    restored: Mapping[Key, Learnt] | None = None,
) -> Controller:
    """The loop; without an actuator it only recommends, and without a policy as `recommending` says."""
    return Controller(
        source,
        clock,
        actuator or RecommendOnly(),
        policy or recommending(options),
        method=options.method,
        stated_k=None if options.k is None else float(options.k),
        capture_limit_tokens=options.capture_limit_tokens or math.inf,
        mixtures=mixtures(options),
        profile=profile(options),
        plugin=plugin,
        live=live,
        restored=restored,
    )


def recommending(options: PolicyOptions, least_gain: float = RECOMMENDED_GAIN) -> PolicySettings:
    """When another k is recommended; `least_gain` where no option says it."""
    return PolicySettings(
        minimum_gain=least_gain if options.minimum_gain is None else options.minimum_gain,
        minimum_drafts=options.minimum_drafts,
        cooldown_seconds=0.0,
        max_batch=options.max_num_seqs,
    )


def mixtures(options: ModelOptions) -> re.Pattern[str]:
    """What the names of mixtures of experts have in them."""
    return NAMES_OF_MIXTURES if options.moe_models is None else re.compile(options.moe_models, re.IGNORECASE)


def profile(options: ModelOptions) -> StepTable | None:
    """The profile that the options name; an unusable one is an error of usage."""
    if options.profile is None:
        return None
    try:
        return read_profile(text_of(options.profile, DOCUMENT_BYTES_MAX))
    except (OSError, ValueError) as error:
        why = cause(error) if isinstance(error, OSError | UnicodeDecodeError) else str(error)
        raise SettingsError(
            f"the profile {options.profile} cannot be used: {why}. A profile is CSV with the columns batch, k, "
            "step_ms, or JSON as `controller calibrate` saves it."
        ) from error
