"""From settings to the loop: what several verbs share."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
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
from controller.options.backtest import BacktestOptions
from controller.options.base import SettingsError, seconds_of
from controller.options.recommend import RecommendOptions
from controller.options.run import RunOptions
from controller.options.server import ModelOptions

LoopOptions = RecommendOptions | RunOptions | BacktestOptions

RECOMMENDED_GAIN: Final = 0.03
APPLIED_GAIN: Final = 0.01
"""Least gain of a change that costs nothing to make and is taken back when it fails; others may cost a restart."""


def controller(
    options: LoopOptions,
    source: MetricsSource,
    clock: Clock,
    *,
    actuator: Actuator | None = None,
    plugin: SpeculationSource | None = None,
    live: Live | None = None,
    restored: Mapping[Key, Learnt] | None = None,
) -> Controller:
    """The loop; without an actuator it only recommends."""
    return Controller(
        source,
        clock,
        actuator or RecommendOnly(),
        policy(options),
        method=options.method,
        stated_k=None if options.k is None else float(options.k),
        capture_limit_tokens=options.capture_limit_tokens or math.inf,
        mixtures=mixtures(options),
        profile=profile(options),
        plugin=plugin,
        live=live,
        restored=restored,
    )


def policy(options: LoopOptions) -> PolicySettings:
    """When to act, as the options want it."""
    applying = isinstance(options, RunOptions) and options.mode == "apply"
    least = APPLIED_GAIN if applying else RECOMMENDED_GAIN
    found = PolicySettings(
        minimum_gain=least if options.minimum_gain is None else options.minimum_gain,
        minimum_drafts=options.minimum_drafts,
        cooldown_seconds=0.0,
        max_batch=options.max_num_seqs,
    )
    if isinstance(options, BacktestOptions):
        return replace(found, cooldown_seconds=options.cooldown_seconds, interval_seconds=seconds_of(options.step))
    if isinstance(options, RecommendOptions):
        return found
    target = None if options.tpot_target_ms is None else options.tpot_target_ms / 1e3
    return replace(
        found,
        cooldown_seconds=options.cooldown_seconds,
        tpot_target_seconds=target if options.objective == "tpot" else None,
        exploration_budget=options.exploration_budget,
        pressure_seconds=target,
        interval_seconds=options.interval_seconds,
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


def say(text: str) -> None:
    """A line for the person at the terminal; data goes to stdout, this does not."""
    print(text, file=sys.stderr, flush=True)
