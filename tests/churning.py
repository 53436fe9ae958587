"""A vLLM server in scripted time, on which nothing stays: load, traffic, clients, models, and whether it answers.

It decides nothing and draws from its seed alone, so that what two sidecars make of it can be compared. A day of it
costs seconds where a simulated engine, step by step, would cost minutes.
"""

import math
import random
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from fakes import ManualClock
from pages import snapshot

from controller.act.actuator import NOTHING_DONE, Acted, Order, Outcome
from controller.decide.decision import Schedule
from controller.decide.schedule import k_at
from controller.engine.ledger import bucket_tops
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Measured, Speculation, StepCounts, WorkloadCounts
from controller.reason import Reason

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
NOON: Final = 12
"""In the hour from noon on load and traffic are the same every day: what is estimated then can be compared."""
NOON_BATCH: Final = 16
NOON_MIX: Final = (("chat", 0.65), ("code", 0.85))
MAX_NUM_SEQS: Final = 64
TTL_SECONDS: Final = 900.0
RESTARTS_A_DAY: Final = 4.0
PARTITIONS_A_DAY: Final = 0.3
OTHERS_A_DAY: Final = 1.0
SCRAPES_LOST: Final = 0.02
_TOPS: Final = bucket_tops(MAX_NUM_SEQS)
_LOST: Final = (Reason.SERVER_TIMEOUT, Reason.SERVER_UNREACHABLE, Reason.PAGE_CUT, Reason.SERVER_ERROR)


def step_seconds(batch: int, k: int) -> float:
    """The truth of this machine."""
    return 0.008 * (1 + batch * (1 + k) / 150) + 0.0004 * k


def survival(k_max: int) -> tuple[float, ...]:
    """The truth of the hour from noon: by position, the share of drafts accepted up to it."""
    return tuple(sum(rate**j for _, rate in NOON_MIX) / len(NOON_MIX) for j in range(1, k_max + 1))


