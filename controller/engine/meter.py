"""Feeds the ledger from one running scheduler of vLLM.

It stands in for three methods of that one object, not of its class: once it is off, vLLM runs as without it.
Whatever goes wrong in here ends the measuring with one line in the log; vLLM never sees it.
"""

import inspect
import os
import time
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any

from .ledger import Ledger
from .scheduler import LOG, Reins
from .workloads import VARIABLE, as_label, configured, workload_of

HOOKS = {
    "schedule": (),  # whatever it takes is passed on
    "make_spec_decoding_stats": (
        "spec_decoding_stats", "num_draft_tokens", "num_accepted_tokens", "num_invalid_spec_tokens", "request_id",
    ),
    "update_from_output": ("scheduler_output", "model_runner_output"),
}  # fmt: skip
"""The methods it stands in for, with the parameters that it relies on."""
IN_FLIGHT_MAX = 64
"""Steps planned and not done: 1, with asynchronous scheduling 2, with pipeline parallelism as many as stages."""
REST_SECONDS = 1.0
"""Whoever does nothing for so long between two steps is paused, or busy with other than steps: loading, profiling."""


def unmeasurable(scheduler: Any) -> str | None:
    """What a scheduler lacks of what measuring needs, as a phrase; None when nothing."""
    for name, relied_on in HOOKS.items():
        method = getattr(scheduler, name, None)
        if not callable(method):
            return f"Scheduler.{name}"
        parameters = inspect.signature(method).parameters
        by_position = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters.values())
        if relied_on and not (by_position and tuple(parameters) == relied_on):
            return f"Scheduler.{name}({', '.join(relied_on)})"
    return None


def begin(scheduler: Any, reins: Reins, clock: Callable[[], float] = time.perf_counter) -> "Meter | None":
    """Measure this scheduler from its next step on; None where that cannot be, or would mean nothing."""
    config = scheduler.vllm_config
    if config.parallel_config.data_parallel_size > 1 or config.model_config.is_diffusion:
        return None  # nobody could ask for it; there is no k
    lacking = unmeasurable(scheduler)
    if lacking is not None:
        LOG.warning("adaptive-k: nothing is measured, this vLLM lacks %s; k can be changed all the same", lacking)
        return None
    names, in_vain = configured(os.environ.get(VARIABLE))
    if in_vain:
        LOG.warning("adaptive-k: %s lists %s in vain: not a label, or one of too many", VARIABLE, ascii(in_vain)[:200])
    launched = reins.control.launched
    meter = Meter(scheduler, reins, Ledger(launched.k_max, launched.max_num_seqs, names), clock)
    meter.attach()
    return meter


