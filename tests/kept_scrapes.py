"""A store of metrics in memory: what it is given to scrape, it hands back as series, without HTTP between."""

from collections.abc import Iterable
from typing import Final

import numpy as np

from controller.observe.errors import ObserveError
from controller.observe.prometheus.answer import Answer, Series
from controller.observe.prometheus.history import Gathered, History
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import CREATED, LOAD, OPTIONAL, PER_POSITION, SPECULATION
from controller.reason import Reason

_NAMES: Final = LOAD | OPTIONAL


class KeptScrapes(History):
    """Stands in for `History`.

    Attributes:
        now_seconds: Its clock, in Unix seconds.
        partial: Why its answers may lack something.
        reads: The spans that were asked for.
    """

    def __init__(self, now_seconds: float = 1.8e9) -> None:
        self.now_seconds = now_seconds
        self.partial = ""
        self.reads: list[tuple[float, float]] = []
        self._samples: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}

    def scrape(
        self,
        shown: Snapshot,
        at: float,
        *,
        only: str = "",
        without: Iterable[str] = (),
        prefix: str = "vllm:",
        **labels: str,
    ) -> None:
        """Keep an engine under target labels; `without` names metrics or labels that do not arrive."""
        values = {name: getattr(shown, field) for name, field in _NAMES.items()}
        if shown.k_max is not None:
            values |= {name: getattr(shown, field) for name, field in SPECULATION.items()}
        if shown.created_seconds is not None:
            values[CREATED] = shown.created_seconds
        own = {"model_name": shown.model_name, "engine": shown.engine, **labels}
        own = {name: value for name, value in own.items() if name not in without}
        for name, value in values.items():
            if name not in without and only in ("", name):
                self._keep({"__name__": prefix + name, **own}, at, value)
        if not only:
            for position, value in enumerate(shown.accepted_by_position):
                self._keep({"__name__": prefix + PER_POSITION, **own, "position": str(position)}, at, value)

    def _keep(self, labels: dict[str, str], at: float, value: float) -> None:
        self._samples.setdefault(tuple(labels.items()), []).append((at, value))

    def now(self) -> float:
        """See `History`."""
        return self.now_seconds

    def gathered(self, since: float, until: float) -> Gathered:
        """See `History`."""
        self.reads.append((since, until))
        series = []
        for labels, samples in self._samples.items():
            found = sorted(each for each in samples if since < each[0] <= until)
            if found:
                times, values = np.array(found).T
                series.append(Series(dict(labels), times, values))
        gathered = Gathered()
        gathered.take(Answer(tuple(series), (self.partial,) if self.partial else (), 0))
        return gathered

    def why_nothing(self, at: float) -> ObserveError:
        """See `History`."""
        return ObserveError(Reason.NOTHING_MATCHES, f"Nothing at {at}.")
