"""The JSON document: `recommend -o json`, `/recommendation`. Keys are stable, units are in the names.

A value that is not known is null, never 0. `controller schema` prints the JSON Schema.
"""

import json
from dataclasses import fields
from importlib.resources import files
from typing import Any, Final

from controller.cycle import Cycle, EngineCycle, Failure
from controller.decide.decision import Bounded, Decision
from controller.decide.mix import WorkloadAnswer
from controller.model.drafter import FIXED_K
from controller.model.economics import Score
from controller.model.step_time import StepTime
from controller.observe.snapshot import Replicas
from controller.report.explain import drafter_seconds, step_origin, tokens_origin
from controller.report.stake import stake, totals

VERSION: Final = 1
"""Raised when a key changes its meaning or disappears; new keys do not raise it."""
_SCORED: Final = tuple(each.name for each in fields(Score) if each.name not in ("tokens_observed", "step_measured"))


def document(cycle: Cycle) -> dict[str, Any]:
    """A cycle as plain values, ready for JSON or YAML."""
    return {
        "schema": VERSION,
        "fleet": _fleet(cycle),
        "servers": [_server(engine) for engine in cycle.engines],
        "errors": [
            *([_error(cycle.failure)] if cycle.failure else []),
            *(
                _error(engine.failure)
                | {"model_name": engine.model_name, "engine": engine.engine, "labels": dict(engine.labels)}
                for engine in cycle.engines
                if engine.failure
            ),
        ],
    }


