"""What the engine plugin adds to one step of vLLM's engine: its real hooks around a scheduler that does nothing else.

Samples are the processor time of whole steps with the plugin, less the median of the same steps without it, so that
every hiccup is laid at the plugin's door; only what other work takes on a shared machine is not.
"""

import statistics
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from controller.engine import plugin

K = 5
STEPS = 2_000
WARM_UP_STEPS = 200
REQUESTS_MAX = 64


@dataclass(slots=True)
class Output:
    """One request's part of a step, as far as the plugin looks at it."""

    request_id: str
    new_token_ids: list[int]
    finish_reason: None = None


class Scheduler:
    """As many running requests as told, each of which verifies K drafts in every step; vLLM's own names."""

    def __init__(self, batch: int) -> None:
        no_graphs = SimpleNamespace(has_full_cudagraphs=lambda: False)
        self.scheduler_config = SimpleNamespace(max_num_seqs=REQUESTS_MAX, async_scheduling=False)
        self.vllm_config = SimpleNamespace(
            speculative_config=SimpleNamespace(method="eagle", parallel_drafting=False),
            parallel_config=SimpleNamespace(data_parallel_size=1),
            model_config=SimpleNamespace(is_diffusion=False, served_model_name="model"),
            scheduler_config=self.scheduler_config,
            compilation_config=SimpleNamespace(cudagraph_mode=no_graphs),
            use_v2_model_runner=False,
        )
        self.num_spec_tokens = K
        self.dynamic_sd_lookup: list[int] | None = None
        ids = [f"cmpl-{number:032x}-0" for number in range(batch)]
        request = SimpleNamespace(sampling_params=SimpleNamespace(extra_args={"workload": "chat"}), lora_request=None)
        self.requests = dict.fromkeys(ids, request)
        self.running = list(self.requests)
        self.finished_req_ids: set[str] = set()
        self._new = [SimpleNamespace(req_id=each) for each in ids]
        self._drafts = dict.fromkeys(ids, [1] * K)
        self._tokens = dict.fromkeys(ids, 1 + K)
        sampled = [[1] * (1 + number % (1 + K)) for number in range(batch)]  # as many accept 0 as 1, 2 ... K
        self._outputs = {0: SimpleNamespace(outputs=list(map(Output, ids, sampled)))}
        self.run = SimpleNamespace(
            sampled_token_ids=sampled,
            req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
        )
        self.draft_token_ids = SimpleNamespace(req_ids=ids, draft_token_ids=[[1] * K for _ in ids])

    def schedule(self, throttle_prefills: bool = False) -> Any:  # noqa: ARG002  (vLLM's signature)
        """Plan a step; reading `dynamic_sd_lookup` is what the plugin knows Dynamic SD by."""
        new, self._new = self._new, []
        return SimpleNamespace(
            num_scheduled_tokens=self._tokens,
            total_num_scheduled_tokens=len(self._tokens) * (1 + K),
            scheduled_spec_decode_tokens=self._drafts,
            scheduled_new_reqs=new,
            finished_req_ids=set(),
            num_invalid_spec_tokens=None,
            num_spec_tokens_to_schedule=K if self.dynamic_sd_lookup is None else self.dynamic_sd_lookup[1],
        )

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:  # noqa: ARG002
        """What came out of the step."""
        return self._outputs

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """Nothing."""


def added_microseconds(batch: int) -> list[float]:
    """What the plugin adds to steps of so many requests, while a schedule of somebody's is in force."""
    engine = type("Engine", (), {})
    with_plugin = type("WithPlugin", (Scheduler,), {})
    plugin.install(engine, with_plugin)
    served, bare = engine(), Scheduler(batch)
    served.scheduler = with_plugin(batch)
    _, seen = served.adaptive_k_speculation("GET")
    expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
    wanted = {"ranges": [[1, REQUESTS_MAX, K]], "ttl_seconds": 3600, "owner": "benchmark", **expected}
    assert served.adaptive_k_speculation("PUT", wanted)[0] == 200
    without, added = [], []
    for _ in range(4):  # turn and turn about, so that a slow spell of the machine meets both
        without += steps(bare)
        added += steps(served.scheduler)
    counted = served.adaptive_k_speculation(plugin.GET_MEASURED)[1]["measured"]["workloads"][0]["drafts"]
    assert counted == 4 * (WARM_UP_STEPS + STEPS) * batch, "the plugin did not measure"
    usual = statistics.median(without)
    return [microseconds - usual for microseconds in added]


def steps(scheduler: Scheduler) -> list[float]:
    """Microseconds of each of some steps, after some that are not counted."""
    taken = []
    for _ in range(WARM_UP_STEPS + STEPS):
        began = time.thread_time_ns()
        output = scheduler.schedule()
        scheduler.update_from_output(output, scheduler.run)
        scheduler.update_draft_token_ids(scheduler.draft_token_ids)
        taken.append((time.thread_time_ns() - began) / 1000)
    return taken[WARM_UP_STEPS:]
