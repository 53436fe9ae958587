"""Own metrics, made from the latest cycle: one consistent page however many scrape it."""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.cycle import Cycle
from controller.serve.telemetry_family import ENGINE_LABELS, Family, Kind
from controller.serve.telemetry_state import State, after
from controller.serve.telemetry_table import FAMILIES

_KINDS: Final = {Kind.GAUGE: GaugeMetricFamily, Kind.COUNTER: CounterMetricFamily}


class Telemetry(Collector):
    """Collects `adaptive_k_*` from the cycles published to it."""

    def __init__(self, labels: tuple[str, ...] = ()) -> None:
        """`labels`: names of those that tell a fleet's rows apart, beside the model and the engine."""
        self._state = State()
        self._labels = labels

    @property
    def cycle(self) -> Cycle | None:
        """The latest cycle."""
        return self._state.cycle

    def publish(self, cycle: Cycle) -> None:
        """Take in one cycle. Called by the loop's thread only; scrapes see the state before or after it."""
        self._state = after(self._state, cycle)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families of one state."""
        state = self._state
        for each in FAMILIES:
            family = _KINDS[each.kind](each.name, each.text, labels=self._names(each))
            for labels, value in each.values(state):
                family.add_metric(labels, value)
            yield family

    def _names(self, family: Family) -> tuple[str, ...]:
        engine = len(ENGINE_LABELS)
        of_engine = family.labels[:engine] == ENGINE_LABELS
        return (*ENGINE_LABELS, *self._labels, *family.labels[engine:]) if of_engine else family.labels