class Meter:
    """Times the steps of one scheduler and counts what they verified."""

    def __init__(self, scheduler: Any, reins: Reins, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._reins = reins
        self._ledger = ledger
        self._clock = clock
        self._model = as_label(str(scheduler.vllm_config.model_config.served_model_name))
        self._planned: deque[tuple[Any, int]] = deque(maxlen=IN_FLIGHT_MAX)
        self._since_seconds: float | None = None
        self._k_before: int | None = None
        self._stand_ins: dict[str, Callable[..., Any]] = {}
        self.is_on = False

    def attach(self) -> None:
        """Stand in for the methods from now on."""
        self._stand_ins = {
            "schedule": self._planning(self._scheduler.schedule),
            "make_spec_decoding_stats": self._verifying(self._scheduler.make_spec_decoding_stats),
            "update_from_output": self._finishing(self._scheduler.update_from_output),
        }
        vars(self._scheduler).update(self._stand_ins)
        self.is_on = True

    def document(self) -> dict[str, Any] | None:
        """What was measured so far; None when it is off."""
        if not self.is_on:
            return None
        try:
            return self._ledger.document()
        except Exception as error:  # noqa: BLE001  (see the module's docstring)
            self._stop(error)
            return None

    def _planning(self, schedule: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for `schedule`: a step begins, and its batch and its k are settled."""
        wake, plan, stop = self._wake, self._plan, self._stop

        @wraps(schedule)
        def measured(*args: Any, **kwargs: Any) -> Any:
            try:
                wake()
            except Exception as error:  # noqa: BLE001  (see the module's docstring)
                stop(error)
            output = schedule(*args, **kwargs)
            try:
                plan(output)
            except Exception as error:  # noqa: BLE001
                stop(error)
            return output

        return measured

    def _verifying(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for `make_spec_decoding_stats`, called for each verification of each request: the hot path."""
        verified, unusual, stop = self._ledger.verified_by_request, self._verify, self._stop

        @wraps(make)
        def measured(
            spec_decoding_stats: Any,
            num_draft_tokens: int,
            num_accepted_tokens: int,
            num_invalid_spec_tokens: dict[str, int] | None,
            request_id: str,
        ) -> Any:
            try:
                if num_invalid_spec_tokens:
                    unusual(request_id, num_draft_tokens, num_accepted_tokens, num_invalid_spec_tokens)
                else:
                    verified[request_id][num_draft_tokens][num_accepted_tokens] += 1
            except KeyError:
                unusual(request_id, num_draft_tokens, num_accepted_tokens, {})
            except Exception as error:  # noqa: BLE001  (see the module's docstring)
                stop(error)
            return make(spec_decoding_stats, num_draft_tokens, num_accepted_tokens, num_invalid_spec_tokens, request_id)

        return measured

    def _finishing(self, update: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for `update_from_output`: a step is done."""
        done, stop = self._done, self._stop

        @wraps(update)
        def measured(scheduler_output: Any, model_runner_output: Any) -> Any:
            outputs = update(scheduler_output, model_runner_output)
            try:
                done(scheduler_output, outputs)
            except Exception as error:  # noqa: BLE001  (see the module's docstring)
                stop(error)
            return outputs

        return measured

    def _wake(self) -> None:
        """The engine works again: what it did not do before is no step's time."""
        now, since = self._clock(), self._since_seconds
        if since is None or (now - since > REST_SECONDS and not self._planned):
            self._since_seconds = now

    def _plan(self, output: Any) -> None:
        """Keep k with the step it holds for: with asynchronous scheduling the step before is not done yet."""
        if output.finished_req_ids:
            self._ledger.end(output.finished_req_ids)
        self._planned.append((output, self._reins.ks[len(output.num_scheduled_tokens)]))

    def _verify(self, request_id: str, drafts: int, accepted: int, invalid: dict[str, int]) -> None:
        """Count a request's first verification, for which its workload is looked up, or one beside a grammar.

        Drafts that a grammar ruled out count as not drafted, as they do on vLLM's page.
        """
        try:
            if request_id not in self._ledger.verified_by_request:
                workload = workload_of(self._scheduler.requests[request_id], self._model)
                self._ledger.begin(request_id, workload, self._clock())
            self._ledger.verified_by_request[request_id][drafts - invalid.get(request_id, 0)][accepted] += 1
        except Exception as error:  # noqa: BLE001  (see the module's docstring)
            self._stop(error)

    def _done(self, output: Any, outputs: dict[int, Any]) -> None:
        """Count a step.

        It lasted from the end of the step before to its own: whatever the engine did in between, another step was
        not among it. Without asynchronous scheduling that is plan, run and update of this step; with it, two
        steps overlap, and from one update to the next is the time by which this step came later. After a rest it
        lasted since it was planned.
        """
        batch, now, since = len(output.num_scheduled_tokens), self._clock(), self._since_seconds
        k = self._k_of(output)
        self._since_seconds = now if self._planned or (batch and self._scheduler.running) else None
        if k is None or since is None or not batch:
            return
        tokens = 0
        for each in outputs.values():
            tokens += sum([len(one.new_token_ids) for one in each.outputs])
        decoding, prompt_tokens = (batch, 0) if _only_decodes(output, batch) else _beside_prompts(output)
        if k == self._k_before and decoding:
            self._ledger.step(decoding, k, now - since, tokens, prompt_tokens)
        else:
            self._ledger.other_step(batch, now - since, tokens)
        self._k_before = k

    def _k_of(self, output: Any) -> int | None:
        """The k that a step was planned with; None for one that was not planned here."""
        while self._planned:
            planned, k = self._planned.popleft()
            if planned is output:
                return k
        return None

    def _stop(self, error: Exception) -> None:
        """Measure no more; what was counted is not told either, for it would no longer grow."""
        if not self.is_on:
            return
        self.is_on = False
        for name, stand_in in self._stand_ins.items():
            if vars(self._scheduler).get(name) is stand_in:  # else another plugin stands in for it as well
                delattr(self._scheduler, name)
        LOG.warning(
            "adaptive-k: nothing is measured any more, because of %s: %s; serving and control go on",
            type(error).__name__,
            ascii(str(error))[:300],
        )


def _only_decodes(output: Any, batch: int) -> bool:
    """Whether no request of a step read its prompt: then each has one token and its drafts.

    A request without drafts may be reading its prompt, one with drafts is not; so the sum is rarely needed.
    """
    drafts = output.scheduled_spec_decode_tokens
    if output.scheduled_new_reqs:
        return False
    return len(drafts) == batch or output.total_num_scheduled_tokens == batch + sum(map(len, drafts.values()))


def _beside_prompts(output: Any) -> tuple[int, int]:
    """How many requests of a step decoded, and how many prompt tokens were read beside them.

    Who decodes has one token and its drafts; the last token of a prompt, read alone, passes for one.
    """
    drafts = output.scheduled_spec_decode_tokens
    decoding = prompt_tokens = 0
    for request_id, tokens in output.num_scheduled_tokens.items():
        if tokens == 1 + len(drafts.get(request_id, ())):
            decoding += 1
        else:
            prompt_tokens += tokens
    return decoding, prompt_tokens
