"""One simulated server of a fleet: who it is, what runs on it, and when Prometheus could read it."""

from dataclasses import dataclass
from typing import Final

from controller.simulator.engine import StepEngine
from controller.simulator.scenario import Scenario

_LOAD: Final = (
    "vllm:inter_token_latency_seconds_count",
    "vllm:inter_token_latency_seconds_sum",
    "vllm:iteration_tokens_total_count",
    "vllm:generation_tokens_total",
    "vllm:generation_tokens_created",
    "vllm:time_to_first_token_seconds_count",
    "vllm:prompt_tokens_total",
    "vllm:num_preemptions_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)
_SPECULATION: Final = (
    "vllm:spec_decode_num_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total",
)
_BY_POSITION: Final = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
Span = tuple[float, float]
"""From and until, in seconds after the beginning of the history."""


@dataclass(frozen=True)
class Replica:
    """One pod.

    Attributes:
        namespace: Of the pod.
        pod: Its name.
        instance: Its address, as Prometheus labels it.
        scenario: Its server and traffic; time 0 is the beginning of the history.
        seed: Of all chance.
        life: When the pod exists; None for the whole history. A pod that comes later starts with counters at 0.
        gaps: When no scrape of it succeeded.
        stepwise: Whether every engine step is simulated; otherwise each window is drawn from the simulator's exact
            expectations, which is thousands of times faster.
    """

    namespace: str
    pod: str
    instance: str
    scenario: Scenario
    seed: int = 0
    life: Span | None = None
    gaps: tuple[Span, ...] = ()
    stepwise: bool = False

    @property
    def labels(self) -> str:
        """The labels that all its series share, as they stand between braces."""
        names = {
            "job": "vllm",
            "namespace": self.namespace,
            "pod": self.pod,
            "instance": self.instance,
            "engine": "0",
            "model_name": self.scenario.model_name,
        }
        return ",".join(f'{name}="{value}"' for name, value in names.items())

    @property
    def series(self) -> tuple[str, ...]:
        """Every series that it shows, in the order of its readings. Of a real page those that adaptive-k reads."""
        names = (*_LOAD, *(_SPECULATION if self.scenario.speculates else ()))
        own = tuple(f"{name}{{{self.labels}}}" for name in names)
        positions = range(self.scenario.k_max)
        return own + tuple(f'{_BY_POSITION}{{{self.labels},position="{each}"}}' for each in positions)

    def seen(self, at_seconds: float) -> bool:
        """Whether a scrape at this moment succeeded, as far as pod and network are concerned."""
        lives = self.life is None or self.life[0] <= at_seconds < self.life[1]
        return lives and not any(start <= at_seconds < end for start, end in self.gaps)


def reading(engine: StepEngine, created_seconds: float) -> tuple[float, ...]:
    """What a page of this engine shows now, in the order of `Replica.series`."""
    counters = engine.counters
    load = (
        counters.inter_token.count,
        counters.inter_token.sum,
        counters.step_tokens.count,
        counters.generation_tokens,
        created_seconds,
        counters.first_token.count,
        counters.prompt_tokens,
        counters.preemptions,
        engine.running,
        engine.waiting,
    )
    if not engine.k_max:
        return load
    by_position = counters.accepted_by_position().sum(axis=0).tolist()
    return (*load, counters.drafts, counters.draft_tokens, counters.accepted_tokens, *by_position)
