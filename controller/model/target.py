"""What is known of a served model's steps before any was measured: few, stated and sourced priors."""

import re
from dataclasses import dataclass
from typing import Final

from controller.model.drafter import LogNormal


@dataclass(frozen=True, slots=True)
class Target:
    """Priors of one kind of model; see `step_time` for the curve that they belong to.

    Attributes:
        name: What it is called in a sentence.
        saturation_tokens: Tokens at which computing costs as much as reading the weights.
        draft_weight: What a draft token weighs in verification against the token of another request.
        experts: Weights of routed experts against all that is read in every step.
        expert_tokens: Tokens that touch 63% of them.
        drafting: How many times as large a share of a step drafting takes as of a dense model's.
        discrepancy: Standard deviation of ln t around the best curve.
    """

    name: str
    saturation_tokens: LogNormal
    draft_weight: LogNormal
    experts: LogNormal
    expert_tokens: LogNormal
    drafting: float
    discrepancy: float


EXPERT_TOKENS: Final = LogNormal(16.0, 0.6)
"""128 experts of which a token picks 8, 256 of which it picks 8, 8 of which it picks 2: 16, 32, 4."""
DENSE: Final = Target(
    "dense models",
    saturation_tokens=LogNormal(100.0, 1.5),
    draft_weight=LogNormal(0.5, 0.15),
    experts=LogNormal(0.05, 2.0),
    expert_tokens=EXPERT_TOKENS,
    drafting=1.0,
    discrepancy=0.06,
)
"""Saturation at 146 tokens and a weight of .56 fit the H100 grid of vLLM pull request 32374: tokens of one request
share their cache. Next to no experts, and spread enough for some that nobody told us of. Smooth curves missed published
grids by 3-7%."""
MIXTURE: Final = Target(
    "mixtures of experts",
    saturation_tokens=LogNormal(8.0, 2.0),
    draft_weight=LogNormal(0.7, 0.5),
    experts=LogNormal(2.0, 1.5),
    expert_tokens=EXPERT_TOKENS,
    drafting=4.0,
    discrepancy=0.12,
)
"""Saturation at 5 tokens fits two H100 with Qwen3-30B-A3B (SpecForge issue 339): few tokens share an expert, so nearly
each one is paid for. Routed experts weigh up to 20 times as much as the rest, of which a step's fixed costs hide some.
What a lone token reads is a small part of the model; the drafter is not smaller for it. Smooth curves miss single cells
of that table by up to 19%. Chosen with it and the simulator's `moe-like` in view: from one measured cell of either, 90%
bounds hold 198 of 199 other cells at that load (those of dense models 132), and are wider by two thirds."""

NAMES_OF_MIXTURES: Final = re.compile(
    r"moe|mixtral|[-_]a\d+(\.\d+)?[bm](?![a-z0-9])|deepseek[-_]?(v[2-9]|r\d)(?!-distill)|kimi[-_]?k\d|gpt[-_]?oss"
    r"|llama[-_]?4|glm[-_]?[45]\.[5-9]|minimax[-_]?(m|text)|dbrx|jamba|grok|ling[-_](mini|flash|1t)|longcat",
    re.IGNORECASE,
)
"""Families that are published as mixtures of experts, by how their names are written; `A3B` is 3 billion active."""


def target_of(model_name: str, mixtures: re.Pattern[str] = NAMES_OF_MIXTURES) -> Target:
    """The priors for a model, by the name that it is served under.

    >>> target_of("Qwen/Qwen3-30B-A3B-Instruct-2507").name, target_of("openai/gpt-oss-120b").name
    ('mixtures of experts', 'mixtures of experts')
    >>> target_of("meta-llama/Llama-3.1-8B-Instruct").name
    'dense models'
    >>> target_of("deepseek-ai/DeepSeek-R1-Distill-Llama-8B").name
    'dense models'
    """
    return MIXTURE if mixtures.search(model_name) else DENSE
