"""What a store answered to a query: series of raw samples, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.observe.prometheus.client import Client
from controller.plain import plain

Floats = NDArray[np.float64]

LABELS_CHARACTERS_MAX: Final = 16 * 1024
"""All labels of a series together."""


@dataclass(frozen=True, slots=True)
class Series:
    """Raw samples of one series: `times` in Unix seconds, ascending, and `values` of the same length."""

    labels: Mapping[str, str]
    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave.

    Attributes:
        series: All that matched.
        warnings: Why the answer may be partial, in the store's words; empty where it is whole.
        size_bytes: Of the answer.
    """

    series: tuple[Series, ...]
    warnings: tuple[str, ...]
    size_bytes: int


def read(client: Client, fetched: str) -> Answer:
    """The series in what `Client.fetch` gave; raises `ObserveError`, with the cause and the remedy."""
    kind, result, warnings = client.data(fetched)
    points = {"matrix": "values", "vector": "value"}.get(kind)
    if points is None:
        raise client.bad(f"the result is of the type {plain(kind, 20)}")
    try:
        series = _series(result, points)
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise client.bad("a series is not as documented") from error
    return Answer(series, warnings, len(fetched))


def _series(result: Any, points: str) -> tuple[Series, ...]:
    """The samples of all series in two arrays, of which each series has its part."""
    samples = [[each[points]] if points == "value" else each[points] for each in result]
    if not all(samples):
        raise ValueError("a series without a sample")
    ends = [*accumulate(map(len, samples))]
    pairs = [*chain.from_iterable(samples)]
    all_times = np.fromiter(map(itemgetter(0), pairs), float, len(pairs))
    all_values = np.fromiter(map(float, map(itemgetter(1), pairs)), float, len(pairs))
    if not np.isfinite(all_times).all():
        raise ValueError("a time that is none")
    return tuple(
        Series(_labels(each["metric"]), all_times[begin:end], all_values[begin:end])
        for each, begin, end in zip(result, [0, *ends], ends, strict=False)
    )


def _labels(found: Any) -> Mapping[str, str]:
    text = "".join([*found, *found.values()])  # refuses what is no text
    if len(text) > LABELS_CHARACTERS_MAX:
        raise ValueError("labels that no server has")
    labels: Mapping[str, str] = found
    return labels
