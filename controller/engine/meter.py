"""Feeds the ledger from one running scheduler of vLLM.

It stands in for one method of that one object, not of its class, and is told of planned steps by `plugin.py`: once it
is off, vLLM runs as without it. Whatever goes wrong in here ends the measuring with one line in the log; vLLM never
sees it.

Verifications are counted once per step, from what went into it and what came out of it. That is exact: a step's outputs
have tokens of just those requests whose drafts vLLM counts as verified. Those of a request that was aborted, failed or
preempted in mid-step it does not count, or it does and puts out their tokens.
"""

import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable, KeysView
from functools import wraps
from typing import Any

from .ledger import Ledger
from .scheduler import LOG, Reins
from .workloads import VARIABLE, as_label, configured, workload_of

HOOK = "update_from_output"
RELIED_ON = ("scheduler_output", "model_runner_output")
"""The method it stands in for, with the parameters that it relies on."""
ENDED = "finished_req_ids"
"""Requests that ended since the last step was planned."""
IN_FLIGHT_MAX = 64
"""Steps planned and not done: 1, with asynchronous scheduling 2, with pipeline parallelism as many as stages."""
TOGETHER_MIN = 12
"""From so many requests on it takes less time to count those that are alike together than one by one."""
REST_SECONDS = 1.0
"""Whoever does nothing for so long between two steps is paused, or busy with other than steps: loading, profiling."""


def unmeasurable(scheduler: Any) -> str | None:
    """What a scheduler lacks of what measuring needs, as a phrase; None when nothing."""
    method = getattr(scheduler, HOOK, None)
    if not callable(method):
        return f"Scheduler.{HOOK}"
    if not hasattr(scheduler, ENDED):
        return f"Scheduler.{ENDED}"
    parameters = inspect.signature(method).parameters
    by_position = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters.values())
    return None if by_position and tuple(parameters) == RELIED_ON else f"Scheduler.{HOOK}({', '.join(RELIED_ON)})"


def begin(scheduler: Any, reins: Reins) -> "Meter | None":
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
    meter = Meter(scheduler, reins, Ledger(launched.k_max, launched.max_num_seqs, names))
    meter.attach()
    return meter


