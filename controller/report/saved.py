"""Reading back what `recommend -o json` saved."""

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from controller.decide.decision import Bounded
from controller.files import DOCUMENT_BYTES_MAX, text_of
from controller.plain import plain
from controller.report.document import VERSION

_MOST: Final = 1e15
"""No server has a larger throughput, a longer step, or the inverse of it."""


@dataclass(frozen=True, slots=True)
class SavedScore:
    """One k at the batch of the recommendation."""

    k: int
    tokens_per_step: float
    step_seconds: float
    tokens_per_second: Bounded


@dataclass(frozen=True, slots=True)
class SavedServer:
    """One engine of a saved recommendation; only engines that could be judged are ever made.

    Attributes:
        model_name: As vLLM serves it.
        batch: Decoding requests.
        k_now: The k in force; None where the counters could not tell.
        mean_acceptance_length: As observed at that k, bonus token included.
        survival: Acceptance by position, each with its bounds.
        coverage: Share of steps that draft anything; 1 where it is not known.
        scores: For k = 0..k_max.
    """

    model_name: str
    batch: float
    k_now: float | None
    mean_acceptance_length: float | None
    survival: tuple[Bounded, ...]
    coverage: float
    scores: tuple[SavedScore, ...]

    @property
    def best(self) -> SavedScore:
        """The k of the largest expected throughput; ties go to the smaller k."""
        return max(self.scores, key=lambda score: (score.tokens_per_second.value, -score.k))

    def tokens_per_step(self, k: int) -> Bounded:
        """E(k) = 1 + coverage (S_1 + ... + S_k), with bounds as if all positions erred together."""
        asked = self.survival[:k]
        return Bounded(
            1 + self.coverage * sum(each.value for each in asked),
            1 + self.coverage * sum(each.low for each in asked),
            1 + self.coverage * sum(each.high for each in asked),
        )


def read(path: Path) -> SavedServer:
    """The one engine of a saved recommendation.

    Raises:
        ValueError: Not such a file, or none or several engines in it that could be judged. The message begins with
            the path.
    """
    try:
        found = _document(text_of(path, DOCUMENT_BYTES_MAX))
        if found["schema"] != VERSION:
            raise ValueError(f"{path} has schema {plain(repr(found['schema']), 40)}; this adaptive-k reads {VERSION}")
        judged = [server for server in found["servers"] if server["scores"]]
        servers = [_server(server, str(path)) for server in judged]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (RecursionError, LookupError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a saved `controller recommend -o json` ({type(error).__name__})") from error
    if len(servers) != 1:
        raise ValueError(
            f"{path} holds {len(servers)} engines that could be judged; exactly one is needed. Save one after enough "
            "traffic, of one server"
        )
    return servers[0]


def _document(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:  # not JSON, or a whole number of thousands of digits
        raise TypeError(str(error)) from error


def _server(server: dict[str, Any], path: str) -> SavedServer:
    columns = [server[f"acceptance_by_position{each}"] for each in ("", "_low", "_high")]
    length, k_now, coverage = server["mean_acceptance_length"], server["k_effective"], server["draft_coverage"]
    scores = tuple(_score(each, path) for each in server["scores"])
    if [score.k for score in scores] != list(range(len(scores))):
        raise ValueError(f"{path}: its scores are not those of k = 0, 1, 2, ...")
    return SavedServer(
        model_name=str(server["model_name"]),
        batch=_positive(server["batch"], f"{path}: batch"),
        k_now=None if k_now is None else _number(k_now, f"{path}: k_effective"),
        mean_acceptance_length=None if length is None else _number(length, f"{path}: mean_acceptance_length"),
        survival=_survival(columns, f"{path}: acceptance_by_position"),
        coverage=1.0 if coverage is None else _share(coverage, f"{path}: draft_coverage"),
        scores=scores,
    )


def _survival(columns: list[list[Any]], name: str) -> tuple[Bounded, ...]:
    """By position from values, lower and upper bounds."""
    found = tuple(Bounded(*(_share(each, name) for each in bounds)) for bounds in zip(*columns, strict=False))
    ordered = all(each.low <= each.value <= each.high for each in found)
    falls = all(early.value >= late.value for early, late in pairwise(found))
    if not ordered or not falls or {*map(len, columns)} != {len(found)}:
        raise ValueError(f"{name} has bounds on the wrong side, rises, or is of several lengths, which is impossible")
    return found


def _score(score: dict[str, Any], path: str) -> SavedScore:
    k = round(_number(score["k"], f"{path}: k"))

    def number(name: str) -> float:
        return _positive(score[name], f"{path}: {name} at k={k}")

    throughput = Bounded(*(number(f"tokens_per_second{each}") for each in ("", "_low", "_high")))
    if not throughput.low <= throughput.value <= throughput.high:
        raise ValueError(f"{path}: the throughput at k={k} lies outside its own bounds")
    return SavedScore(k, number("tokens_per_step"), number("step_seconds"), throughput)


def _positive(value: Any, name: str) -> float:
    number = _number(value, name)
    if not 1 / _MOST <= number <= _MOST:
        raise ValueError(f"{name} is {number:g}, which is impossible")
    return number


def _share(value: Any, name: str) -> float:
    number = _number(value, name)
    if not 0 <= number <= 1 + 1e-9:
        raise ValueError(f"{name} is {number:g}, which is no share")
    return number


def _number(value: Any, name: str) -> float:
    try:
        found = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name} is {plain(str(value)[:100], 40)}, which is impossible")
    return found


def _no_constant(name: str) -> None:
    raise TypeError(f"{name} is not JSON")
