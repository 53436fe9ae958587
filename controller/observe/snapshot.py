"""Counters and gauges of one engine of one server at one instant."""

from dataclasses import dataclass

from controller.reason import Reason

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted by name: which server, or which group of servers; empty for one that is read directly."""
Key = tuple[str, str, Labels]
"""Model name, engine and labels: what tells one engine, or one group of engines, from the others."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """The engines that a snapshot adds up, where it adds up any.

    Attributes:
        known: Engines that are there now.
        counted: Those with a usable window since the snapshot before.
        left_out: Why the others, and how many, the most frequent reason first.
        message: The first reason in words; empty where none was left out.
        notes: Why the answer that this rests on may lack something; empty where it is whole.
    """

    known: int
    counted: int
    left_out: tuple[tuple[Reason, int], ...] = ()
    message: str = ""
    notes: tuple[tuple[Reason, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one vLLM engine had counted since it started, as one page of `/metrics` showed it.

    Attributes:
        model_name: The served model, vLLM's label `model_name`.
        engine: vLLM's label `engine`; several engines share one page under data parallelism.
        at_seconds: When the page was read, on a monotonic clock; None for a saved page without an interval.
        created_seconds: When the server's counters were created (Unix time), if the page says so: it changes
            when the server restarts, even if every counter has overtaken its old value since.
        drafts: Request-steps with at least one scheduled draft; steps at k=0 are not counted.
        draft_tokens: Drafts scheduled for verification.
        accepted_tokens: Drafts accepted, the bonus token excluded.
        accepted_by_position: Accepted drafts by position, first draft first; empty without speculation.
        latency_samples: Samples of the inter-token latency: one per request and engine step (vLLM <= 0.33).
        latency_seconds: Their sum.
        steps: Engine steps.
        generated_tokens: Tokens generated, first tokens included.
        first_tokens: Samples of the time to first token.
        prompt_tokens: Prompt tokens processed.
        preemptions: Requests put back into the queue.
        running: Requests in the batch now.
        waiting: Requests queued now.
        labels: Which server or group of servers; empty for one that is read directly.
        replicas: The engines that are added up; None for a single one that is read directly.
    """

    model_name: str
    engine: str
    at_seconds: float | None
    created_seconds: float | None
    drafts: float
    draft_tokens: float
    accepted_tokens: float
    accepted_by_position: tuple[float, ...]
    latency_samples: float
    latency_seconds: float
    steps: float
    generated_tokens: float
    first_tokens: float
    prompt_tokens: float
    preemptions: float
    running: float
    waiting: float
    labels: Labels = ()
    replicas: Replicas | None = None

    @property
    def key(self) -> Key:
        """What tells this engine from the others."""
        return (self.model_name, self.engine, self.labels)

    @property
    def k_max(self) -> int | None:
        """The launch value of `num_speculative_tokens`; None when the server shows no speculation.

        vLLM creates one child per draft position at start, so the number of positions is k_max.
        """
        return len(self.accepted_by_position) or None
