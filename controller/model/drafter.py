"""What is known of a drafting method before anything was measured: few, stated and sourced priors."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Drafting(StrEnum):
    """How many tokens a method drafts when asked for k."""

    FIXED = "fixed"
    """Always k: the mean drafted length is k."""
    VARIABLE = "variable"
    """Up to k, or nothing without a match: n-gram and suffix."""


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A positive quantity known within a factor: median, and spread as the standard deviation of its logarithm."""

    median: float
    spread: float


@dataclass(frozen=True, slots=True)
class Drafter:
    """Priors of one family of drafting methods.

    Attributes:
        name: What it is called in a sentence.
        drafting: Whether it always drafts k.
        logit_drift: Expected change of logit(acceptance) from the first draft position to the second; each further
            change is `DRIFT_FADE` of the one before.
        logit_spread: Standard deviation of that change.
        overhead: Cost of drafting at all (any k > 0), as a share of the k=0 step for a lone stream.
        persistence: How much likelier, in logits, a first draft token is accepted after a wholly accepted draft than
            after a rejection: easy text goes on.
        per_draft: Cost of each further draft token, likewise; the cost of verifying it comes on top.
    """

    name: str
    drafting: Drafting
    logit_drift: float
    logit_spread: float
    overhead: LogNormal
    per_draft: LogNormal
    persistence: float = 0.3


DRIFT_FADE: Final = 0.8
"""With a first drift of -.4 this one curve turns the acceptance length at one k into that at another within 5% upward
and 2% downward on SPEED-Bench runs of EAGLE-3, MTP and DSpark at k = 1..8 (SemiAnalysis InferenceX, seven servers),
where a constant rate is off by 11% and 4%."""

# Costs: EAGLE and EAGLE-3 on Llama-3(.1)-8B, by batch and k (vLLM pull requests 32374 and 16035, issue 20780), give
# overheads of .07, .09, .16 and .16 of a step and .09, .10, .12 and .14 a draft, verification at batch 1 included;
# a Qwen3-1.7B drafter costs .11 of its 32B target a draft; n-gram matching on the CPU takes well under 1% of a step.
# Drift of lookup methods: one published n-gram page rises (.375, .915, .924), captures of our own hardly do.
# Persistence: rates measured at a large k and cut to a smaller one fall short of what is then measured by 1-6% for
# EAGLE and up to 21% for n-gram on published pages. .3 and .9 are a choice, made on texts of the simulator, where they
# take a third off that error; no published pair of rates was fitted.
HEAD: Final = Drafter("EAGLE and MTP heads", Drafting.FIXED, -0.4, 0.35, LogNormal(0.11, 0.7), LogNormal(0.12, 0.8))
"""EAGLE, EAGLE-3, MTP, Medusa and the like: a small head on the target's own hidden states."""
DRAFT_MODEL: Final = Drafter("draft models", Drafting.FIXED, -0.15, 0.35, LogNormal(0.06, 0.8), LogNormal(0.10, 0.6))
"""A small language model of its own."""
BLOCK: Final = Drafter("block drafters", Drafting.FIXED, -0.4, 0.35, LogNormal(0.15, 0.7), LogNormal(0.01, 0.8))
"""DFlash, DSpark: all k drafts in one pass."""
LOOKUP: Final = Drafter(
    "n-gram and suffix lookup",
    Drafting.VARIABLE,
    0.6,
    0.8,
    LogNormal(0.02, 0.8),
    LogNormal(0.005, 0.8),
    persistence=0.9,
)
"""n-gram and suffix: drafts are copied from text already seen."""
UNKNOWN: Final = Drafter("any method", Drafting.FIXED, -0.25, 0.5, LogNormal(0.08, 0.9), LogNormal(0.07, 0.9))
"""Nothing is known of the method."""


class Method(StrEnum):
    """vLLM's values of `method` in `--speculative-config`."""

    NGRAM = "ngram"
    NGRAM_GPU = "ngram_gpu"
    SUFFIX = "suffix"
    DRAFT_MODEL = "draft_model"
    EAGLE = "eagle"
    EAGLE3 = "eagle3"
    MTP = "mtp"
    MEDUSA = "medusa"
    MLP_SPECULATOR = "mlp_speculator"
    DFLASH = "dflash"
    DSPARK = "dspark"


_LOOKUPS: Final = (Method.NGRAM, Method.NGRAM_GPU, Method.SUFFIX)
_BLOCKS: Final = (Method.DFLASH, Method.DSPARK)
METHODS: Final[dict[Method, Drafter]] = {
    **dict.fromkeys(Method, HEAD),
    **dict.fromkeys(_LOOKUPS, LOOKUP),
    **dict.fromkeys(_BLOCKS, BLOCK),
    Method.DRAFT_MODEL: DRAFT_MODEL,
}
"""The priors of each method."""
FIXED_K: Final = frozenset({"suffix", "medusa", "ngram_gpu", "extract_hidden_states"})
"""Methods that assert k == num_speculative_tokens: a schedule kills the engine (vLLM 0.32, V1 runner)."""
LIVE_K: Final = frozenset({Method.NGRAM, Method.DRAFT_MODEL, Method.EAGLE, Method.EAGLE3, Method.MTP})
"""Methods whose k the engine plugin changes live."""
CUT_K: Final = frozenset({Method.SUFFIX, Method.MEDUSA})
"""Methods whose drafts it cuts instead, without asynchronous scheduling; of any other it leaves k alone."""