class Meter:
    """Times the steps of one scheduler and counts what they verified."""

    def __init__(self, scheduler: Any, reins: Reins, ledger: Ledger) -> None:
        self._scheduler = scheduler
        self._reins = reins
        self._ledger = ledger
        self._clock = reins.clock
        self._model = as_label(str(scheduler.vllm_config.model_config.served_model_name))
        self._planned: deque[tuple[Any, int]] = deque(maxlen=IN_FLIGHT_MAX)
        self._not_verified: set[str] = set()
        self._since_seconds: float | None = None
        self._k_before: int | None = None
        self._stand_in: Callable[..., Any] | None = None
        self.is_on = False

    def attach(self) -> None:
        """Stand in for the method from now on."""
        self._stand_in = self._finishing(self._scheduler.update_from_output)
        setattr(self._scheduler, HOOK, self._stand_in)
        self.is_on = True

    def plan(self, output: Any, began_seconds: float) -> None:
        """Keep k with the step it holds for: with asynchronous scheduling the step before is not done yet.

        Where the engine works again after a rest, what it did not do before is no step's time.
        """
        try:
            planned, since = self._planned, self._since_seconds
            if since is None or (began_seconds - since > REST_SECONDS and not planned):
                self._since_seconds = began_seconds
            if output.finished_req_ids:
                self._ledger.end(output.finished_req_ids)
                self._not_verified.difference_update(output.finished_req_ids)
            for new in output.scheduled_new_reqs:
                self._not_verified.add(new.req_id)
            if self._not_verified and output.scheduled_spec_decode_tokens:
                self._begin(output.scheduled_spec_decode_tokens.keys())
            planned.append((output, self._reins.ks[len(output.num_scheduled_tokens)]))
        except Exception as error:  # noqa: BLE001  (see the module's docstring)
            self._stop(error)

    def document(self) -> dict[str, Any] | None:
        """What was measured so far; None when it is off."""
        if not self.is_on:
            return None
        try:
            return self._ledger.document()
        except Exception as error:  # noqa: BLE001  (see the module's docstring)
            self._stop(error)
            return None

    def _finishing(self, update: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for `update_from_output`: a step is done. A reply that stops in it is cut within the call."""
        done, stop = self._done, self._stop
        packed: Callable[[Iterable[int]], bytes | list[int]] = (
            bytes if self._reins.control.launched.k_max < 255 else list
        )

        @wraps(update)
        def measured(scheduler_output: Any, model_runner_output: Any) -> Any:
            sampled: bytes | list[int] | None = None
            try:
                drafts = scheduler_output.scheduled_spec_decode_tokens
                sampled = packed(map(len, model_runner_output.sampled_token_ids)) if drafts else b""
            except Exception as error:  # noqa: BLE001  (see the module's docstring)
                stop(error)
            outputs = update(scheduler_output, model_runner_output)
            try:
                if sampled is not None and self.is_on:
                    done(scheduler_output, model_runner_output, sampled, outputs)
            except Exception as error:  # noqa: BLE001
                stop(error)
            return outputs

        return measured

    def _begin(self, request_ids: KeysView[str]) -> None:
        """Look up the workloads of the requests that verify for the first time: after the step they may be gone.

        A request that was preempted is new once more, but not to the ledger.
        """
        for request_id in request_ids & self._not_verified:
            self._not_verified.discard(request_id)
            if request_id not in self._ledger.verified_by_request:
                workload = workload_of(self._scheduler.requests[request_id], self._model)
                self._ledger.begin(request_id, workload, self._clock())

    def _done(self, output: Any, run: Any, sampled: bytes | list[int], outputs: dict[int, Any]) -> None:
        """Count a step.

        It lasted from the end of the step before to its own: whatever the engine did in between, another step was
        not among it. Without asynchronous scheduling that is plan, run and update of this step; with it, two
        steps overlap, and from one update to the next is the time by which this step came later. After a rest it
        lasted since it was planned.
        """
        now, since, batch = self._clock(), self._since_seconds, len(output.num_scheduled_tokens)
        planned, k = self._planned, None
        while planned and k is None:
            step, k_then = planned.popleft()
            k = k_then if step is output else None  # None for a step that was not planned here
        self._since_seconds = now if planned or (batch and self._scheduler.running) else None
        tokens = self._verified(output, run, sampled, outputs)
        if k is None or since is None or not batch:
            return
        decoding, prompt_tokens = (batch, 0) if _only_decodes(output, batch) else _beside_prompts(output)
        if k == self._k_before and decoding:
            self._ledger.step(decoding, k, now - since, tokens, prompt_tokens)
        else:
            self._ledger.other_step(now - since, tokens)
        self._k_before = k

    def _verified(self, output: Any, run: Any, sampled: bytes | list[int], outputs: dict[int, Any]) -> int:
        """Count the verifications of a step; returns the tokens emitted in it. The hot path: a loop over requests.

        Drafts that a grammar ruled out count as not drafted, as they do on vLLM's page. A request that stops may emit
        fewer tokens than were `sampled`; one that failed emits none.
        """
        drafts, invalid = output.scheduled_spec_decode_tokens, output.num_invalid_spec_tokens
        if invalid:
            drafts = {each: tokens[: len(tokens) - invalid.get(each, 0)] for each, tokens in drafts.items()}
        elif len(drafts) >= TOGETHER_MIN and len(drafts) == len(sampled) and not self._scheduler.finished_req_ids:
            together = self._verified_together(drafts, sampled, outputs)
            if together is not None:
                return together
        verified, emitted = self._ledger.verified_by_request, 0
        for each in outputs.values():
            for one in each.outputs:
                tokens, request_id = len(one.new_token_ids), one.request_id
                emitted += tokens
                if request_id in drafts:
                    if one.finish_reason is not None and tokens:
                        tokens = sampled[run.req_id_to_index[request_id]]
                    verified[request_id][len(drafts[request_id])][tokens] += 1
        return emitted

    def _verified_together(
        self, drafts: dict[str, Any], sampled: bytes | list[int], outputs: dict[int, Any]
    ) -> int | None:
        """As `_verified`, without asking each request; None where they differ in more than what was accepted.

        They do not when they are all of one workload and have equally many drafts. That each emitted what was sampled
        is known by their number, since none has ended (but in a streaming session, whose stops end no request).
        """
        counts = self._ledger.shared
        uncounted = sum([len(each.outputs) for each in outputs.values()])
        if counts is None or uncounted != len(sampled):
            return None
        drafted = {*map(len, drafts.values())}
        if len(drafted) > 1:
            return None
        by_tokens, emitted = counts[drafted.pop()], 0
        for tokens in range(len(by_tokens)):
            if verified := sampled.count(tokens):
                by_tokens[tokens] += verified
                emitted += tokens * verified
                uncounted -= verified
        if uncounted:
            raise IndexError("a request emitted more tokens than it had drafts to verify")
        return emitted

    def _stop(self, error: Exception) -> None:
        """Measure no more; what was counted is not told either, for it would no longer grow."""
        if not self.is_on:
            return
        self.is_on = False
        if vars(self._scheduler).get(HOOK) is self._stand_in:  # else another plugin stands in for it as well
            delattr(self._scheduler, HOOK)
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
