"""Step times from outside: a profile measured earlier, by vLLM's own profiler, by `calibrate`, or published."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from controller.model.step_table import Cell, StepTable
from controller.plain import plain

WEIGHT: Final = 5.0
"""A profile's cell counts as this many steady windows: what is then measured here soon outweighs it."""
CELLS_MAX: Final = 4096
KEPT_BATCHES: Final = 8
KEPT_KS: Final = 5
SHORTEST_MS: Final = 0.05
LONGEST_MS: Final = 60_000.0
"""No engine step lies outside: a profile that does is in another unit."""
CONTRADICTION: Final = 2.0
"""Two times for one cell that differ by more than this factor cannot both be true."""


def read_profile(text: str) -> StepTable:
    r"""The cells of a profile, CSV or JSON.

    CSV has the columns batch, k, step_ms (others are ignored, rows without a time are left out). JSON is either
    `{"cells": [{"batch": 1, "k": 0, "step_ms": 6.5}, ...]}`, as `controller calibrate` saves it, or
    `{"1": {"0": 6.5, ...}, ...}`: batch, then k, then milliseconds. Of a large grid eight batches and five ks are kept,
    the ends among them: a curve with a few cells on it says what hundreds would, and leaves room for measurements.

    Raises:
        ValueError: A row cannot be true, or it is no profile; the message names the row and the reason.

    >>> len(read_profile("batch,k,step_ms\n1,0,6.5\n1,3,8.8\n").cells)
    2
    >>> read_profile("batch,k,step_ms\n1,0,0.0065\n")
    Traceback (most recent call last):
    ValueError: row 1: a step of 0.0065 ms is impossible; is it in seconds?
    """
    try:
        rows = _json_rows(json.loads(text)) if text.lstrip().startswith(("{", "[")) else _csv_rows(text)
        return StepTable(_thinned(tuple(_cells(rows))))
    except (json.JSONDecodeError, RecursionError, csv.Error) as error:
        raise ValueError(f"it is neither JSON nor CSV ({error})") from error


def profile_json(table: StepTable) -> str:
    """A table as a profile file that `read_profile` reads."""
    cells = [
        {
            "batch": round(cell.batch, 4),
            "k": round(cell.drafts, 4),
            "step_ms": round(1e3 * math.exp(cell.log_seconds), 6),
            "drafting": round(cell.drafting, 4),
            "weight": round(cell.weight, 4),
        }
        for cell in sorted(table.cells, key=lambda each: (each.batch, each.drafts))
    ]
    return json.dumps({"schema": 1, "cells": cells}, indent=2) + "\n"


Row = tuple[str, Mapping[str, Any]]
"""Where it stands, and its columns."""


def _json_rows(content: Any) -> Iterator[Row]:
    if isinstance(content, dict) and isinstance(content.get("cells"), list):
        for number, cell in enumerate(content["cells"], 1):
            if not isinstance(cell, dict):
                raise ValueError(f"cell {number} is not an object")  # noqa: TRY004  # a bad file, not a bug
            yield f"cell {number}", cell
    elif isinstance(content, dict) and content and all(isinstance(ks, dict) for ks in content.values()):
        for batch, ks in content.items():
            for k, step_ms in ks.items():
                yield f"batch {plain(batch, 20)}, k {plain(k, 20)}", {"batch": batch, "k": k, "step_ms": step_ms}
    else:
        raise ValueError("it holds no cells")


def _csv_rows(text: str) -> Iterator[Row]:
    reader = csv.DictReader(line for line in io.StringIO(text) if not line.startswith("#"))
    missing = {"batch", "k", "step_ms"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"the column {min(missing)} is missing")
    for number, row in enumerate(reader, 1):
        if row["step_ms"]:
            yield f"row {number}", row


def _cells(rows: Iterable[Row]) -> Iterator[Cell]:
    seen: dict[tuple[float, float], float] = {}
    for count, (where, row) in enumerate(rows, 1):
        if count > CELLS_MAX:
            raise ValueError(f"it has more than {CELLS_MAX} cells")
        batch, k = _number(row, "batch", where, 1, 1e6), _number(row, "k", where, 0, 1024)
        step_ms = _number(row, "step_ms", where, 0, math.inf)
        if not SHORTEST_MS <= step_ms <= LONGEST_MS:
            unit = "seconds" if step_ms < SHORTEST_MS else "microseconds"
            raise ValueError(f"{where}: a step of {step_ms:g} ms is impossible; is it in {unit}?")
        earlier = seen.setdefault((batch, k), step_ms)
        if not 1 / CONTRADICTION <= step_ms / earlier <= CONTRADICTION:
            raise ValueError(f"{where}: {step_ms:g} ms contradicts {earlier:g} ms for the same batch and k")
        drafting = _number(row, "drafting", where, 0, 1) if "drafting" in row else min(1.0, k)
        weight = _number(row, "weight", where, 1e-9, 1e9) if "weight" in row else WEIGHT
        yield Cell(batch, k, drafting, math.log(step_ms / 1e3), min(weight, WEIGHT), here=False)
    if not seen:
        raise ValueError("it holds no cells")


def _thinned(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    if len(cells) <= KEPT_BATCHES * KEPT_KS:
        return cells
    batches = _spread(sorted({cell.batch for cell in cells}), KEPT_BATCHES)
    ks = _spread(sorted({cell.drafts for cell in cells}), KEPT_KS)
    return tuple(cell for cell in cells if cell.batch in batches and cell.drafts in ks)


def _spread(values: list[float], count: int) -> set[float]:
    """So many of the values, evenly by rank, the first and the last among them."""
    if len(values) <= count:
        return set(values)
    return {values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)}


def _number(row: Mapping[str, Any], column: str, where: str, low: float, high: float) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {column} is not a number") from error
    if not low <= value <= high or math.isinf(value):
        raise ValueError(f"{where}: {column} is {value:g}, which is outside {low:g}..{high:g}")
    return value
