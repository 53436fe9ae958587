"""Windows for tests, with the counters of a server that drafts as told."""

import numpy as np

from controller.observe.window import Window


def window(
    by_position: tuple[float, ...] = (),
    *,
    drafts: float = 0.0,
    draft_tokens: float | None = None,
    request_steps: float | None = None,
    batch: float = 4.0,
    step_seconds: float = 0.01,
    k_max: int | None = None,
    **others: float,
) -> Window:
    """A window of steady load: every step decodes `batch` requests, prompts aside."""
    accepted = float(sum(by_position))
    per_request = drafts if request_steps is None else request_steps
    values = {
        "first_tokens": 0.0,
        "prompt_tokens": 0.0,
        "preemptions": 0.0,
        "running": batch,
        "waiting": 0.0,
    } | others
    return Window(
        model_name="m",
        engine="0",
        seconds=10.0,
        k_max=len(by_position) if k_max is None else k_max,
        drafts=drafts,
        draft_tokens=drafts * len(by_position) if draft_tokens is None else draft_tokens,
        accepted_tokens=accepted,
        accepted_by_position=by_position,
        latency_samples=per_request,
        latency_seconds=per_request * step_seconds,
        steps=per_request / batch,
        generated_tokens=per_request + accepted,
        **values,
    )


def drafted(hazards: tuple[float, ...], drafts: int, k: int, seed: int = 0) -> tuple[float, ...]:
    """Accepted tokens by position of so many drafts of k tokens, drawn from the hazards."""
    draws = np.random.default_rng(seed).random((drafts, len(hazards))) < np.asarray(hazards)
    draws[:, k:] = False
    return tuple(np.cumprod(draws, axis=1).sum(axis=0).astype(float).tolist())
