"""Own metrics, made from the latest cycle: one consistent page however many scrape it.

A series whose value is not known is left out, never 0 or NaN. Every label set of a counter exists from the start.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from controller import __version__
from controller.cycle import Cycle, EngineCycle
from controller.decide.decision import Action, Bounded
from controller.reason import Reason

OUTCOMES: Final = (
    (Action.CHANGE, Reason.FASTER_K),
    (Action.DISABLE, Reason.SPECULATION_LOSES),
    (Action.HOLD, Reason.BEST_ALREADY),
    (Action.HOLD, Reason.GAIN_BELOW_MINIMUM),
    (Action.HOLD, Reason.GAIN_UNCERTAIN),
    (Action.HOLD, Reason.COOLDOWN),
    (Action.HOLD, Reason.WARMING_UP),
    (Action.HOLD, Reason.NOT_ENOUGH_EVIDENCE),
    (Action.HOLD, Reason.IDLE),
    (Action.HOLD, Reason.NOTHING_DRAFTED),
    (Action.HOLD, Reason.NO_SPECULATION),
)
"""Every way in which a decision can end; the other reasons are those of failures."""
FAILURES: Final = tuple(reason for reason in Reason if reason not in {reason for _, reason in OUTCOMES})
PREFIX: Final = "adaptive_k_"
ENGINE_LABELS: Final = ("model_name", "engine")
_Outcome = tuple[str, str, Action, Reason]


@dataclass(frozen=True, slots=True)
class _State:
    """What a scrape reads: swapped whole, never changed."""

    cycle: Cycle | None = None
    last_success_unix_seconds: float | None = None
    last_change_unix_seconds: float | None = None
    decisions: Counter[_Outcome] = field(default_factory=Counter)
    failures: Counter[Reason] = field(default_factory=Counter)


class Telemetry(Collector):
    """Collects `adaptive_k_*` from the cycles published to it."""

    def __init__(self) -> None:
        self._state = _State()

    @property
    def cycle(self) -> Cycle | None:
        """The latest cycle."""
        return self._state.cycle

    def publish(self, cycle: Cycle) -> None:
        """Take in one cycle. Called by the loop's thread only; scrapes see the state before or after it."""
        state = self._state
        decided = [engine for engine in cycle.engines if not cycle.failure and not engine.failure]
        changed = any(engine.decision.action is not Action.HOLD for engine in decided)
        self._state = _State(
            cycle=cycle,
            last_success_unix_seconds=state.last_success_unix_seconds if cycle.failure else cycle.at_unix_seconds,
            last_change_unix_seconds=cycle.at_unix_seconds if changed else state.last_change_unix_seconds,
            decisions=_counted(state.decisions, decided),
            failures=state.failures + Counter(failure.reason for failure in cycle.failures),
        )

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families of one state."""
        state = self._state
        yield InfoMetricFamily(f"{PREFIX}build", "Version of adaptive-k.", value={"version": __version__})
        yield from _process(state)
        engines = state.cycle.engines if state.cycle else ()
        yield from _decisions(engines)
        yield from _acceptance(engines)


def _counted(decisions: Counter[_Outcome], decided: list[EngineCycle]) -> Counter[_Outcome]:
    """The counts with these decisions; an engine seen for the first time starts from 0 in every outcome."""
    engines = {(engine.model_name, engine.engine) for engine in decided}
    counted = Counter({(*engine, *outcome): 0 for engine in engines for outcome in OUTCOMES})
    counted.update(decisions)
    counted.update((each.model_name, each.engine, each.decision.action, each.decision.reason) for each in decided)
    return counted


def _process(state: _State) -> Iterator[Metric]:
    failures = CounterMetricFamily(f"{PREFIX}failures", "Passes or windows that could not be used.", labels=["reason"])
    for reason in FAILURES:
        failures.add_metric([reason.value], state.failures[reason])
    yield failures
    decisions = CounterMetricFamily(
        f"{PREFIX}decisions",
        "Decisions by what was decided and why.",
        labels=[*ENGINE_LABELS, "action", "reason"],
    )
    for (model_name, engine, action, reason), count in sorted(state.decisions.items()):
        decisions.add_metric([model_name, engine, action.value, reason.value], count)
    yield decisions
    cycle = state.cycle
    yield CounterMetricFamily(f"{PREFIX}cycles", "Passes of the loop.", value=cycle.number if cycle else 0)
    for name, text, value in (
        (
            "last_success_timestamp_seconds",
            "When the server's page was last read.",
            state.last_success_unix_seconds,
        ),
        (
            "last_change_timestamp_seconds",
            "When another k was last recommended.",
            state.last_change_unix_seconds,
        ),
        ("cycle_duration_seconds", "Duration of the last pass.", cycle.seconds if cycle else None),
        (
            "observe_duration_seconds",
            "Duration of reading the page in it.",
            cycle.observe_seconds if cycle else None,
        ),
    ):
        if value is not None:
            yield GaugeMetricFamily(PREFIX + name, text, value=value)


def _decisions(engines: tuple[EngineCycle, ...]) -> Iterator[Metric]:
    for name, text, read in (
        ("max_k", "num_speculative_tokens at launch.", lambda each: each.k_max),
        ("effective_k", "Mean k in force.", lambda each: each.decision.k_now),
        ("recommended_k", "k to run at the present load.", lambda each: each.decision.k),
        ("batch_requests", "Load that was decided for.", lambda each: each.decision.batch),
        ("step_seconds", "Mean engine step.", lambda each: each.window.step_seconds if each.window else None),
        (
            "gain_ratio",
            "Throughput at the recommended k over now.",
            lambda each: _bound(each.decision.gain, "value"),
        ),
        ("gain_low_ratio", "Its lower 90% bound.", lambda each: _bound(each.decision.gain, "low")),
        ("gain_high_ratio", "Its upper 90% bound.", lambda each: _bound(each.decision.gain, "high")),
    ):
        yield _gauge(name, text, engines, read)
    for name, text, part in (
        ("margin_ratio", "Throughput now over k=0 on this server, minus 1.", "value"),
        ("margin_low_ratio", "Its lower 90% bound.", "low"),
        ("margin_high_ratio", "Its upper 90% bound.", "high"),
    ):
        family = GaugeMetricFamily(PREFIX + name, text, labels=[*ENGINE_LABELS, "baseline"])
        for each in engines:
            value = _bound(each.decision.margin, part)
            if value is not None:
                family.add_metric([each.model_name, each.engine, each.decision.baseline.value], value)
        yield family


def _acceptance(engines: tuple[EngineCycle, ...]) -> Iterator[Metric]:
    yield _gauge(
        "acceptance_length_tokens",
        "Tokens per verified draft, bonus token included.",
        engines,
        lambda each: each.window.mean_acceptance_length if each.window else None,
    )
    yield _gauge(
        "evidence_drafts",
        "Drafts behind the estimate.",
        engines,
        lambda each: each.acceptance.evidence_drafts if each.acceptance else None,
    )
    for name, text, part in (
        ("acceptance_ratio", "P(this draft position and all before it are accepted).", "survival"),
        ("acceptance_low_ratio", "Its lower 90% bound.", "survival_low"),
        ("acceptance_high_ratio", "Its upper 90% bound.", "survival_high"),
    ):
        family = GaugeMetricFamily(PREFIX + name, text, labels=[*ENGINE_LABELS, "position"])
        for each in engines:
            for position, value in enumerate(getattr(each.acceptance, part) if each.acceptance else ()):
                family.add_metric([each.model_name, each.engine, str(position)], value)
        yield family


def _gauge(
    name: str, text: str, engines: tuple[EngineCycle, ...], read: Callable[[EngineCycle], float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=list(ENGINE_LABELS))
    for each in engines:
        value = read(each)
        if value is not None:
            family.add_metric([each.model_name, each.engine], value)
    return family


def _bound(bounded: Bounded | None, part: str) -> float | None:
    return None if bounded is None else float(getattr(bounded, part))
