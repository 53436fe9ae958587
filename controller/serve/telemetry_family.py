"""One own metric as a declaration, and the shapes that metrics come in."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.cycle import Cycle, EngineCycle
from controller.observe.snapshot import Key
from controller.serve.telemetry_read import Spread, Value
from controller.serve.telemetry_state import EngineCounts, State

PREFIX: Final = "adaptive_k_"
ENGINE_LABELS: Final = ("model_name", "engine")


class Kind(StrEnum):
    """Prometheus' types, as far as they are used."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: In full, as it is queried.
        kind: Its type.
        labels: Names, in order.
        unit: Of the value.
        text: What it means, in a sentence.
        values: Its series for a state.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    text: str
    values: Callable[[State], Iterable[Value]]


def placed(key: Key) -> tuple[str, ...]:
    """The values of `ENGINE_LABELS`, and of the labels that tell a fleet's rows apart."""
    model_name, engine, labels = key
    return (model_name, engine, *(value for _, value in labels))


def alone(
    name: str, unit: str, text: str, value: Callable[[State], float | None], kind: Kind = Kind.GAUGE
) -> tuple[Family, ...]:
    """One series."""

    def values(state: State) -> Iterator[Value]:
        found = value(state)
        if found is not None:
            yield (), found

    return (Family(PREFIX + name, kind, (), unit, text, values),)


def of_cycle(name: str, unit: str, text: str, value: Callable[[Cycle], float]) -> tuple[Family, ...]:
    """One series, from the first pass on."""
    return alone(name, unit, text, lambda state: value(state.cycle) if state.cycle else None)


def labelled(
    name: str, unit: str, text: str, labels: tuple[str, ...], values: Callable[[EngineCycle], Iterable[Value]]
) -> tuple[Family, ...]:
    """One series or more for each engine on the page, unless what is known of it is too old."""

    def of_all(state: State) -> Iterator[Value]:
        for engine in state.present:
            for found, value in values(engine):
                yield (*placed(engine.key), *found), value

    return (Family(PREFIX + name, Kind.GAUGE, (*ENGINE_LABELS, *labels), unit, text, of_all),)


def of_engine(name: str, unit: str, text: str, value: Callable[[EngineCycle], float | None]) -> tuple[Family, ...]:
    """One series for each engine on the page."""

    def values(engine: EngineCycle) -> Iterator[Value]:
        found = value(engine)
        if found is not None:
            yield (), float(found)

    return labelled(name, unit, text, (), values)


def bounded(
    name: str, unit: str, text: str, labels: tuple[str, ...], spreads: Callable[[EngineCycle], Iterable[Spread]]
) -> tuple[Family, ...]:
    """A value and its bounds, as three metrics: `low` and `high` come before the unit."""
    stem, _, suffix = name.rpartition("_")
    if name.endswith("_tokens_per_second"):
        stem, suffix = name.removesuffix("_tokens_per_second"), "tokens_per_second"
    return (
        *labelled(name, unit, text, labels, lambda engine: ((at, each.value) for at, each in spreads(engine))),
        *labelled(
            f"{stem}_low_{suffix}",
            unit,
            f"Lower 90% bound of {PREFIX}{name}.",
            labels,
            lambda engine: ((at, each.low) for at, each in spreads(engine)),
        ),
        *labelled(
            f"{stem}_high_{suffix}",
            unit,
            f"Upper 90% bound of {PREFIX}{name}.",
            labels,
            lambda engine: ((at, each.high) for at, each in spreads(engine)),
        ),
    )


def counted(
    name: str, unit: str, text: str, labels: tuple[str, ...], counts: Callable[[EngineCounts], Iterable[Value]]
) -> tuple[Family, ...]:
    """Counts of every engine that was ever seen."""

    def values(state: State) -> Iterator[Value]:
        for key, known in state.engines.items():
            for found, value in counts(known):
                yield (*placed(key), *found), value

    return (Family(PREFIX + name, Kind.COUNTER, (*ENGINE_LABELS, *labels), unit, text, values),)
