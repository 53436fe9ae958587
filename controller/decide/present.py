"""Which k runs now, as far as the counters tell."""

from dataclasses import dataclass
from typing import Final

from controller.model.drafter import Drafter, Drafting
from controller.observe.window import Window

WHOLE: Final = 0.02
"""A mean drafted length within this of a whole number is that number."""
ALWAYS: Final = 0.97
"""A share of drafting request-steps from which every step is taken to draft: the rest is requests at their end."""


@dataclass(frozen=True, slots=True)
class Present:
    """How the server drafts now.

    Attributes:
        k: Mean k in force over the window's request-steps; None when the counters cannot tell.
        drafting: How short drafts are to be read.
    """

    k: float | None
    drafting: Drafting


def present(window: Window, drafter: Drafter | None, stated_k: float | None) -> Present:
    """The k in force, and how short drafts are to be read.

    The configured k is in no metric. A method that always drafts k shows it as its mean drafted length. n-gram and
    suffix draft fewer, or nothing, so that for them k is known only when it is stated. When the method is not known
    either, whole lengths in every step mean that it always drafts k; anything else may be either, and is taken as
    drafts that fall short, since this reproduces what was observed.

    Args:
        window: The counters.
        drafter: The method's priors; None when the method is not known.
        stated_k: k as the operator states it; None to infer it.
    """
    length, share = window.mean_draft_length, window.drafting_share
    always = length is not None and share is not None and share >= ALWAYS
    whole = length is not None and abs(length - round(length)) <= WHOLE
    inferred = Drafting.FIXED if always and whole else Drafting.VARIABLE
    drafting = drafter.drafting if drafter is not None else inferred
    if stated_k is not None:
        return Present(stated_k, drafting)
    if drafting is Drafting.VARIABLE:
        return Present(None, drafting)
    if length is None or share is None:
        return Present(0.0 if window.request_steps > 0 else None, drafting)
    mean = length if always else length * share
    return Present(float(round(mean)) if always and whole else mean, drafting)