def schema() -> dict[str, Any]:
    """The published JSON Schema of the document."""
    text = files("controller.report").joinpath("recommendation.schema.json").read_text("utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def speculative_config(engine: EngineCycle, method: str | None) -> dict[str, Any] | None:
    """What to put into `--speculative-config` for the recommended schedule; None when nothing could be judged.

    The drafter's model, where the method has one, is the operator's own and stays as it is. A method that wants one
    fixed k gets the one for the present load, and nothing where that is k=0: vLLM must then do without speculation.
    """
    if not engine.decision.schedule or engine.k_max is None:
        return None
    named: dict[str, Any] = {"method": method} if method else {}
    if method in FIXED_K:
        k = engine.k_max if engine.decision.k is None else engine.decision.k
        return {**named, "num_speculative_tokens": k} if k > 0 else None
    return {
        **named,
        "num_speculative_tokens": engine.k_max,
        "num_speculative_tokens_per_batch_size": [list(each) for each in engine.decision.schedule],
    }


def _server(engine: EngineCycle) -> dict[str, Any]:
    window, acceptance, decision = engine.window, engine.acceptance, engine.decision
    return {
        "model_name": engine.model_name,
        "engine": engine.engine,
        "labels": dict(engine.labels),
        "replicas": _replicas(engine.replicas),
        **_stake(engine),
        "k_max": engine.k_max,
        "k_effective": decision.k_now,
        "mean_acceptance_length": window.mean_acceptance_length if window else None,
        "acceptance_by_position": list(acceptance.survival) if acceptance else None,
        "acceptance_by_position_low": list(acceptance.survival_low) if acceptance else None,
        "acceptance_by_position_high": list(acceptance.survival_high) if acceptance else None,
        "positions_observed": acceptance.positions_observed if acceptance else None,
        "step_seconds": window.step_seconds if window else None,
        "decode_batch": window.decode_batch if window else None,
        "draft_coverage": acceptance.coverage if acceptance else None,
        "evidence_drafts": acceptance.evidence_drafts if acceptance else None,
        "window": _window(engine),
        "batch": decision.batch,
        "baseline": decision.baseline.value if decision.margin else None,
        **_bounded("margin", decision.margin),
        **_bounded("margin_without_speculation", decision.margin_without_speculation),
        "recommendation": _recommendation(decision),
        "scores": [_score(score) for score in decision.scores],
        "step_time": _step_time(engine.step_time),
        "workloads": [_workload(each) for each in engine.workloads],
        "control": _control(engine),
    }


def _fleet(cycle: Cycle) -> dict[str, Any] | None:
    """Totals over many servers, and what is missing from the answer; None where one server is read directly."""
    if not any(engine.replicas for engine in cycle.engines):
        return None
    found = totals(cycle.engines)
    return {
        "rows": found.rows,
        "engines": found.engines,
        "decoded_tokens_per_second": found.tokens_per_second,
        "losing": found.losing,
        **_bounded("lost_tokens_per_second", found.lost),
        "changes": found.changes,
        **_bounded("gain_tokens_per_second", found.to_gain),
        "uncertain_gain_tokens_per_second": found.uncertain,
        "notes": [_error(each) for each in cycle.notes],
    }


def _replicas(replicas: Replicas | None) -> dict[str, Any] | None:
    if replicas is None:
        return None
    return {
        "known": replicas.known,
        "counted": replicas.counted,
        "left_out": {reason.value: count for reason, count in replicas.left_out},
        "message": replicas.message or None,
    }


def _stake(engine: EngineCycle) -> dict[str, Any]:
    at = stake(engine)
    return {
        "decoded_tokens_per_second": at.tokens_per_second if at else None,
        **_bounded("gain_tokens_per_second", at.to_gain if at else None),
        **_bounded("lost_tokens_per_second", at.lost if at else None),
    }


def _workload(answer: WorkloadAnswer) -> dict[str, Any]:
    return {
        "name": answer.name,
        "share": answer.share,
        "acceptance_by_position": list(answer.acceptance.survival),
        "k_best": answer.k_best,
        **_bounded("margin", answer.margin),
        "cost_of_mix": answer.cost_of_mix,
    }


def _control(engine: EngineCycle) -> dict[str, Any] | None:
    """Live control, where there is any: what is in force, what is wanted, and what the last change brought."""
    control = engine.control
    if control is None:
        return None
    told, review = control.speculation, control.review
    return {
        "outcome": engine.acted.outcome.value,
        "reason": engine.acted.reason.value if engine.acted.reason else None,
        "message": engine.acted.message or None,
        "frozen": control.frozen,
        "applied": control.applied,
        "owner": told.owner if told else None,
        "generation": told.generation if told else None,
        "schedule": [list(each) for each in told.schedule] if told else None,
        "launch_schedule": [list(each) for each in told.launch_schedule] if told else None,
        "wanted": [list(each) for each in control.wanted] or None,
        "expires_in_seconds": told.expires_in_seconds if told else None,
        "review": None
        if review is None
        else {
            "k_before": review.change.k_before,
            "k_after": review.change.k_after,
            "verdict": review.verdict.value,
            **_bounded("predicted", review.change.predicted),
            **_bounded("realised", review.realised),
        },
    }


def _window(engine: EngineCycle) -> dict[str, Any] | None:
    window = engine.window
    if window is None:
        return None
    rate = window.generated_tokens / window.seconds if window.seconds else None
    return {
        "seconds": window.seconds,
        "drafts": window.drafts,
        "draft_tokens": window.draft_tokens,
        "accepted_tokens": window.accepted_tokens,
        "request_steps": window.request_steps,
        "steps": window.steps,
        "generated_tokens": window.generated_tokens,
        "generated_tokens_per_second": rate,
        "inter_token_latency_seconds_sum": window.latency_seconds,
    }


def _score(score: Score) -> dict[str, Any]:
    values = {name: getattr(score, name) for name in _SCORED}
    return values | {"tokens_origin": tokens_origin(score), "step_origin": step_origin(score)}


def _step_time(step_time: StepTime | None) -> dict[str, Any] | None:
    if step_time is None:
        return None
    parameters = step_time.parameters()
    value, low, high = drafter_seconds(parameters)
    return {
        "cells": len(step_time.table.cells),
        "target": step_time.target.name,
        "drafter_seconds_per_token": value,
        "drafter_seconds_per_token_low": low,
        "drafter_seconds_per_token_high": high,
        "parameters": {
            name: {
                "median": found.median,
                "log_spread": found.spread,
                "origin": "measured" if found.identified else "prior",
            }
            for name, found in parameters.items()
        },
    }


def _recommendation(decision: Decision) -> dict[str, Any]:
    gain = decision.gain
    return {
        "action": decision.action.value,
        "reason": decision.reason.value,
        "sentence": decision.sentence,
        "k": decision.k,
        "k_best": decision.k_best,
        "schedule": [list(each) for each in decision.schedule] or None,
        "gain_ratio": gain.value if gain else None,
        "gain_low": gain.low if gain else None,
        "gain_high": gain.high if gain else None,
    }


def _bounded(name: str, value: Bounded | None) -> dict[str, float | None]:
    return {
        name: value.value if value else None,
        f"{name}_low": value.low if value else None,
        f"{name}_high": value.high if value else None,
    }


def _error(failure: Failure) -> dict[str, Any]:
    return {"reason": failure.reason.value, "message": failure.message}
