"""Which k runs now, as far as the counters tell."""

import math
from dataclasses import dataclass
from typing import Final

from controller.decide.decision import Schedule
from controller.decide.schedule import k_at, ks_between
from controller.model.drafter import Drafter, Drafting
from controller.observe.speculation import Measured
from controller.observe.window import Window

WHOLE: Final = 0.02
"""A mean drafted length within this of a whole number is that number."""
NEARLY_ALL: Final = 0.9
"""A share of request-steps that stands for all of them."""
ALWAYS: Final = 0.97
"""A share of drafting request-steps from which every step is taken to draft: the rest is requests at their end."""


@dataclass(frozen=True, slots=True)
class Present:
    """How the server drafts now.

    Attributes:
        k: Mean k in force over the window's request-steps; None when the counters cannot tell.
        drafting: How short drafts are to be read.
    """

    k: float | None
    drafting: Drafting


def scheduled_k(schedule: Schedule, measured: Measured | None, window: Window) -> float | None:
    """Mean k over the window's request-steps, where the plugin tells it.

    Args:
        schedule: In force throughout the window; empty when it changed.
        measured: What the plugin counted in it.
        window: The counters of `/metrics`.
    """
    steps = measured.steps if measured is not None else ()
    decoded = sum(each.request_steps for each in steps)
    if decoded > 0:
        return sum(each.request_steps * each.k for each in steps) / decoded
    batch = window.decode_batch
    return float(k_at(schedule, max(1, round(batch))) or 0) if schedule and batch else None


def single_k(measured: Measured | None, now: Present) -> int | None:
    """The k that nearly all of the window ran, if there is one."""
    steps = measured.steps if measured is not None else ()
    decoded = sum(each.request_steps for each in steps)
    if decoded > 0:
        by_k = {k: sum(each.request_steps for each in steps if each.k == k) for k in {each.k for each in steps}}
        k, most = max(by_k.items(), key=lambda item: item[1])
        return k if most >= NEARLY_ALL * decoded else None
    return round(now.k) if now.k is not None and abs(now.k - round(now.k)) <= WHOLE else None


def ran_as_scheduled(schedule: Schedule, measured: Measured | None, window: Window, drafting: Drafting) -> bool | None:
    """Whether the engine ran the k that its schedule says, by its own counters; None when they cannot tell.

    With the plugin's counts: whether nearly all request-steps ran the k of their batch. Without them, for a method
    that always drafts k: whether drafts are as long on average as the schedule's k allows at the mean batch.
    """
    if not schedule:
        return None
    steps = measured.steps if measured is not None else ()
    decoded = sum(each.request_steps for each in steps)
    if decoded > 0:
        right = sum(
            each.request_steps for each in steps if each.k in ks_between(schedule, each.batch_min, each.batch_max)
        )
        return right >= NEARLY_ALL * decoded
    batch = window.decode_batch
    if drafting is not Drafting.FIXED or not batch or window.request_steps < 1:
        return None
    near = {k_at(schedule, max(1, math.floor(batch / 2))), k_at(schedule, math.ceil(2 * batch))}
    k = k_at(schedule, max(1, round(batch)))
    if k is None or near != {k}:
        return None  # the load moves about a boundary of the schedule
    return abs(window.draft_tokens / window.request_steps - k) <= 0.5


def present(window: Window, drafter: Drafter | None, stated_k: float | None) -> Present:
    """The k in force, and how short drafts are to be read.

    The configured k is in no metric. A method that always drafts k shows it as its mean drafted length. n-gram and
    suffix draft fewer, or nothing, so that for them k is known only when it is stated. When the method is not known
    either, whole lengths in every step mean that it always drafts k; anything else may be either, and is taken as
    drafts that fall short, since this reproduces what was observed.

    Args:
        window: The counters.
        drafter: The method's priors; None when the method is not known.
        stated_k: k as the operator states it; None to infer it.
    """
    length, share = window.mean_draft_length, window.drafting_share
    always = length is not None and share is not None and share >= ALWAYS
    whole = length is not None and abs(length - round(length)) <= WHOLE
    inferred = Drafting.FIXED if always and whole else Drafting.VARIABLE
    drafting = drafter.drafting if drafter is not None else inferred
    if stated_k is not None:
        return Present(stated_k, drafting)
    if drafting is Drafting.VARIABLE:
        return Present(None, drafting)
    if length is None or share is None:
        return Present(0.0 if window.request_steps > 0 else None, drafting)
    mean = length if always else length * share
    return Present(float(round(mean)) if always and whole else mean, drafting)
