"""The backtest as plain values, ready for JSON; `controller schema --of backtest` prints the schema."""

import json
from importlib.resources import files
from typing import Any, Final

from controller.backtest.outcome import Backtest, Change, Outcome, Span, Yield
from controller.backtest.table import untold
from controller.clock import utc_text
from controller.decide.decision import Bounded

VERSION: Final = 1
"""Raised when a key changes its meaning or disappears; new keys do not raise it."""


def document(found: Backtest) -> dict[str, Any]:
    """Keys are stable, units are in the names; a value that is not known is null, never 0."""
    failure = found.failure
    return {
        "schema": VERSION,
        "since": utc_text(found.since_unix_seconds),
        "until": utc_text(found.until_unix_seconds),
        "reached": utc_text(found.reached_unix_seconds),
        "first_server_seen": None if found.first_unix_seconds is None else utc_text(found.first_unix_seconds),
        "last_server_seen": None if found.last_unix_seconds is None else utc_text(found.last_unix_seconds),
        "complete": failure is None,
        "step_seconds": found.step_seconds,
        "engine_hours": found.engine_hours,
        "passes": found.passes,
        "queries": found.queries,
        "answer_bytes": found.size_bytes,
        "workloads": [_workload(each) for each in found.outcomes],
        "warnings": list(found.warnings),
        "errors": [] if failure is None else [{"reason": failure.reason.value, "message": failure.message}],
    }


def schema() -> dict[str, Any]:
    """The published JSON Schema of the document."""
    text = files("controller.backtest").joinpath("backtest.schema.json").read_text("utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _workload(outcome: Outcome) -> dict[str, Any]:
    model_name, engine, labels = outcome.key
    unknown = outcome.untold
    return {
        "model_name": model_name,
        "engine": engine or None,
        "labels": dict(labels),
        "engine_hours": outcome.engine_hours,
        "total": _span(outcome.total) if outcome.hours else None,
        "hours": [_span(each) for each in outcome.hours],
        "changes": [_change(each) for each in outcome.changes],
        "reasons": {reason.value: count for reason, count in outcome.reasons},
        "left_out": {reason.value: count for reason, count in outcome.left_out},
        "untold": None
        if unknown is None
        else {
            "k_max": unknown.k_max,
            "positions_seen": unknown.positions_seen,
            "ks_never_run": list(unknown.ks_never_run),
            "sentences": untold(unknown),
        },
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "start": utc_text(span.start_unix_seconds),
        "windows": span.windows,
        "busy_windows": span.busy_windows,
        "tokens": span.tokens,
        "batch": span.batch,
        "k_ran": span.k_ran,
        "k_followed": span.k_would,
        "k_best": span.k_best,
        "best_fixed_k": span.best_fixed_k,
        "followed": _yield(span.would, span),
        "fixed": None if span.fixed is None else [{"k": k} | _yield(each, span) for k, each in enumerate(span.fixed)],
    }


def _yield(made: Yield, span: Span) -> dict[str, Any]:
    return {
        "tokens": made.tokens.value,
        **_bounded("gain", made.against(span.tokens)),
        "measured_share": made.measured_share,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "at": utc_text(change.at_unix_seconds),
        "k_from": change.k_from,
        "k_to": change.k_to,
        "batch": change.batch,
        **_bounded("gain_ratio", change.gain),
        "action": change.action.value,
        "reason": change.reason.value,
        "sentence": change.sentence,
    }


def _bounded(name: str, value: Bounded | None) -> dict[str, float | None]:
    return {
        name: value.value if value else None,
        f"{name}_low": value.low if value else None,
        f"{name}_high": value.high if value else None,
    }
