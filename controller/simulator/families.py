"""The families of a vLLM page that matter to speculation and load: names, types, HELP texts and buckets.

Copied from pages of vLLM 0.32; a contract test compares them with such pages.
"""

from dataclasses import dataclass
from typing import Final, Literal

STEP_TOKEN_BOUNDS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Tokens per engine step."""
TTFT_BOUNDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
"""Seconds to the first token."""
INTER_TOKEN_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip
"""Seconds between outputs of a request, and per output token."""
REQUEST_BOUNDS: Final = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
"""Seconds of a whole request, or of a part of it."""


@dataclass(frozen=True, slots=True)
class Family:
    """Name as on the page, type and HELP text of one family."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str


DRAFTS: Final = Family("vllm:spec_decode_num_drafts_total", "counter", "Number of spec decoding drafts.")
DRAFT_TOKENS: Final = Family("vllm:spec_decode_num_draft_tokens_total", "counter", "Number of draft tokens.")
ACCEPTED_TOKENS: Final = Family("vllm:spec_decode_num_accepted_tokens_total", "counter", "Number of accepted tokens.")
ACCEPTED_PER_POSITION: Final = Family(
    "vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter", "Accepted tokens per draft position."
)
RUNNING: Final = Family("vllm:num_requests_running", "gauge", "Number of requests in model execution batches.")
WAITING: Final = Family("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.")
WAITING_BY_REASON: Final = Family(
    "vllm:num_requests_waiting_by_reason",
    "gauge",
    "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity;"
    " 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status)."
    " Sum of all reasons equals vllm:num_requests_waiting.",
)
SLEEP_STATE: Final = Family(
    "vllm:engine_sleep_state",
    "gauge",
    "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake;"
    " weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
)
KV_USAGE: Final = Family("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.")
PREFIX_QUERIES: Final = Family(
    "vllm:prefix_cache_queries_total",
    "counter",
    "Prefix cache queries, in terms of number of queried tokens.",
)
PREFIX_HITS: Final = Family(
    "vllm:prefix_cache_hits_total", "counter", "Prefix cache hits, in terms of number of cached tokens."
)
PREEMPTIONS: Final = Family("vllm:num_preemptions_total", "counter", "Cumulative number of preemption from the engine.")
PROMPT_TOKENS: Final = Family("vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.")
GENERATION_TOKENS: Final = Family("vllm:generation_tokens_total", "counter", "Number of generation tokens processed.")
SUCCESS: Final = Family("vllm:request_success_total", "counter", "Count of successfully processed requests.")
STEP_TOKENS: Final = Family(
    "vllm:iteration_tokens_total", "histogram", "Histogram of number of tokens per engine_step."
)
FIRST_TOKEN: Final = Family(
    "vllm:time_to_first_token_seconds", "histogram", "Histogram of time to first token in seconds."
)
INTER_TOKEN: Final = Family(
    "vllm:inter_token_latency_seconds", "histogram", "Histogram of inter-token latency in seconds."
)
PER_OUTPUT_TOKEN: Final = Family(
    "vllm:request_time_per_output_token_seconds",
    "histogram",
    "Histogram of time_per_output_token_seconds per request.",
)
END_TO_END: Final = Family(
    "vllm:e2e_request_latency_seconds", "histogram", "Histogram of e2e request latency in seconds."
)
QUEUE: Final = Family(
    "vllm:request_queue_time_seconds", "histogram", "Histogram of time spent in WAITING phase for request."
)
INFERENCE: Final = Family(
    "vllm:request_inference_time_seconds",
    "histogram",
    "Histogram of time spent in RUNNING phase for request.",
)
PREFILL: Final = Family(
    "vllm:request_prefill_time_seconds", "histogram", "Histogram of time spent in PREFILL phase for request."
)
DECODE: Final = Family(
    "vllm:request_decode_time_seconds", "histogram", "Histogram of time spent in DECODE phase for request."
)
CACHE_CONFIG: Final = Family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig")
PROCESS_START: Final = Family(
    "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds."
)

CACHE_CONFIG_LABELS: Final = {
    "_block_size_resolved": "True",
    "block_size": "16",
    "cache_dtype": "auto",
    "cache_hit_alignment_tokens": "None",
    "effective_attention_block_size": "16",
    "enable_mamba_shared_prefix_checkpoint": "False",
    "enable_prefix_caching": "False",
    "gpu_memory_utilization": "0.92",
    "hash_block_size": "None",
    "is_attention_free": "False",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_cache_layout": "None",
    "kv_cache_max_concurrency": "None",
    "kv_cache_memory_bytes": "None",
    "kv_cache_size_tokens": "None",
    "kv_offloading_backend": "native",
    "kv_offloading_size": "None",
    "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None",
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_page_size_padded": "None",
    "mamba_ssm_cache_dtype": "float32",
    "num_cpu_blocks": "None",
    "num_gpu_blocks": "None",
    "num_gpu_blocks_override": "None",
    "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256",
    "prefix_match_unit": "None",
    "replayssm_buffer_len": "16",
    "skip_page_size_padded": "None",
    "sliding_window": "None",
    "swa_bounded_replay": "True",
    "use_kda_recoverssm": "False",
    "use_replayssm": "False",
    "user_specified_block_size": "False",
}
"""Labels of `vllm:cache_config_info` beside `engine`; it alone has no `model_name`."""
