"""Does the model predict what people measured? Published tables against our predictions and simpler ones.

    python benchmarks/truth.py --tables DIR [--json]

Reads every CSV file in DIR that has one of two sets of columns (lines that begin with # are comments):

    config,k,acceptance_length[,p1,p2,...]        acceptance: one server run per k
    config,batch,k,acceptance_length,step_ms      cost: step time by load and k

Acceptance: for each config and each pair of ks, what a server at the first k reports predicts the acceptance length at
the second. Cost: step times of some cells predict those of others, and pick a k at each batch.
Nothing is fitted to these tables here: the priors are those of the product.
"""

import argparse
import csv
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from controller.model.drafter import METHODS, UNKNOWN, Drafter, Method
from controller.model.other_k import from_mean_length, from_rates, renewal
from controller.model.speedup import acceptance_from_mean_length, expected_tokens
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime
from controller.model.target import target_of

CELLS_NEEDED = 4
"""Fewer timed cells say too little about leaving one out."""
CELL_WEIGHT = 10.0
"""A published cell is the mean of a long steady run."""


@dataclass(frozen=True)
class AcceptanceRow:
    """What a server at one k reported; survival by position where it was published."""

    k: int
    length: float
    survival: tuple[float, ...]


@dataclass(frozen=True)
class CostRow:
    """A step at one load; None where it was not timed."""

    batch: float
    k: int
    length: float
    seconds: float | None


@dataclass
class Errors:
    """Relative errors, of ours and of the baseline."""

    ours: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | int | None]:
        """Means and maxima as ratios; None without cells."""
        return {
            "error_mean": _mean(self.ours),
            "error_max": max(self.ours, default=None),
            "baseline_error_mean": _mean(self.baseline),
            "cells": len(self.ours),
        }


@dataclass
class CostErrors:
    """Errors of step time and regrets of the choice, of ours and of the two seed forms."""

    step: list[float] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)
    inside: list[bool] = field(default_factory=list)
    seed_step: list[float] = field(default_factory=list)
    seed_regret: list[float] = field(default_factory=list)
    saturated_step: list[float] = field(default_factory=list)
    saturated_regret: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | int | None]:
        """Means and maxima as ratios; None without cells."""
        return {
            "step_error_mean": _mean(self.step),
            "step_error_max": max(self.step, default=None),
            "regret_mean": _mean(self.regret),
            "regret_max": max(self.regret, default=None),
            "inside_90": _mean([float(hit) for hit in self.inside]),
            "linear_step_error_mean": _mean(self.seed_step),
            "linear_regret_mean": _mean(self.seed_regret),
            "saturated_step_error_mean": _mean(self.saturated_step),
            "saturated_regret_mean": _mean(self.saturated_regret),
            "cells": len(self.step),
        }


