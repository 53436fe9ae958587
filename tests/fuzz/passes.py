"""Counters that jump about, through whole passes of the loop: observe -> model -> decide -> act -> publish."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from fakes import ManualClock, RecordingActuator, ScriptedSource
from pages import after, snapshot

from controller.decide.policy_settings import PolicySettings
from controller.live import Live
from controller.loop import Controller
from controller.model.drafter import Method
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Measured, Speculation, StepCounts, WorkloadCounts
from fuzz.holding import publish

PASSES_MAX: Final = 8
INTERVAL_SECONDS: Final = 10.0
NUMBERS: Final = (
    0.0, 1.0, 2.0, 3.0, 10.0, 100.0, 4000.0, 1e5, 1e6, 1e9, 1e12, 1e15, 9.9e17, 0.5, 1e-3, 1e-9, 1e-300, 5e-324,
)  # fmt: skip
FIELDS: Final = (
    "drafts", "draft_tokens", "accepted_tokens", "latency_samples", "latency_seconds", "steps", "generated_tokens",
    "first_tokens", "prompt_tokens", "preemptions", "running", "waiting",
)  # fmt: skip
METHODS: Final = (None, *Method)
OWNERS: Final = (None, "me", "somebody")


def check(data: bytes) -> None:
    """No pass raises, and each can be published. A byte is a choice; six make a page and what the plugin says."""
    choices = iter(data)
    launch, method, stated = (next(choices, 4) for _ in range(3))
    k_max, live = launch % 9, bool(launch & 0x80)
    clock = ManualClock()
    now, told = snapshot(k_max=k_max or None), launched(k_max)
    reads, documents = [_stamped([now], 0)], [told]
    while len(reads) < PASSES_MAX and len(page := tuple(islice(choices, 6))) == 6:
        now, engines = _next(now, *page[:4])
        told = _held(told, *page[4:])
        reads.append(_stamped(engines, len(reads)))
        documents.append(told)
    loop = Controller(
        ScriptedSource(clock, *reads, before_read=lambda: clock.advance(INTERVAL_SECONDS)),
        clock,
        RecordingActuator(),
        PolicySettings(cooldown_seconds=float(stated)),
        method=METHODS[method % len(METHODS)],
        stated_k=stated % 8 if stated & 0x40 else None,
        plugin=Told(documents),
        live=Live("me", frozen=lambda: bool(stated & 0x80), chance=lambda: method / 255) if live else None,
    )
    publish([loop.step() for _ in reads])


class Told:
    """An engine plugin that tells one document after the other."""

    def __init__(self, documents: Sequence[Speculation]) -> None:
        self._documents: Iterator[Speculation] = iter(documents)
        self._last = documents[-1]

    def read(self) -> Speculation:
        """See `PluginSource`."""
        return next(self._documents, self._last)


def _stamped(engines: Sequence[Snapshot], passed: int) -> tuple[Snapshot, ...]:
    return tuple(replace(each, at_seconds=1000.0 + INTERVAL_SECONDS * (passed + 1)) for each in engines)


def _next(now: Snapshot, load: int, field: int, number: int, what: int) -> tuple[Snapshot, list[Snapshot]]:
    """Some traffic later, and a counter or two are as no server would have them."""
    steps = (0, 1, 10, 400, 4000, 100_000)[load % 6]
    batch = (1.0, 4.0, 30.0, 256.0)[load // 6 % 4]
    step_seconds = (0.01, 1e-6, 3.0, 0.04)[load // 24 % 4]
    late = after(now, request_steps=steps, batch=batch, step_seconds=step_seconds) if steps else now
    value, name = NUMBERS[number % len(NUMBERS)], FIELDS[field % len(FIELDS)]
    if what & 1:
        late = _with(late, name, getattr(late, name) + value)
    if what & 2:
        late = _with(late, name, value)
    if what & 4:
        late = replace(late, accepted_by_position=tuple(each + value for each in late.accepted_by_position))
    if what & 8:
        late = replace(late, accepted_by_position=late.accepted_by_position[:-1])
    if what & 16:
        late = replace(late, created_seconds=value)
    return late, [late, replace(late, engine="1")] if what & 32 else [late]


def _with(shown: Snapshot, name: str, value: Any) -> Snapshot:
    return replace(shown, **{name: value})


def launched(k_max: int) -> Speculation:
    """What the plugin tells of an engine that has just started."""
    ranges = ((1, 256, k_max),)
    return Speculation(
        1, "b0", 0, None, "eagle", k_max or None, 256, ranges, ranges, None, writable=True, read_only_because=None,
        measured=Measured(),
    )  # fmt: skip


def _held(told: Speculation, what: int, number: int) -> Speculation:
    """The document after something happened in the engine, possible or not."""
    k = number % 10
    owner = OWNERS[what % 3]
    schedule = (
        ((1, 1 + number, k), (300, 400, 1)) if what & 4 else told.launch_schedule if owner is None else told.schedule
    )
    value = NUMBERS[number % len(NUMBERS)]
    measured = told.measured or Measured()
    return replace(
        told,
        boot_id=f"b{number}" if what & 8 else told.boot_id,
        generation=told.generation + (what & 1),
        owner=owner,
        schedule=schedule,
        expires_in_seconds=value if owner else None,
        k_with_graph=(0, k) if what & 16 else told.k_with_graph,
        writable=not what & 32,
        measured=None if what & 64 else _counted(measured, k, value) if what & 128 else measured,
    )


def _counted(measured: Measured, k: int, value: float) -> Measured:
    """More of everything."""
    old = (
        measured.workloads[0] if measured.workloads else WorkloadCounts("chat", 0.0, (0.0,) * 4, (0.0,) * 4, (0.0,) * 4)
    )
    more = tuple(each + value for each in old.drafted)
    workload = WorkloadCounts("chat", old.drafts + value, more, more, tuple(each + value / 2 for each in old.accepted))
    step = StepCounts(1 + k, 9 + k, k, 400.0, 400.0 * (1 + k), value, 900.0, value * (k % 2))
    return Measured((workload,), (*(each for each in measured.steps if each.batch_min != 1 + k), step))


def seeds() -> list[bytes]:
    """Steady traffic, a restart, wild counters, each with and without live control."""
    steady, wild = bytes((3, 0, 0, 0, 0, 4)), bytes((8, 5, 12, 35, 132, 9))
    return [
        bytes((head, method, 10)) + body
        for head, method in ((4, 0), (0x84, 1), (0, 2), (0x88, 5))
        for body in (6 * steady, steady + wild + steady + wild, 2 * steady + bytes((3, 0, 0, 2, 137, 3)) + steady)
    ]
