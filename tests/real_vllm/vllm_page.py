"""Prints a metrics page that vLLM's own logger writes from known numbers. Run inside vLLM's environment.

Standard input holds one JSON document: {"k_max": 5, "engines": {"0": {...}, "1": {...}}}, the fields of an
engine as `test_our_parser_reads_vllms_own_page.py` gives them. The page goes to standard output.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

from prometheus_client import generate_latest
from transformers import LlamaConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.engine import FinishReason
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import FinishedRequestStats, IterationStats, SchedulerStats
from vllm.v1.spec_decode.metrics import SpecDecodingStats


def main() -> None:
    """One step of every engine, recorded and printed."""
    known = json.load(sys.stdin)
    numbers = {int(name): engine for name, engine in known["engines"].items()}
    logger = PrometheusStatLogger(_config(known["k_max"]), sorted(numbers))
    for index, engine in numbers.items():
        logger.record(_scheduler(engine, known["k_max"]), _iteration(engine), engine_idx=index)
    sys.stdout.buffer.write(generate_latest())


def _config(k_max: int) -> Any:
    """The configuration of a server with n-gram speculation; no weights are needed to count."""
    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig(
            architectures=["LlamaForCausalLM"],
            vocab_size=64,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=256,
        ).save_pretrained(Path(folder))
        return EngineArgs(
            model=folder,
            served_model_name="known",
            skip_tokenizer_init=True,
            enforce_eager=True,
            dtype="bfloat16",
            speculative_config={"method": "ngram", "num_speculative_tokens": k_max, "prompt_lookup_max": 4},
        ).create_engine_config()


def _scheduler(engine: dict[str, Any], k_max: int) -> SchedulerStats:
    drafts = SpecDecodingStats.new(k_max)
    for drafted, accepted in engine["drafts"]:
        drafts.observe_draft(drafted, accepted)
    return SchedulerStats(
        num_running_reqs=engine["running"],
        num_waiting_reqs=engine["waiting"],
        kv_cache_usage=engine["kv_cache_usage"],
        spec_decoding_stats=drafts,
    )


def _iteration(engine: dict[str, Any]) -> IterationStats:
    step = IterationStats()
    step.num_generation_tokens = engine["generated_tokens"]
    step.inter_token_latencies_iter = engine["latencies_seconds"]
    step.time_to_first_tokens_iter = engine["first_tokens_seconds"]
    step.prompt_token_stats.total = engine["prompt_tokens"]
    step.num_preempted_reqs = engine["preemptions"]
    step.finished_requests = [
        FinishedRequestStats(FinishReason.LENGTH, mean_time_per_output_token=seconds)
        for seconds in engine["times_per_output_token_seconds"]
    ]
    return step


if __name__ == "__main__":
    main()