def main() -> int:
    """Print the tables, or the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=Path, required=True, help="folder of CSV tables")
    parser.add_argument("--json", action="store_true", help="machine-readable totals")
    options = parser.parse_args()
    say = (lambda *_: None) if options.json else print
    acceptance, cost = read_tables(options.tables, say)
    document = {"acceptance": judge_acceptance(acceptance, say), "cost": judge_cost(cost, say)}
    if options.json:
        print(json.dumps(document, indent=2))
    return 0 if acceptance or cost else 1


# --- reading ---


def read_tables(
    folder: Path, say: Callable[..., None]
) -> tuple[dict[str, list[AcceptanceRow]], dict[str, list[CostRow]]]:
    """Every table of the two forms, by config; anything else is named and skipped."""
    acceptance: dict[str, list[AcceptanceRow]] = defaultdict(list)
    cost: dict[str, list[CostRow]] = defaultdict(list)
    for path in sorted(folder.glob("*.csv")):
        rows = list(csv.DictReader(line for line in path.open(encoding="utf-8") if not line.startswith("#")))
        columns = set(rows[0]) if rows else set()
        if {"config", "batch", "k", "acceptance_length", "step_ms"} <= columns:
            for line, row in enumerate(rows, 1):
                cost[row["config"]].append(_cost_row(row, f"{path.name}, row {line}"))
        elif {"config", "k", "acceptance_length"} <= columns:
            for line, row in enumerate(rows, 1):
                acceptance[row["config"]].append(_acceptance_row(row, f"{path.name}, row {line}"))
        else:
            say(f"skipped {path.name}: it has neither the columns of an acceptance table nor of a cost table")
    _refuse_contradictions(acceptance, lambda row: (row.k,), lambda row: row.length)
    _refuse_contradictions(cost, lambda row: (row.batch, row.k), lambda row: row.seconds)
    return dict(acceptance), dict(cost)


def _refuse_contradictions(
    configs: Mapping[str, Sequence[Any]], key: Callable[[Any], object], value: Callable[[Any], object]
) -> None:
    for config, rows in configs.items():
        seen: dict[object, object] = {}
        for row in rows:
            if seen.setdefault(key(row), value(row)) != value(row):
                sys.exit(f"{config}: {row} contradicts an earlier row with {seen[key(row)]} in the same place")


def _acceptance_row(row: Mapping[str, str], where: str) -> AcceptanceRow:
    positions = sorted((name for name in row if re.fullmatch(r"p\d+", name)), key=lambda name: int(name[1:]))
    survival = tuple(_number(row[name], where, name) for name in positions if row[name])
    k, length = int(_number(row["k"], where, "k")), _number(row["acceptance_length"], where, "acceptance_length")
    if not 1 <= length <= k + 1:
        sys.exit(f"{where}: acceptance_length {length} is outside 1..{k + 1}")
    if any(later > earlier + 1e-9 for earlier, later in zip((1.0, *survival), survival, strict=False)):
        sys.exit(f"{where}: acceptance by position rises; unconditional rates never do")
    return AcceptanceRow(k, length, survival)


def _cost_row(row: Mapping[str, str], where: str) -> CostRow:
    seconds = _number(row["step_ms"], where, "step_ms") / 1e3 if row["step_ms"] else None
    if seconds is not None and not 1e-5 < seconds < 60:
        sys.exit(f"{where}: step_ms {row['step_ms']} is not a step in milliseconds")
    return CostRow(
        batch=_number(row["batch"], where, "batch"),
        k=int(_number(row["k"], where, "k")),
        length=_number(row["acceptance_length"], where, "acceptance_length"),
        seconds=seconds,
    )


def _number(text: str, where: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        sys.exit(f"{where}: {column} is {text!r}, a number is expected")
    if not math.isfinite(value) or value < 0:
        sys.exit(f"{where}: {column} is {text}, which is impossible")
    return value


def drafter_of(config: str) -> tuple[str, Drafter]:
    """The method that a config's name states, as an operator would state it by --method."""
    words = [word.replace("-", "_") for word in re.split(r"[/+ ]", config.lower())]
    for method in sorted(Method, key=lambda each: -len(each.value)):
        if any(word == method.value or re.fullmatch(rf"{method.value}\d?", word) for word in words):
            return method.value, METHODS[method]
    return "unknown", UNKNOWN


# --- acceptance ---


def judge_acceptance(configs: Mapping[str, Sequence[AcceptanceRow]], say: Callable[..., None]) -> dict[str, object]:
    """Errors up and down, in total and by method."""
    total = {"up": Errors(), "down": Errors()}
    by_method: dict[str, dict[str, Errors]] = defaultdict(lambda: {"up": Errors(), "down": Errors()})
    by_config: dict[str, dict[str, Errors]] = defaultdict(lambda: {"up": Errors(), "down": Errors()})
    for config, rows in configs.items():
        method, drafter = drafter_of(config)
        for seen, wanted in permutations(rows, 2):
            way = "up" if wanted.k > seen.k else "down"
            ours = abs(predict_length(seen, wanted.k, drafter) / wanted.length - 1)
            constant = acceptance_from_mean_length(seen.length, seen.k)
            baseline = abs(float(expected_tokens(constant, wanted.k)) / wanted.length - 1)
            for errors in (total[way], by_method[method][way], by_config[config][way]):
                errors.ours.append(ours)
                errors.baseline.append(baseline)
    if configs:
        say("\nacceptance length at another k: relative error (constant alpha for comparison)")
        say(f"{'':44}{'way':6}{'mean':>8}{'max':>8}{'constant':>10}{'cells':>7}")
        for name, ways in [*by_config.items(), *sorted(by_method.items()), ("total", total)]:
            for way, errors in ways.items():
                _say_acceptance(say, name, way, errors)
    return {way: errors.summary() for way, errors in total.items()} | {
        "by_method": {name: {way: each.summary() for way, each in ways.items()} for name, ways in by_method.items()}
    }


def predict_length(seen: AcceptanceRow, k: int, drafter: Drafter) -> float:
    """Acceptance length at k, from what a server at `seen.k` reports."""
    if seen.survival:
        found = from_rates(seen.survival, max(k, len(seen.survival)), drafter)
        again = float(renewal(found, min(seen.k, len(found)), k, drafter.persistence))
        return 1.0 + again * sum(found[:k])
    found = from_mean_length(seen.length, seen.k, max(k, seen.k), drafter)
    return 1.0 + sum(found[:k])


