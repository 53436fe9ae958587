"""The JSON documents of a vLLM server, with the fields that tell what it is, in vLLM 0.32's shape."""

from typing import Final

from controller.simulator.engine import StepEngine
from controller.simulator.page import EPOCH_UNIX_SECONDS
from controller.simulator.schedule import constant_schedule

VERSION: Final = "0.32.0"
"""The vLLM release that the simulated server speaks like."""
_PIECEWISE: Final = 1
"""CUDA graphs that leave any k possible; vLLM's V1 runner captures them when it is launched with a schedule."""
_WIDEST_CAPTURE_TOKENS: Final = 512


def version() -> dict[str, object]:
    """`GET /version`."""
    return {"version": VERSION}


def models(engine: StepEngine) -> dict[str, object]:
    """`GET /v1/models`."""
    scenario = engine.scenario
    model = {
        "id": scenario.model_name,
        "object": "model",
        "created": int(EPOCH_UNIX_SECONDS),
        "owned_by": "vllm",
        "root": scenario.model_name,
        "parent": None,
        "max_model_len": scenario.max_model_len,
        "permission": [],
    }
    return {"object": "list", "data": [model]}


def server_info(engine: StepEngine) -> dict[str, object]:
    """`GET /server_info?config_format=json`, which exists in developer mode only."""
    scenario = engine.scenario
    config = {
        "model_config": {
            "model": scenario.model_name,
            "served_model_name": scenario.model_name,
            "max_model_len": scenario.max_model_len,
            "enforce_eager": False,
        },
        "parallel_config": {
            "data_parallel_size": scenario.engines,
            "tensor_parallel_size": 1,
            "pipeline_parallel_size": 1,
            "data_parallel_external_lb": False,
            "data_parallel_hybrid_lb": False,
        },
        "scheduler_config": {
            "max_num_seqs": scenario.max_num_seqs,
            "max_num_batched_tokens": scenario.max_num_batched_tokens,
            "async_scheduling": True,
            "scheduler_cls": None,
            "policy": "fcfs",
        },
        "speculative_config": _speculative_config(engine),
        "compilation_config": _compilation_config(engine),
        "lora_config": None,
        "diffusion_config": None,
        "observability_config": {"per_request_spec_decode_metrics": "none"},
    }
    return {"vllm_config": config, "vllm_env": {"VLLM_SERVER_DEV_MODE": True}, "system_env": {}}


def _speculative_config(engine: StepEngine) -> dict[str, object] | None:
    if not engine.k_max:
        return None
    scenario = engine.scenario
    constant = engine.launch_schedule == constant_schedule(engine.k_max, scenario.max_num_seqs)
    dynamic = not constant and scenario.engines == 1  # vLLM drops the schedule under data parallelism
    return {
        "method": scenario.method,
        "model": "ngram" if scenario.method == "ngram" else f"{scenario.model_name}-drafter",
        "num_speculative_tokens": engine.k_max,
        "num_speculative_tokens_per_batch_size": engine.launch_schedule if dynamic else None,
        "enable_adaptive_verification": False,
        "rejection_sample_method": "standard",
    }


def _compilation_config(engine: StepEngine) -> dict[str, object]:
    """CUDA graphs up to the grid's own limit, else to vLLM's default."""
    scenario = engine.scenario
    default = min(scenario.max_num_seqs * (engine.k_max + 1) * 2, _WIDEST_CAPTURE_TOKENS)
    widest = min(scenario.grid.capture_limit_tokens or default, scenario.max_num_batched_tokens)
    sizes = [1, 2, 4, *range(8, widest + 1, 8)]
    return {
        "cudagraph_mode": _PIECEWISE,
        "cudagraph_capture_sizes": sizes,
        "max_cudagraph_capture_size": widest,
    }
