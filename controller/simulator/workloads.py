"""Kinds of traffic that the named scenarios are mixed from."""

from typing import Final

from controller.simulator.workload import Lengths, TextState, Workload

_CHAT_PROMPT: Final = Lengths(350, spread=0.7, most_tokens=4096)
_CHAT_OUTPUT: Final = Lengths(300, spread=0.6, least_tokens=16, most_tokens=1536)

CODE: Final = Workload(
    "code",
    states=(
        TextState((0.95, 0.93, 0.92, 0.91, 0.90), mean_tokens=14),
        TextState((0.62, 0.50, 0.45), mean_tokens=3),
    ),
    prompt=Lengths(450, spread=0.6, most_tokens=4096),
    output=_CHAT_OUTPUT,
    logit_spread=0.35,
)
"""A sharp drafter: long predictable phrases, short surprises between them."""

PROSE: Final = Workload(
    "prose",
    states=(
        TextState((0.62, 0.50, 0.42, 0.38), mean_tokens=6),
        TextState((0.40, 0.28, 0.22), mean_tokens=4),
    ),
    prompt=_CHAT_PROMPT,
    output=_CHAT_OUTPUT,
    logit_spread=0.35,
)
"""A dull drafter: about half of the first drafts hold, and few after them."""

CHAT: Final = Workload.by_survival(
    "chat",
    survival=(0.6812, 0.3914, 0.2035, 0.1014, 0.0514),
    prompt=_CHAT_PROMPT,
    output=_CHAT_OUTPUT,
    logit_spread=0.3,
)
"""EAGLE on MT-Bench as measured: unconditional acceptance by position from vLLM pull request 32374."""

CHAT_UNDER_DULL_HEAD: Final = Workload.by_survival(
    "chat-dull-head",
    survival=(0.52, 0.23, 0.11),
    prompt=_CHAT_PROMPT,
    output=_CHAT_OUTPUT,
    logit_spread=0.3,
)
"""Chat under a poor EAGLE3 head: 1.86 tokens per step at k=3, as published in SpecForge issue 339; how they
divide among positions is made."""

CODE_RETRAINED: Final = Workload(
    "code-retrained",
    states=(
        TextState((0.97, 0.96, 0.96, 0.95), mean_tokens=16),
        TextState((0.75, 0.68, 0.62), mean_tokens=3),
    ),
    prompt=CODE.prompt,
    output=CODE.output,
    logit_spread=0.3,
)
"""Code under a better drafter."""

NOISE_TEXT: Final = Workload.constant("random", 0.04, _CHAT_PROMPT, _CHAT_OUTPUT)
"""Text that no drafter can guess."""

NGRAM_EDIT: Final = Workload(
    "edit",
    states=(
        TextState((0.90, 0.95, 0.96), mean_tokens=24, coverage=0.95),
        TextState((0.25, 0.45, 0.55), mean_tokens=12, coverage=0.35),
    ),
    prompt=Lengths(900, spread=0.5, most_tokens=6000),
    output=Lengths(400, spread=0.5, least_tokens=16, most_tokens=1536),
    logit_spread=0.4,
    match_tokens=12.0,
)
"""Text that repeats its prompt, under n-gram lookup: good inside copied spans, often no match outside."""

NGRAM_CHAT: Final = Workload(
    "ngram-chat",
    states=(TextState((0.25, 0.55, 0.65), mean_tokens=1, coverage=0.4),),
    prompt=_CHAT_PROMPT,
    output=_CHAT_OUTPUT,
    logit_spread=0.4,
    match_tokens=5.0,
)
"""Text that repeats little, under n-gram lookup."""

LONG_DOCUMENT: Final = Workload(
    "long-document",
    states=(
        TextState((0.82, 0.74, 0.68, 0.64), mean_tokens=10),
        TextState((0.50, 0.38, 0.32), mean_tokens=3),
    ),
    prompt=Lengths(12_000, spread=0.4, least_tokens=4000, most_tokens=24_000),
    output=Lengths(500, spread=0.4, least_tokens=64, most_tokens=1536),
    logit_spread=0.3,
)
"""Questions about long documents."""

SUMMARY: Final = Workload.constant(
    "summary",
    0.72,
    prompt=Lengths(1800, spread=0.5, most_tokens=6000),
    output=Lengths(180, spread=0.4, least_tokens=16, most_tokens=1024),
    logit_spread=0.4,
)
"""Constant acceptance within a request, long prompts, short outputs."""