def _say_acceptance(say: Callable[..., None], name: str, way: str, errors: Errors) -> None:
    if errors.ours:
        mean, worst, constant = np.mean(errors.ours), max(errors.ours), np.mean(errors.baseline)
        say(f"{name:44}{way:6}{mean:8.1%}{worst:8.1%}{constant:10.1%}{len(errors.ours):7}")


# --- cost ---


def judge_cost(
    configs: Mapping[str, Sequence[CostRow]], say: Callable[..., None]
) -> dict[str, dict[str, float | int | None]]:
    """Errors and regrets of every protocol, in total."""
    protocols = {"leave_one_cell_out": CostErrors(), "ends_only": CostErrors(), "one_k": CostErrors()}
    full_regret: list[float] = []
    for config, rows in configs.items():
        timed = [row for row in rows if row.seconds is not None]
        own = {name: CostErrors() for name in protocols}
        if len(timed) < CELLS_NEEDED:
            say(f"\nskipped for cost: {config}, {len(timed)} timed cells where {CELLS_NEEDED} are needed")
            continue
        for name, splits in (
            ("leave_one_cell_out", _leave_one_out(timed)),
            ("ends_only", _ends(timed)),
            ("one_k", _one_k(timed)),
        ):
            for known, wanted in splits:
                _score(own[name], config, known, wanted, timed)
        model = _model(config, timed)
        full_regret += regrets(timed, predict(model, timed)[0], {row.batch for row in timed})
        say(f"\n{config}")
        for name, errors in own.items():
            _say_cost(say, name, errors)
            for part in vars(errors):
                getattr(protocols[name], part).extend(getattr(errors, part))
    say("\ntotal")
    for name, errors in protocols.items():
        _say_cost(say, name, errors)
    if full_regret:
        say(f"  with no cell left out: regret {np.mean(full_regret):.2%} mean, {max(full_regret):.2%} max")
    return {name: errors.summary() for name, errors in protocols.items()} | {
        "nothing_left_out": {"regret_mean": _mean(full_regret), "regret_max": max(full_regret, default=None)}
    }


def _leave_one_out(rows: Sequence[CostRow]) -> Iterable[tuple[list[CostRow], list[CostRow]]]:
    for left in rows:
        yield [row for row in rows if row is not left], [left]


def _ends(rows: Sequence[CostRow]) -> Iterable[tuple[list[CostRow], list[CostRow]]]:
    largest = max(row.k for row in rows)
    yield from _split(rows, {0, largest})


def _one_k(rows: Sequence[CostRow]) -> Iterable[tuple[list[CostRow], list[CostRow]]]:
    for k in sorted({row.k for row in rows} - {0}):
        yield from _split(rows, {0, k})


def _split(rows: Sequence[CostRow], ks: set[int]) -> Iterable[tuple[list[CostRow], list[CostRow]]]:
    known, wanted = [row for row in rows if row.k in ks], [row for row in rows if row.k not in ks]
    if wanted and {row.k for row in known} == ks:
        yield known, wanted


def _model(config: str, known: Sequence[CostRow]) -> StepTime:
    """What a sidecar would make of these cells; the configuration's name has the model's in it, as `model_name` has."""
    _, drafter = drafter_of(config)
    return StepTime(StepTable(tuple(map(_cell, known))), drafter, target=target_of(config))


def _score(
    errors: CostErrors, config: str, known: Sequence[CostRow], wanted: Sequence[CostRow], rows: Sequence[CostRow]
) -> None:
    batches = {row.batch for row in wanted}
    truth = np.array([row.seconds for row in wanted], float)
    model = _model(config, known)
    predicted, deviation = predict(model, wanted)
    errors.step += np.abs(predicted / truth - 1).tolist()
    errors.inside += (np.abs(np.log(predicted / truth)) <= 1.645 * deviation).tolist()
    errors.regret += regrets(rows, predict(model, rows)[0], batches)
    for predictor, step_errors, found_regrets in (
        (linear, errors.seed_step, errors.seed_regret),
        (saturated, errors.saturated_step, errors.saturated_regret),
    ):
        predicted = predictor(known, rows)
        found_regrets.extend(regrets(rows, predicted, batches))
        step_errors.extend(np.abs(predictor(known, wanted) / truth - 1).tolist())


