"""`controller launch-config`: the launch configuration under which k can later be changed live."""

import json
import shlex
from pathlib import Path
from typing import Any

from controller.commands.exit_codes import OK
from controller.commands.old_vllm import warned
from controller.commands.say import say
from controller.decide.decision import Schedule
from controller.decide.launch import launch_schedule
from controller.files import DOCUMENT_BYTES_MAX, text_of
from controller.model.drafter import CUT_K, FIXED_K, LIVE_K
from controller.options.base import SettingsError
from controller.options.verbs import LaunchConfigOptions


def launch_config(options: LaunchConfigOptions) -> int:
    """Print the `--speculative-config` and why it looks as it does."""
    if options.method in FIXED_K:
        cut = (
            ". With the engine plugin k can still be lowered live, where vLLM schedules synchronously: drafts "
            "are then cut before they are verified (docs/engine-plugin.md)"
        )
        raise SettingsError(
            f"--method {options.method} allows one k only: vLLM stops when a schedule changes it. Launch it with the "
            f"num_speculative_tokens that `controller recommend --method {options.method}` gives"
            f"{cut if options.method in CUT_K else ''}."
        )
    wanted = _wanted(options)
    try:
        schedule = launch_schedule(wanted, options.k_max, options.max_num_seqs)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    config: dict[str, Any] = {"method": options.method.value}
    if options.model:
        config["model"] = options.model
    config["num_speculative_tokens"] = options.k_max
    config["num_speculative_tokens_per_batch_size"] = [list(each) for each in schedule]
    warning = warned([(schedule, options.k_max)], options.method)
    broken = f"{warning}\n" if warning else ""
    fixed = (
        ""
        if options.method in LIVE_K
        else (
            f"The engine plugin does not change k of method {options.method} live, for it is not "
            "known to survive that: this schedule holds until the next launch (docs/engine-plugin.md).\n"
        )
    )
    say(
        f"Every k from 0 to {options.k_max} occurs for some batch size up to {options.max_num_seqs}, so that vLLM "
        "captures CUDA graphs for each; the single batch sizes near the top are there for that alone.\n"
        "On the V1 runner any schedule forces piecewise graphs: measure throughput before and after.\n"
        f"{broken}{fixed}Start vLLM with:"
    )
    print(f"--speculative-config {shlex.quote(json.dumps(config))} --max-num-seqs {options.max_num_seqs}")
    return OK


def _wanted(options: LaunchConfigOptions) -> Schedule:
    if options.schedule and options.recommendation:
        raise SettingsError("give either --schedule or --recommendation, not both")
    if options.recommendation:
        return _from_recommendation(options.recommendation)
    if options.schedule:
        try:
            found = json.loads(options.schedule)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"--schedule is not JSON like [[1, 16, 5], [17, 64, 3]]: {error}") from error
        return _ranges(found, "--schedule")
    return ((1, options.max_num_seqs, options.k_max),)


def _from_recommendation(path: Path) -> Schedule:
    try:
        found = json.loads(text_of(path, DOCUMENT_BYTES_MAX))
        schedules = [server["recommendation"]["schedule"] for server in found["servers"]]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise SettingsError(
            f"--recommendation {path} is not a saved `controller recommend -o json` ({type(error).__name__})"
        ) from error
    given = [schedule for schedule in schedules if schedule]
    if len(given) != 1:
        raise SettingsError(
            f"--recommendation {path} holds {len(given)} schedules; exactly one is needed. Save one after enough "
            "traffic, of one server"
        )
    return _ranges(given[0], f"--recommendation {path}")


def _ranges(value: Any, where: str) -> Schedule:
    whole = isinstance(value, list) and all(
        isinstance(each, list) and len(each) == 3 and all(type(part) is int for part in each) for each in value
    )
    if not whole:
        raise SettingsError(f"{where} must be a list of [lowest batch, highest batch, k], whole numbers")
    return tuple((low, high, k) for low, high, k in value)
