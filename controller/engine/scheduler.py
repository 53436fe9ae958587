"""Puts a schedule into one running scheduler of vLLM, and reads what the engine was launched with.

Everything here runs in the engine's thread, between two steps or at the start of one, so there are no locks.
vLLM's objects are `Any`: their interface is not public. `plugin.py` looks at start whether they still have it.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .control import Answer, Control, Launched
from .schedule import table
from .wanted import Wanted

LOG = logging.getLogger("vllm.adaptive_k")
"""Below `vllm`, so that it appears in vLLM's own log."""
FOLLOWS = frozenset({"ngram", "draft_model", "eagle", "eagle3", "mtp"})
"""Methods that draft the k that the scheduler's lookup table tells, as vLLM's own Dynamic SD does."""
CUT = frozenset({"suffix", "medusa", "custom_class"})
"""Methods that draft the launched k or stop the engine (an assertion), or ignore k: what is too much is cut off."""


class Reins:
    """The control of one scheduler.

    Attributes:
        clock: Seconds, of which only differences mean something.
        control: What is in force, by whom and until when.
        ks: k by batch size as it is in force; index 0 unused, and 0 throughout without speculation.
        cuts: Whether drafts have to be cut, for the method cannot be told to draft fewer.
    """

    def __init__(self, scheduler: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler = scheduler
        self.clock = clock
        self._launch_lookup: list[int] | None = scheduler.dynamic_sd_lookup
        self.control = Control(launched(scheduler), boot_id=secrets.token_hex(16))
        self._launch_ks = self.control.launched.ks or (0,) * (self.control.launched.max_num_seqs + 1)
        self.ks = self._launch_ks
        self.cuts = self.control.launched.method in CUT

    def get(self) -> Answer:
        """What is in force."""
        now = self.clock()
        self._expire(now)
        return 200, self.control.document(now)

    def put(self, wanted: Wanted) -> Answer:
        """Put a schedule in force, or say why not."""
        now = self.clock()
        self._expire(now)
        before = self.control.generation
        answer = self.control.put(wanted, now)
        if self.control.generation != before:
            self._apply(f"schedule {answer[1]['schedule']} of {wanted.owner} for {wanted.ttl_seconds} s")
        return answer

    def reset(self) -> Answer:
        """Return to the launch schedule."""
        now = self.clock()
        self._expire(now)
        before = self.control.generation
        answer = self.control.reset(now)
        if self.control.generation != before:
            self._apply("back to the launch schedule, as asked")
        return answer

    def before_step(self) -> float:
        """Called at the start of every step; returns when it began, for one look at the clock is what it costs."""
        now = self.clock()
        if now >= self.control.deadline_seconds:
            self._expire(now)
        return now

    def cut(self, drafts: Any) -> None:
        """Shorten drafts, in place, to the k in force, for a method that cannot be told to draft fewer."""
        held = self.control.held
        if held is not None:
            k = held[min(max(len(drafts.req_ids), 1), len(held) - 1)]
            drafts.draft_token_ids = [list(tokens)[:k] for tokens in drafts.draft_token_ids]

    def _expire(self, now_seconds: float) -> None:
        owner = self.control.owner
        if self.control.expire(now_seconds):
            self._apply(f"back to the launch schedule: {owner} did not renew its own in time")

    def _apply(self, what: str) -> None:
        """One assignment, so a step sees the old schedule or the new one, never a mixture."""
        held = self.control.held
        self.ks = self._launch_ks if held is None else held
        if not self.cuts:
            self._scheduler.dynamic_sd_lookup = self._launch_lookup if held is None else list(held)
        LOG.info("adaptive-k: %s (generation %d)", what, self.control.generation)


def launched(scheduler: Any) -> Launched:
    """What a scheduler was launched with, read before anything was changed."""
    config = scheduler.vllm_config
    speculative, largest = config.speculative_config, scheduler.scheduler_config.max_num_seqs
    k_max = scheduler.num_spec_tokens
    if speculative is None or not k_max:
        refusal = "this server was launched without speculation: there is no k to change"
        return Launched(None, 0, largest, (), refusal=refusal)
    lookup = scheduler.dynamic_sd_lookup
    ks = table([[1, largest, k_max]], largest) if lookup is None else tuple(lookup)
    graphs = frozenset(ks[1:]) if config.use_v2_model_runner and _has_full_graphs(config) else None
    return Launched(speculative.method, k_max, largest, ks, graphs, _refusal(config))


def _refusal(config: Any) -> str | None:
    """Why k cannot be changed on a server that speculates; what is not known to survive a change is refused."""
    speculative, method = config.speculative_config, config.speculative_config.method
    reasons = {
        "with data parallelism ranks could pick different ks and wait for each other for ever": (
            config.parallel_config.data_parallel_size > 1
        ),
        f"method {method} is not known to survive a change of k": method not in FOLLOWS | CUT,
        "parallel drafting is not known to survive a change of k": speculative.parallel_drafting,
        f"drafts of method {method} can only be cut without asynchronous scheduling": (
            method in CUT and config.scheduler_config.async_scheduling
        ),
        "vLLM's own adaptive verification chooses the lengths on this server": (
            getattr(speculative, "enable_adaptive_verification", False)
        ),
        "a diffusion model has no k": config.model_config.is_diffusion,
        "vLLM's V1 runner does not change k under full CUDA graphs; launch with "
        "num_speculative_tokens_per_batch_size, which makes vLLM capture piecewise ones": (
            method in FOLLOWS and _has_full_graphs(config) and not config.use_v2_model_runner
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _has_full_graphs(config: Any) -> bool:
    return bool(config.compilation_config.cudagraph_mode.has_full_cudagraphs())


def message_of(wanted: Wanted) -> dict[str, Any]:
    """A wanted schedule as it travels between vLLM's processes."""
    return asdict(wanted)