def predict(model: StepTime, rows: Sequence[CostRow]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each row's step, and the standard deviation of their logarithm."""
    seconds, deviation = [], []
    for row in rows:
        at = [row.batch], np.array([float(row.k)]), np.array([float(row.k > 0)])
        seconds.append(math.exp(model.grid(*at).log_seconds[0, 0]))
        deviation.append(math.sqrt(model.grid(*at).variance_at(0)[0]))
    return np.array(seconds), np.array(deviation)


def linear(known: Sequence[CostRow], rows: Sequence[CostRow]) -> np.ndarray:
    """Baseline: t(B, k) = t(B) (1 + c k), c by least squares and t(B) from the cells at that batch."""
    return _seed(known, rows, np.linspace(0, 1, 101), [math.inf])


def saturated(known: Sequence[CostRow], rows: Sequence[CostRow]) -> np.ndarray:
    """Baseline: t(B, k) = t (1 + B / half) (1 + (c + lambda(B)) k), lambda = B / (B + half), by grid search."""
    return _seed(known, rows, np.linspace(0, 0.5, 51), np.geomspace(2, 2000, 61).tolist())


def _seed(known: Sequence[CostRow], rows: Sequence[CostRow], slopes: np.ndarray, halves: Sequence[float]) -> np.ndarray:
    seen = np.log(np.array([row.seconds for row in known], float))
    best: tuple[float, np.ndarray] | None = None
    for half in halves:
        for slope in slopes:
            scale = seen - np.log(_seed_shape(known, slope, half))
            if math.isinf(half):
                loss = float(sum(np.var(each) * len(each) for each in _by_batch(known, scale).values()))
            else:
                loss = float(np.var(scale))
            if best is None or loss < best[0]:
                if math.isinf(half):
                    levels = _by_batch(known, scale)
                    batches = np.array(sorted(levels))
                    level = np.interp(
                        np.log([row.batch for row in rows]),
                        np.log(batches),
                        [np.mean(levels[each]) for each in batches],
                    )
                else:
                    level = np.full(len(rows), np.mean(scale))
                best = (loss, np.exp(level) * _seed_shape(rows, slope, half))
    assert best is not None
    return best[1]


def _seed_shape(rows: Sequence[CostRow], slope: float, half: float) -> np.ndarray:
    batch, k = np.array([row.batch for row in rows]), np.array([row.k for row in rows])
    saturation = 0.0 if math.isinf(half) else batch / (batch + half)
    return (1 + (0.0 if math.isinf(half) else batch / half)) * (1 + (slope + saturation) * k)


def _by_batch(rows: Sequence[CostRow], values: np.ndarray) -> dict[float, list[float]]:
    groups: dict[float, list[float]] = defaultdict(list)
    for row, value in zip(rows, values, strict=True):
        groups[row.batch].append(float(value))
    return groups


def regrets(rows: Sequence[CostRow], predicted: np.ndarray, batches: set[float]) -> list[float]:
    """For each batch: what the k that looks best loses against the one that is best, both among the timed ks."""
    found = []
    for batch in sorted(batches):
        here = [(row, seconds) for row, seconds in zip(rows, predicted, strict=True) if row.batch == batch]
        if len(here) < 2:
            continue
        chosen = max(here, key=lambda pair: pair[0].length / pair[1])[0]
        best = max(row.length / (row.seconds or math.inf) for row, _ in here)
        found.append(1 - chosen.length / (chosen.seconds or math.inf) / best)
    return found


def _cell(row: CostRow) -> Cell:
    assert row.seconds is not None
    return Cell(row.batch, float(row.k), float(row.k > 0), math.log(row.seconds), CELL_WEIGHT)


def _say_cost(say: Callable[..., None], name: str, errors: CostErrors) -> None:
    if not errors.step:
        say(f"  {name:20} skipped: the table lacks the cells for it")
        return
    regret = (
        f"regret {np.mean(errors.regret):6.2%} mean {max(errors.regret):6.2%} max" if errors.regret else "no choice"
    )
    say(
        f"  {name:20} step error {np.mean(errors.step):6.2%} mean {max(errors.step):6.2%} max, {regret}, "
        f"{np.mean(errors.inside):4.0%} within 90% bounds, {len(errors.step)} cells"
    )
    say(
        f"  {'':20} 1+kc: {np.mean(errors.seed_step):.1%}, regret {_percent(errors.seed_regret)}; "
        f"1+(c+lambda)k: {np.mean(errors.saturated_step):.1%}, regret {_percent(errors.saturated_regret)}"
    )


def _percent(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1%}" if values else "-"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


if __name__ == "__main__":
    raise SystemExit(main())
