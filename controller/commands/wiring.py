"""From settings to the loop: what several verbs share."""

import sys

from controller.act.actuator import RecommendOnly
from controller.clock import Clock
from controller.decide.policy import PolicySettings
from controller.loop import Controller
from controller.observe.source import MetricsSource
from controller.settings import RecommendOptions, RunOptions


def controller(options: RecommendOptions | RunOptions, source: MetricsSource, clock: Clock) -> Controller:
    """The loop, recommending only."""
    policy = PolicySettings(
        minimum_gain=options.minimum_gain,
        minimum_drafts=options.minimum_drafts,
        cooldown_seconds=options.cooldown_seconds if isinstance(options, RunOptions) else 0.0,
        max_batch=options.max_num_seqs,
    )
    stated_k = None if options.k is None else float(options.k)
    return Controller(source, clock, RecommendOnly(), policy, method=options.method, stated_k=stated_k)


def say(text: str) -> None:
    """A line for the person at the terminal; data goes to stdout, this does not."""
    print(text, file=sys.stderr, flush=True)
