"""vLLM's classes as far as the engine plugin knows them, without vLLM."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

K_MAX = 4
MAX_NUM_SEQS = 8


class ManualTime:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


def config(method: str | None = "ngram", **changes: Any) -> SimpleNamespace:
    """vLLM's configuration, as far as the plugin reads it."""
    fields = {
        "data_parallel_size": 1,
        "parallel_drafting": False,
        "enable_adaptive_verification": False,
        "async_scheduling": False,
        "is_diffusion": False,
        "full_graphs": False,
        "use_v2_model_runner": False,
        "served_model_name": "models/tiny",
    } | changes
    speculative = SimpleNamespace(
        method=method,
        parallel_drafting=fields["parallel_drafting"],
        enable_adaptive_verification=fields["enable_adaptive_verification"],
    )
    graphs = SimpleNamespace(has_full_cudagraphs=lambda: fields["full_graphs"])
    return SimpleNamespace(
        speculative_config=None if method is None else speculative,
        parallel_config=SimpleNamespace(data_parallel_size=fields["data_parallel_size"]),
        scheduler_config=SimpleNamespace(async_scheduling=fields["async_scheduling"], max_num_seqs=MAX_NUM_SEQS),
        model_config=SimpleNamespace(
            is_diffusion=fields["is_diffusion"], served_model_name=fields["served_model_name"]
        ),
        compilation_config=SimpleNamespace(cudagraph_mode=graphs),
        use_v2_model_runner=fields["use_v2_model_runner"],
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What one request does in one step.

    Attributes:
        request_id: Which.
        drafts: Drafts verified.
        accepted: Of them accepted.
        prompt: Prompt tokens read instead; 0 while it decodes.
        invalid: Drafts that a grammar ruled out.
        stops_after: So many tokens at most, and then the request stops; None while it goes on.
        fails: It is told so, without a token.
        client: Who sent it.
    """

    request_id: str
    drafts: int = 0
    accepted: int = 0
    prompt: int = 0
    invalid: int = 0
    stops_after: int | None = None
    fails: bool = False
    client: int = 0


def run(output: Any) -> SimpleNamespace:
    """What the model made of a step: one token more than it accepted for each request, in an order of its own."""
    rows = output.rows[::-1]
    return SimpleNamespace(
        sampled_token_ids=[[7] * (1 + row.accepted) for row in rows],
        req_id_to_index={row.request_id: index for index, row in enumerate(rows)},
    )


class Scheduler:
    """Does in each step what it was told to, and tells of it in vLLM's words."""

    def __init__(self, vllm_config: Any, lookup: list[int] | None = None) -> None:
        self.vllm_config = vllm_config
        self.scheduler_config = vllm_config.scheduler_config
        self.num_spec_tokens = K_MAX if vllm_config.speculative_config else 0
        self.dynamic_sd_lookup = lookup
        self.drafts: Any = None
        self.requests: dict[str, Any] = {}
        self.running: list[str] = []
        self.told: deque[tuple[Row, ...]] = deque()
        self.stats: list[Any] = []
        self.finished_req_ids: set[str] = set()
        self._seen: set[str] = set()

    def add(self, request_id: str, workload: Any = None, adapter: str | None = None) -> None:
        """A request arrives; `workload` is what its `vllm_xargs` say."""
        extra = None if workload is None else {"workload": workload}
        lora = None if adapter is None else SimpleNamespace(lora_name=adapter)
        parameters = SimpleNamespace(extra_args=extra)
        self.requests[request_id] = SimpleNamespace(sampling_params=parameters, lora_request=lora)
        self.running.append(request_id)

    def finish(self, request_ids: Iterable[str]) -> None:
        """Requests end, or are aborted."""
        for request_id in request_ids:
            del self.requests[request_id]
            self.running.remove(request_id)
            self.forget(request_id)
            self.finished_req_ids.add(request_id)

    def forget(self, request_id: str) -> None:
        """A request is preempted, or over: when it is planned again, it is told of as a new one."""
        self._seen.discard(request_id)

    def schedule(self, throttle_prefills: bool = False) -> Any:  # noqa: ARG002  (vLLM's signature)
        """Plan the next step that was told."""
        rows = self.told.popleft() if self.told else ()
        scheduled = {row.request_id: row.prompt or 1 + row.drafts for row in rows}
        finished, self.finished_req_ids = self.finished_req_ids, set()
        new = [request_id for request_id in scheduled if request_id not in self._seen]
        self._seen.update(new)
        return SimpleNamespace(
            rows=rows,
            num_scheduled_tokens=scheduled,
            total_num_scheduled_tokens=sum(scheduled.values()),
            scheduled_spec_decode_tokens={row.request_id: [7] * row.drafts for row in rows if row.drafts},
            num_invalid_spec_tokens={row.request_id: row.invalid for row in rows if row.invalid} or None,
            scheduled_new_reqs=[SimpleNamespace(req_id=each) for each in new],
            finished_req_ids=finished,
            num_spec_tokens_to_schedule=self.dynamic_sd_lookup and self.dynamic_sd_lookup[max(len(rows), 1)],
        )

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Verify its drafts, and tell the tokens that came out of it."""
        stats, emitted = None, defaultdict[int, Any](lambda: SimpleNamespace(outputs=[]))
        for row in scheduler_output.rows:
            if row.request_id not in self.requests:
                continue  # aborted while the model ran
            tokens = model_runner_output.sampled_token_ids[model_runner_output.req_id_to_index[row.request_id]]
            if row.fails:
                tokens = []
            elif row.drafts:
                stats = self.make_spec_decoding_stats(
                    stats,
                    num_draft_tokens=row.drafts,
                    num_accepted_tokens=row.accepted,
                    num_invalid_spec_tokens=scheduler_output.num_invalid_spec_tokens,
                    request_id=row.request_id,
                )
            reason = "error" if row.fails else None
            if row.stops_after is not None:
                del tokens[row.stops_after :]
                reason = reason or "stop"
            if reason is not None:
                self.finish([row.request_id])
            one = SimpleNamespace(request_id=row.request_id, new_token_ids=tokens, finish_reason=reason)
            emitted[row.client].outputs.append(one)
        self.stats.append(stats)
        return emitted

    def make_spec_decoding_stats(
        self,
        spec_decoding_stats: Any,
        num_draft_tokens: int,
        num_accepted_tokens: int,
        num_invalid_spec_tokens: dict[str, int] | None,
        request_id: str,
    ) -> Any:
        """What vLLM counts of one verification."""
        drafted = num_draft_tokens - (num_invalid_spec_tokens or {}).get(request_id, 0)
        return [*(spec_decoding_stats or ()), (request_id, drafted, num_accepted_tokens)]

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """Take the drafts of the next step."""
        self.drafts = draft_token_ids.draft_token_ids


class EngineCore:
    """Has a scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler


def fresh_vllm() -> tuple[Any, Any]:
    """The classes EngineCore and Scheduler without the plugin: new ones each time, for it changes classes."""
    return type("EngineCore", (EngineCore,), {}), type("Scheduler", (Scheduler,), {})
