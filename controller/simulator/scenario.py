"""A scenario: everything about a simulated server and its traffic, as frozen data."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from controller.simulator.schedule import Schedule
from controller.simulator.step_cost import CostGrid, Noise
from controller.simulator.workload import Workload

EventKind: TypeAlias = Literal["restart"]


@dataclass(frozen=True, slots=True)
class Phase:
    """Traffic from `start_seconds` until the next phase.

    Closed loop: `concurrency` clients, each with one request at the server at any time. Open loop: requests
    arrive at `requests_per_second` (Poisson), whatever the server does. Exactly one of the two is given.
    `mix` weighs the workloads of new requests; requests that are running keep theirs.
    """

    start_seconds: float
    mix: tuple[tuple[str, float], ...]
    concurrency: int | None = None
    requests_per_second: float | None = None

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.requests_per_second is None):
            raise ValueError("a phase has either a concurrency or requests per second")
        if (self.concurrency or 0) < 0 or (self.requests_per_second or 0) < 0:
            raise ValueError("load is not negative")
        if not self.mix or min(weight for _, weight in self.mix) < 0 or sum(weight for _, weight in self.mix) <= 0:
            raise ValueError("a mix names workloads with weights that are not negative and not all 0")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens once per turn of the timeline.

    `restart`: running and waiting requests are lost, counters start at 0, the schedule is the launch schedule
    again, and the server does not answer for `down_seconds`.
    """

    at_seconds: float
    kind: EventKind = "restart"
    down_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A simulated server and its traffic.

    `k_max` is `num_speculative_tokens` as launched, 0 for a server without speculation; `schedule` the launch
    schedule, None for k_max at every batch size. `loop_seconds` starts the timeline over; None lets the last
    phase go on for ever. With several `engines` (data parallel) the load is dealt evenly.
    """

    name: str
    description: str
    grid: CostGrid
    workloads: tuple[Workload, ...]
    phases: tuple[Phase, ...]
    k_max: int = 5
    schedule: Schedule | None = None
    events: tuple[Event, ...] = ()
    loop_seconds: float | None = None
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    kv_cache_tokens: int = 400_000
    max_model_len: int = 32_768
    engines: int = 1
    method: str = "eagle"
    model_name: str = "simulated-8b"
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        starts = [phase.start_seconds for phase in self.phases]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"scenario {self.name!r}: phases start at 0 and rise")
        known = {workload.name for workload in self.workloads}
        unknown = {name for phase in self.phases for name, _ in phase.mix} - known
        if unknown or len(known) != len(self.workloads):
            raise ValueError(f"scenario {self.name!r}: unknown or repeated workloads {sorted(unknown)}")
        last = max(starts + [event.at_seconds for event in self.events])
        if self.loop_seconds is not None and last >= self.loop_seconds:
            raise ValueError(f"scenario {self.name!r}: something happens after its loop has ended")
        if self.engines < 1 or self.max_num_seqs < 1 or self.k_max < 0:
            raise ValueError(f"scenario {self.name!r}: at least one engine and one sequence, and k_max from 0")

    @property
    def speculates(self) -> bool:
        """Whether the server was launched with a drafter."""
        return self.k_max > 0
