"""Step-time grids by name: measured ones with their source, and made ones that say how they were made.

The made ones are roofline sums (weights read, tokens computed in tiles, experts touched), not the curve that
anything else in this project fits.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from controller.simulator.step_cost import CostGrid

_MADE_KS: Final = (0, 1, 2, 3, 4, 5, 6, 8)

LLAMA_EAGLE_H100: Final = CostGrid(
    name="llama-3.1-8b-eagle-h100",
    source=(
        "measured: vLLM pull request 32374 (Dynamic SD), step latency by batch size and k, EAGLE on"
        " Llama-3.1-8B-Instruct, H100, MT-Bench. It does not say whether the drafter was loaded for k=0:"
        " taken as not"
    ),
    batches=(1, 4, 16, 64, 256),
    ks=(0, 1, 3, 5),
    step_ms=(
        (6.5206, 7.3676, 8.8407, 10.3265),
        (6.6015, 7.4728, 8.9812, 10.4003),
        (6.8988, 7.8523, 9.5183, 11.1964),
        (7.7741, 9.6564, 13.4979, 16.8312),
        (14.4914, 27.1381, 41.8484, 57.4042),
    ),
)

QWEN3_MOE_NEGATIVE: Final = CostGrid(
    name="qwen3-30b-a3b-eagle3-negative",
    source=(
        "measured where published: SpecForge issue 339, Qwen3-30B-A3B + EAGLE3, 2xH100, SGLang, MT-Bench: k=0"
        " at all batches, k=3 at batches 1 and 4. Made: k=1 is the k=0 step of twice the batch and 2.2 ms;"
        " k=3 at batch 8 and above is 1.05 times the k=0 step of four times the batch"
    ),
    batches=(1, 4, 8, 16, 32, 64),
    ks=(0, 1, 3),
    step_ms=(
        (4.495, 8.0, 11.641),
        (7.065, 13.1, 16.611),
        (10.905, 18.0, 31.18),
        (15.795, 31.9, 62.59),
        (29.697, 61.8, 125.4),
        (59.608, 121.6, 251.0),
    ),
    prefill_seconds_per_token=20e-6,
    kv_seconds_per_token=40e-9,
)

DRAFT_MODEL_MEMORY_BOUND: Final = CostGrid(
    name="32b-draft-model-memory-bound",
    source=(
        "made: 64 GB of weights at 3 TB/s, 64 GFLOP per token at 600 TFLOP/s in tiles of 16 tokens, 30% of"
        " the smaller of both not hidden, 2 ms of overhead, and 2.66 ms per draft, as published for"
        " Qwen3-1.7B under Qwen3-32B"
    ),
    batches=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    ks=_MADE_KS,
    step_ms=(
        (23.85, 26.52, 29.18, 31.85, 34.51, 37.17, 39.84, 45.17),
        (23.86, 26.53, 29.2, 31.87, 34.53, 37.2, 39.87, 45.72),
        (23.88, 26.55, 29.23, 31.91, 35.09, 37.77, 40.45, 46.31),
        (23.91, 26.6, 29.81, 32.5, 35.7, 38.39, 41.6, 47.49),
        (23.97, 27.21, 30.45, 33.68, 36.92, 40.15, 43.39, 49.86),
        (24.61, 28.43, 32.24, 36.05, 39.86, 43.67, 49.28, 61.68),
        (25.89, 30.86, 35.82, 44.97, 54.71, 64.45, 74.19, 93.68),
        (28.45, 39.9, 56.73, 73.55, 90.38, 107.2, 124.03, 157.68),
        (37.75, 68.75, 99.74, 130.73, 161.72, 192.71, 223.7, 285.68),
    ),
    k0_tax=0.08,
    prefill_seconds_per_token=110e-6,
    kv_seconds_per_token=100e-9,
)

MOE_LIKE: Final = CostGrid(
    name="moe-like",
    source=(
        "made: 1.7 GB of shared weights and 58 GB in 128 experts of which a token touches 8, at 3 TB/s; half"
        " of 6.6 GFLOP per token at 350 TFLOP/s; 1.6 ms of overhead; 0.55 ms per draft. Verifying touches"
        " more experts, so drafts cost most where a dense model gives them away"
    ),
    batches=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    ks=_MADE_KS,
    step_ms=(
        (3.46, 5.14, 6.75, 8.3, 9.79, 11.21, 12.59, 15.26),
        (4.59, 7.2, 9.57, 11.71, 13.74, 15.52, 17.15, 20.12),
        (6.66, 10.62, 13.88, 16.46, 18.66, 20.43, 22.0, 24.47),
        (10.08, 15.37, 18.79, 21.09, 22.72, 23.95, 24.94, 26.56),
        (14.85, 20.01, 22.32, 23.62, 24.55, 25.36, 26.11, 27.59),
        (19.51, 22.57, 23.75, 24.7, 25.62, 26.54, 27.46, 29.29),
        (22.11, 23.7, 24.99, 26.27, 27.55, 28.83, 30.11, 32.67),
        (23.34, 25.36, 27.37, 29.39, 31.4, 33.41, 35.42, 39.45),
        (25.19, 28.67, 32.15, 35.62, 39.1, 42.57, 46.05, 53.0),
    ),
    prefill_seconds_per_token=12e-6,
    kv_seconds_per_token=40e-9,
)

NGRAM_CHEAP: Final = CostGrid(
    name="8b-ngram-cheap",
    source=(
        "made: 16 GB of weights at 3 TB/s, 16 GFLOP per token at 550 TFLOP/s in tiles of 16 tokens, 30% of"
        " the smaller of both not hidden, 1.3 ms of overhead; a lookup costs 0.02 ms per draft, found or not"
    ),
    batches=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    ks=_MADE_KS,
    step_ms=(
        (6.78, 6.8, 6.82, 6.84, 6.86, 6.88, 6.9, 6.95),
        (6.78, 6.81, 6.83, 6.85, 6.87, 6.89, 6.91, 7.1),
        (6.8, 6.82, 6.84, 6.87, 7.03, 7.05, 7.08, 7.26),
        (6.82, 6.85, 7.01, 7.04, 7.21, 7.23, 7.4, 7.59),
        (6.87, 7.04, 7.21, 7.39, 7.56, 7.73, 7.9, 8.25),
        (7.1, 7.43, 7.75, 8.08, 8.4, 8.91, 9.88, 11.83),
        (7.58, 8.21, 9.01, 10.94, 12.88, 14.81, 16.74, 20.61),
        (8.52, 11.24, 15.08, 18.93, 22.78, 26.62, 30.47, 38.16),
        (11.88, 19.56, 27.23, 34.9, 42.57, 50.24, 57.92, 73.26),
    ),
    k0_tax=0.005,
)

SATURATES_EARLY: Final = CostGrid(
    name="saturates-early",
    source=(
        "made: a small card: 4.5 GB of weights at 270 GB/s, 16 GFLOP per token at 45 TFLOP/s in tiles of"
        " 8 tokens, 30% of the smaller of both not hidden, 1.5 ms of overhead, 1.6 ms per draft"
    ),
    batches=(1, 2, 4, 8, 16, 32, 64, 128),
    ks=_MADE_KS,
    step_ms=(
        (19.04, 20.65, 22.26, 23.87, 25.48, 27.09, 28.7, 32.77),
        (19.06, 20.68, 22.3, 23.92, 26.39, 28.01, 29.63, 33.73),
        (19.1, 20.74, 23.23, 24.87, 27.37, 29.01, 31.5, 35.63),
        (19.18, 21.71, 24.25, 26.78, 29.31, 32.13, 36.65, 45.7),
        (20.19, 23.66, 27.41, 34.86, 42.3, 49.75, 57.2, 72.1),
        (22.22, 31.82, 45.11, 58.41, 71.71, 85.01, 98.3, 124.9),
        (30.54, 55.53, 80.53, 105.52, 130.52, 155.51, 180.51, 230.5),
        (54.57, 102.96, 151.35, 199.74, 248.14, 296.53, 344.92, 441.7),
    ),
    k0_tax=0.06,
    prefill_seconds_per_token=350e-6,
    kv_seconds_per_token=500e-9,
)

GRIDS: Final[Mapping[str, CostGrid]] = MappingProxyType(
    {
        grid.name: grid
        for grid in (
            LLAMA_EAGLE_H100,
            QWEN3_MOE_NEGATIVE,
            DRAFT_MODEL_MEMORY_BOUND,
            MOE_LIKE,
            NGRAM_CHEAP,
            SATURATES_EARLY,
        )
    }
)
"""Every grid by its name."""
