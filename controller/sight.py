"""What one pass saw of an engine: the window between two pages, and between two answers of the plugin."""

import math
from dataclasses import dataclass

from controller.decide.decision import Schedule
from controller.decide.present import Present, present, ran_as_scheduled, scheduled_k, single_k
from controller.model.drafter import METHODS, UNKNOWN, Drafter, Method
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Measured, Speculation, measured_between
from controller.observe.window import Window, between
from controller.reason import Reason


@dataclass(frozen=True, slots=True)
class Sight:
    """One window of one engine.

    Attributes:
        window: By the counters of `/metrics`.
        measured: By those of the plugin; None without them.
        now: How the server drafts now.
        single_k: The k that nearly all of the window ran, if there is one.
        applied: Whether the engine ran the k that its schedule says; None when the counters cannot tell.
        drafter: Priors of the method.
        max_num_seqs: The server's largest batch, where the plugin tells it.
    """

    window: Window
    measured: Measured | None
    now: Present
    single_k: int | None
    applied: bool | None
    drafter: Drafter
    max_num_seqs: int | None

    @property
    def busy(self) -> bool:
        """Whether anything was decoded."""
        return self.window.request_steps > 0 and self.window.steps > 0

    @property
    def batch(self) -> float:
        """Decoding requests; a step has at least one."""
        return max(1.0, self.window.decode_batch or 1.0)

    @property
    def log_rate(self) -> float | None:
        """ln of one request's tokens per second in decoding: -ln TPOT."""
        tpot = self.window.tpot_seconds
        return -math.log(tpot) if tpot else None

    @property
    def prompt_per_token(self) -> float:
        """Prompt tokens worked through for each decoded token."""
        decoded = self.window.decoded_tokens
        return self.window.prompt_tokens / decoded if decoded > 0 else 0.0


def see(
    before: Snapshot,
    after: Snapshot,
    told_before: Speculation | None,
    told_after: Speculation | None,
    method: Method | None,
    stated_k: float | None,
) -> Sight:
    """The window between two passes; raises `ObserveError` when it cannot be used.

    Args:
        before: The earlier page.
        after: The later one.
        told_before: The plugin's state after the earlier pass had acted.
        told_after: Its state now.
        method: Drafting method as the operator states it.
        stated_k: The k in force as the operator states it.
    """
    window = between(before, after)
    measured = measured_between(told_before, told_after)
    schedule = _in_force_throughout(told_before, told_after)
    known = known_drafter(method, told_after)
    stated = scheduled_k(schedule, measured, window) if stated_k is None else stated_k
    now = present(window, known, stated)
    return Sight(
        window=window,
        measured=measured,
        now=now,
        single_k=single_k(measured, now),
        applied=ran_as_scheduled(schedule, measured, window, now.drafting),
        drafter=known or UNKNOWN,
        max_num_seqs=told_after.max_num_seqs if told_after else None,
    )


def known_drafter(method: Method | None, told: Speculation | None) -> Drafter | None:
    """Priors of the method that the operator states, or else of the one that the plugin tells."""
    if method is not None:
        return METHODS[method]
    name = told.method if told else None
    return METHODS[Method(name)] if name in set(Method) else None


def _in_force_throughout(before: Speculation | None, after: Speculation | None) -> Schedule:
    """The schedule, if it was the same from one pass to the next; empty when it changed or is not known."""
    if before is None or after is None:
        return ()
    same = (before.boot_id, before.generation) == (after.boot_id, after.generation)
    return after.schedule if same else ()


def refuse_impossible_k(stated_k: float | None, k_max: int) -> None:
    """Refuses a k that no server with this k_max can run; raises `ObserveError`."""
    if stated_k is not None and stated_k > k_max:
        raise ObserveError(
            Reason.K_IMPOSSIBLE,
            f"--k {stated_k:g} is beyond k_max={k_max}, the server's num_speculative_tokens: state the k in force, or "
            "leave --k out.",
        )