@dataclass
class ChurningServer:
    """One engine and its plugin. `pages` and `plugin` are what a sidecar reads, the server itself what it acts on.

    Attributes:
        clock: The time.
        owner: Whose schedules are taken as the sidecar's own.
        seed: Of everything that happens.
    """

    clock: ManualClock
    owner: str
    seed: int = 0
    schedule: Schedule = ()
    holder: str | None = None
    _generation: int = 0
    _expires: float = math.inf
    _down_until: float = 0.0
    _cut_until: float = 0.0
    _now: float = 0.0
    _model: int = 0
    _counted: Snapshot = field(default_factory=snapshot)
    _workloads: dict[str, Counter[str]] = field(default_factory=dict)
    _steps: dict[tuple[int, int], Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._zero = self._now = self.clock.monotonic_seconds()
        self._start(k_max=6)

    @property
    def hour(self) -> int:
        """Of all hours since the beginning."""
        return int((self._now - self._zero) / HOUR)

    @property
    def k_max(self) -> int:
        """As launched."""
        return self._counted.k_max or 0

    @property
    def pages(self) -> "_Pages":
        """Its `/metrics`."""
        return _Pages(self)

    @property
    def plugin(self) -> "_Plugin":
        """Its plugin's resource."""
        return _Plugin(self)

    # what a sidecar does to it

    def act(self, order: Order) -> Acted:
        """Hold what is wanted, as the plugin would: see `Actuator`."""
        if not order.wanted or (self.holder is None and order.wanted == self.schedule):
            return NOTHING_DONE
        if self.loses():
            return Acted(Outcome.FAILED, Reason.PLUGIN_UNREACHABLE, "The plugin did not answer.")
        if self.holder not in (None, self.owner):
            return Acted(Outcome.FAILED, Reason.PLUGIN_CONFLICT, "Somebody else holds a schedule.")
        same = order.wanted == self.schedule
        self._hold(order.wanted, self.owner, TTL_SECONDS)
        return Acted(Outcome.RENEWED if same else Outcome.APPLIED, speculation=self.told())

    def idle(self) -> None:
        """See `Actuator`."""

    def answer(self) -> Snapshot:
        """A page, or one of the ways in which there is none."""
        self._catch_up()
        if self._now < max(self._down_until, self._cut_until):
            raise ObserveError(Reason.SERVER_UNREACHABLE, "No connection: check that vLLM runs.")
        if self.loses():
            reason = self._random.choice(_LOST)
            raise ObserveError(reason, f"Nothing came ({reason.value}).")
        return replace(self._counted, at_seconds=self._now)

    def told(self) -> Speculation:
        """The plugin's document."""
        return Speculation(
            protocol=1,
            boot_id=f"boot-{self._counted.created_seconds}",
            generation=self._generation,
            owner=self.holder,
            method="eagle",
            k_max=self.k_max,
            max_num_seqs=MAX_NUM_SEQS,
            launch_schedule=self._launched,
            schedule=self.schedule,
            expires_in_seconds=self._expires - self._now if self.holder else None,
            writable=True,
            read_only_because=None,
            measured=Measured(
                tuple(self._workload(name, counts) for name, counts in self._workloads.items()),
                tuple(_class_of_steps(*key, counts) for key, counts in self._steps.items()),
            ),
        )

    def loses(self) -> bool:
        """Whether this answer gets lost."""
        return self._random.random() < SCRAPES_LOST

    # what happens by itself

    @property
    def _launched(self) -> Schedule:
        return ((1, MAX_NUM_SEQS, self.k_max),)

    def _start(self, k_max: int) -> None:
        model, created = f"model-{self._model}", 1.79e9 + self._now
        self._counted = snapshot(k_max, model_name=model, created_seconds=created)
        self._workloads, self._steps = {}, {}
        self.holder, self.schedule, self._generation = None, self._launched, 0

    def _hold(self, schedule: Schedule, holder: str | None, seconds: float) -> None:
        self._generation += schedule != self.schedule
        self.schedule, self.holder, self._expires = schedule, holder, self._now + seconds

    def _catch_up(self) -> None:
        seconds = self.clock.monotonic_seconds() - self._now
        self._now += seconds
        if seconds <= 0:
            return
        self._serve(seconds)
        if self.holder and self._now >= self._expires:
            self._hold(self._launched, None, math.inf)
        if self._happens(RESTARTS_A_DAY, seconds):
            swapped = self._random.random() < 0.2
            self._model += swapped
            self._start(self._random.choice((4, 6, 8)) if swapped else self.k_max)
            self._down_until = self._now + 120
        if self._happens(PARTITIONS_A_DAY, seconds):
            self._cut_until = self._now + HOUR
        if self._happens(OTHERS_A_DAY, seconds):
            somebody = self._random.random() < 0.5
            launched = self._launched
            self._hold(((1, MAX_NUM_SEQS, 1),) if somebody else launched, "somebody" if somebody else None, 1200.0)

    def _happens(self, times_a_day: float, seconds: float) -> bool:
        return self.hour % 24 != NOON and self._random.random() < times_a_day * seconds / DAY

    def _traffic(self) -> tuple[int, tuple[tuple[str, float], ...]]:
        """Load, and workloads with the rate at which their drafts are accepted. Each hour brings names of its own."""
        if self.hour % 24 == NOON:
            return NOON_BATCH, NOON_MIX
        drawn = random.Random(f"{self.seed} {self.hour}")
        batch = 0 if self.hour % 24 in (3, 4) else round(2 ** drawn.uniform(0, math.log2(MAX_NUM_SEQS)))
        names = ("chat", "code", *(f"tenant-{self.hour}-{number}" for number in range(drawn.randint(4, 9))))
        return batch, tuple((name, drawn.uniform(0.1, 0.95)) for name in names)

    def _serve(self, seconds: float) -> None:
        batch, mix = self._traffic()
        self._counted = replace(self._counted, running=float(batch))
        if batch == 0 or self._now < self._down_until:
            return
        k = k_at(self.schedule, batch) or 0
        step = step_seconds(batch, k) * self._random.lognormvariate(0, 0.03)
        steps = round(seconds / step)
        by_position = Counter[int]()
        drafts = [self._drafted(name, rate, steps * batch // len(mix), k, by_position) for name, rate in mix]
        emitted = len(mix) * (steps * batch // len(mix)) + sum(by_position.values())
        self._count(batch, k, steps, step, sum(drafts), emitted, by_position)

    def _drafted(self, name: str, rate: float, request_steps: int, k: int, by_position: Counter[int]) -> int:
        """Counts the drafts of one workload; returns how many."""
        if k == 0:
            return 0
        counts = self._workloads.setdefault(name, Counter())
        reached = request_steps
        counts["drafts"] += request_steps
        for position in range(1, k + 1):
            spread = math.sqrt(3 * reached * rate * (1 - rate))
            accepted = min(reached, max(0, round(self._random.gauss(reached * rate, spread))))
            counts[f"drafted {position}"] += request_steps
            counts[f"judged {position}"] += reached
            counts[f"accepted {position}"] += accepted
            by_position[position] += accepted
            reached = accepted
        return request_steps

    def _count(
        self, batch: int, k: int, steps: int, step: float, drafts: int, emitted: int, by_position: Counter[int]
    ) -> None:
        seen = self._counted
        accepted = tuple(old + by_position[j] for j, old in enumerate(seen.accepted_by_position, 1))
        requests = round(emitted / 300)
        self._counted = replace(
            seen,
            drafts=seen.drafts + drafts,
            draft_tokens=seen.draft_tokens + k * drafts,
            accepted_tokens=seen.accepted_tokens + sum(by_position.values()),
            accepted_by_position=accepted,
            latency_samples=seen.latency_samples + steps * batch,
            latency_seconds=seen.latency_seconds + steps * batch * step,
            steps=seen.steps + steps,
            generated_tokens=seen.generated_tokens + emitted + requests,
            first_tokens=seen.first_tokens + requests,
            prompt_tokens=seen.prompt_tokens + 100 * requests,
        )
        told = self._steps.setdefault((bisect_left(_TOPS, batch), k), Counter())
        told.update({"steps": steps, "request_steps": steps * batch, "tokens": emitted})
        told["seconds"] += steps * step  # type: ignore[assignment]

    def _workload(self, name: str, counts: Counter[str]) -> WorkloadCounts:
        drafted, judged, accepted = (
            tuple(float(counts[f"{what} {j}"]) for j in range(1, self.k_max + 1))
            for what in ("drafted", "judged", "accepted")
        )
        return WorkloadCounts(name, float(counts["drafts"]), drafted, judged, accepted)


@dataclass(frozen=True)
class _Pages:
    server: ChurningServer

    def read(self) -> tuple[Snapshot, ...]:
        """See `MetricsSource`."""
        return (self.server.answer(),)


@dataclass(frozen=True)
class _Plugin:
    server: ChurningServer

    def read(self) -> Speculation:
        """See `PluginSource`."""
        if self.server.loses():
            raise ObserveError(Reason.PLUGIN_UNREACHABLE, "The plugin did not answer.")
        return self.server.told()


def _class_of_steps(bucket: int, k: int, counts: Counter[str]) -> StepCounts:
    first, last = _TOPS[bucket - 1] + 1 if bucket else 1, _TOPS[bucket]
    counted = (float(counts[what]) for what in ("steps", "request_steps", "seconds", "tokens"))
    return StepCounts(first, last, k, *counted)
