"""The named scenarios."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from controller.simulator import workloads
from controller.simulator.grids import (
    DRAFT_MODEL_MEMORY_BOUND,
    LLAMA_EAGLE_H100,
    MOE_LIKE,
    NGRAM_CHEAP,
    QWEN3_MOE_NEGATIVE,
    SATURATES_EARLY,
)
from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.step_cost import CostGrid

_ALL: Final = (
    workloads.CODE,
    workloads.PROSE,
    workloads.CHAT,
    workloads.CODE_RETRAINED,
    workloads.NOISE_TEXT,
)
_CODE: Final = (("code", 1.0),)
_PROSE: Final = (("prose", 1.0),)
_CHAT: Final = (("chat", 1.0),)

_DAY_CONCURRENCY: Final = (
    4, 2, 1, 1, 1, 2, 6, 16, 40, 90, 150, 210, 240, 256, 250, 230, 200, 160, 120, 90, 60, 36, 18, 8,
)  # fmt: skip
_DAY_HOUR_SECONDS: Final = 300.0


def _steady(
    name: str,
    description: str,
    mix: tuple[tuple[str, float], ...],
    concurrency: int,
    grid: CostGrid = LLAMA_EAGLE_H100,
) -> Scenario:
    return Scenario(
        name=name,
        description=description,
        grid=grid,
        workloads=_ALL,
        phases=(Phase(0, mix, concurrency=concurrency),),
    )


def _drift() -> tuple[Phase, ...]:
    steps = 20
    return tuple(
        Phase(120.0 * i, (("code", 1 - i / steps), ("prose", i / steps)), concurrency=16) for i in range(steps + 1)
    )


_SCENARIOS: Final = (
    Scenario(
        name="code-to-prose",
        description="One stream of code, one of prose, then a full batch of prose; starts over every 180 s.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(
            Phase(0, _CODE, concurrency=1),
            Phase(60, _PROSE, concurrency=1),
            Phase(110, _PROSE, concurrency=128),
        ),
        loop_seconds=180,
    ),
    _steady("steady-code", "Eight streams of code: a sharp drafter on an easy load.", _CODE, 8),
    _steady("steady-prose", "Sixteen streams of prose: a dull drafter.", _PROSE, 16),
    _steady("steady-chat", "Four streams of chat, as published for EAGLE on MT-Bench.", _CHAT, 4),
    _steady("saturation", "A full batch of 256 streams of chat: every draft costs as much as a token.", _CHAT, 256),
    Scenario(
        name="saturates-early",
        description="A small card whose step time rises from batch 8 on; the load goes 2, 12, 48 and back.",
        grid=SATURATES_EARLY,
        workloads=_ALL,
        phases=tuple(Phase(300.0 * i, _CHAT, concurrency=c) for i, c in enumerate((2, 12, 48, 12))),
        loop_seconds=1200,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
    ),
    Scenario(
        name="ngram",
        description="n-gram lookup on edits and chat: drafts are cheap, often absent, often shorter than k.",
        grid=NGRAM_CHEAP,
        workloads=(workloads.NGRAM_EDIT, workloads.NGRAM_CHAT),
        phases=(Phase(0, (("edit", 0.6), ("ngram-chat", 0.4)), concurrency=12),),
        method="ngram",
    ),
    Scenario(
        name="moe-negative",
        description="Qwen3-30B-A3B as measured: speculation loses at every batch size.",
        grid=QWEN3_MOE_NEGATIVE,
        workloads=(workloads.CHAT_UNDER_DULL_HEAD,),
        phases=(Phase(0, (("chat-dull-head", 1.0),), concurrency=4),),
        k_max=3,
        max_num_seqs=64,
        method="eagle3",
        model_name="simulated-30b-a3b",
    ),
    Scenario(
        name="moe-like",
        description="Mixture of experts: drafts cost most at small batches, where a dense model hides them.",
        grid=MOE_LIKE,
        workloads=_ALL,
        phases=tuple(Phase(300.0 * i, _CODE, concurrency=c) for i, c in enumerate((1, 8, 32, 128))),
        loop_seconds=1200,
        method="mtp",
    ),
    Scenario(
        name="draft-model",
        description="A 32B model with a 1.7B draft model, memory-bound: each draft costs a tenth of a step.",
        grid=DRAFT_MODEL_MEMORY_BOUND,
        workloads=_ALL,
        phases=(Phase(0, (("chat", 0.5), ("code", 0.5)), concurrency=6),),
        k_max=8,
        max_num_seqs=128,
        method="draft_model",
    ),
    Scenario(
        name="idle",
        description="No requests at all.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CHAT, concurrency=0),),
    ),
    Scenario(
        name="no-speculation",
        description="A server launched without a drafter: its page has no speculation series.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CHAT, concurrency=8),),
        k_max=0,
        method="none",
    ),
    Scenario(
        name="restarts",
        description="Eight streams of chat; every 120 s a restart: 5 s down, then counters from 0.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CHAT, concurrency=8),),
        events=(Event(100, "restart", down_seconds=5),),
        loop_seconds=120,
    ),
    Scenario(
        name="two-engines",
        description="Two data-parallel engines on one page share 24 streams of chat.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CHAT, concurrency=24),),
        engines=2,
    ),
    Scenario(
        name="long-context",
        description="Prompts of 12,000 tokens: dear steps, a full KV cache, prefills that interfere.",
        grid=LLAMA_EAGLE_H100,
        workloads=(workloads.LONG_DOCUMENT,),
        phases=(Phase(0, (("long-document", 1.0),), concurrency=24),),
        max_num_batched_tokens=4096,
        kv_cache_tokens=250_000,
    ),
    Scenario(
        name="bursts",
        description="Open loop: two requests a second, and bursts of 40 a second for 10 s in every 60.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CHAT, requests_per_second=2.0), Phase(50, _CHAT, requests_per_second=40.0)),
        loop_seconds=60,
    ),
    Scenario(
        name="day-curve",
        description="A day in two hours: from 1 stream at night to 256 at noon, chat and code mixed.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=tuple(
            Phase(i * _DAY_HOUR_SECONDS, (("chat", 0.7), ("code", 0.3)), concurrency=concurrency)
            for i, concurrency in enumerate(_DAY_CONCURRENCY)
        ),
        loop_seconds=24 * _DAY_HOUR_SECONDS,
    ),
    Scenario(
        name="mixed-workloads",
        description="Code, chat and summaries in one batch of 32, each with its own best k.",
        grid=LLAMA_EAGLE_H100,
        workloads=(workloads.CODE, workloads.CHAT, workloads.SUMMARY),
        phases=(Phase(0, (("code", 0.4), ("chat", 0.4), ("summary", 0.2)), concurrency=32),),
    ),
    Scenario(
        name="sudden-switch",
        description="Sixteen streams: code for 20 minutes, then prose within seconds, and back.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CODE, concurrency=16), Phase(1200, _PROSE, concurrency=16)),
        loop_seconds=2400,
    ),
    Scenario(
        name="slow-drift",
        description="Sixteen streams that turn from code to prose over 40 minutes.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=_drift(),
    ),
    Scenario(
        name="zero-and-back",
        description="Text that no drafter can guess, then code: speculation has to go off and come back.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, (("random", 1.0),), concurrency=32), Phase(900, _CODE, concurrency=32)),
        loop_seconds=1800,
    ),
    Scenario(
        name="drafter-upgraded",
        description="Eight streams of code; after 15 minutes a better drafter is rolled out with a restart.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CODE, concurrency=8), Phase(900, (("code-retrained", 1.0),), concurrency=8)),
        events=(Event(900, "restart", down_seconds=30),),
    ),
    Scenario(
        name="sparse-traffic",
        description="Open loop: one request every 20 seconds, nothing between them.",
        grid=LLAMA_EAGLE_H100,
        workloads=_ALL,
        phases=(Phase(0, _CHAT, requests_per_second=0.05),),
    ),
    Scenario(
        name="capture-cliff",
        description="CUDA graphs end at 512 tokens: at batches of 100 and 140 a large k falls off a cliff.",
        grid=CostGrid(
            name="llama-3.1-8b-eagle-h100-capture-512",
            source="made: the measured H100 grid with a made cliff beyond 512 tokens a step",
            batches=LLAMA_EAGLE_H100.batches,
            ks=LLAMA_EAGLE_H100.ks,
            step_ms=LLAMA_EAGLE_H100.step_ms,
            capture_limit_tokens=512,
            beyond_capture_factor=1.8,
        ),
        workloads=_ALL,
        phases=(Phase(0, _CODE, concurrency=100), Phase(300, _CODE, concurrency=140)),
        loop_seconds=600,
    ),
)

SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType({scenario.name: scenario for scenario in _SCENARIOS})
"""Every scenario by its name."""
