"""One structured line per decision on stderr: JSON, so that a log store can search it."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any, Final

from controller.clock import utc_text
from controller.cycle import Cycle, EngineCycle
from controller.reason import Reason

_LOG: Final = logging.getLogger("adaptive_k")


NOT_APPLIED: Final = (
    "The engine's own counters show another k than the schedule in force: look at the plugin's lines in vLLM's log, "
    "and return to the launch schedule with `controller reset`."
)


class _Lines(logging.Formatter):
    """Every line is one JSON object: our events as they are, and what a library warns of as an event `log`."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        text = super().format(record)
        return text if record.name == _LOG.name else _line("log", record.created, logger=record.name, message=text)


def configure() -> None:
    """Send the log to stderr, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    _LOG.setLevel(logging.INFO)


def event(name: str, unix_seconds: float, **fields: Any) -> None:
    """Log one event."""
    _LOG.info(_line(name, unix_seconds, **fields))


def log_cycle(cycle: Cycle) -> None:
    """Log every engine's decision, and every failure."""
    if cycle.failure:
        event("failure", cycle.at_unix_seconds, reason=cycle.failure.reason.value, message=cycle.failure.message)
        return
    for engine in cycle.engines:
        where: dict[str, Any] = {"model_name": engine.model_name, "engine": engine.engine}
        where |= {"labels": dict(engine.labels)} if engine.labels else {}
        if engine.failure:
            failure = {"reason": engine.failure.reason.value, "message": engine.failure.message}
            event("failure", cycle.at_unix_seconds, **where, **failure)
        else:
            event("decision", cycle.at_unix_seconds, **where, **_decision(engine))
        for reason, message in _troubles(engine):
            event("failure", cycle.at_unix_seconds, **where, reason=reason.value, message=message)


def _troubles(engine: EngineCycle) -> Iterator[tuple[Reason, str]]:
    """What went wrong in carrying the decision out."""
    if engine.acted.reason is not None:
        yield engine.acted.reason, engine.acted.message
    if engine.control is not None and engine.control.applied is False:
        yield Reason.NOT_APPLIED, NOT_APPLIED


def _decision(engine: EngineCycle) -> dict[str, Any]:
    decision = engine.decision
    return {
        "action": decision.action.value,
        "reason": decision.reason.value,
        "k_now": _rounded(decision.k_now),
        "k": decision.k,
        "batch": _rounded(decision.batch),
        "gain_ratio": _rounded(decision.gain.value if decision.gain else None),
        "gain_low": _rounded(decision.gain.low if decision.gain else None),
        "margin": _rounded(decision.margin.value if decision.margin else None),
        "outcome": engine.acted.outcome.value,
        **_realised(engine),
        "message": decision.sentence,
    }


def _realised(engine: EngineCycle) -> dict[str, Any]:
    """Predicted and realised gain of the change under review."""
    review = engine.control.review if engine.control else None
    if review is None:
        return {}
    realised = review.realised
    return {
        "predicted_ratio": _rounded(review.change.predicted.value),
        "realised_ratio": _rounded(realised.value if realised else None),
        "review": review.verdict.value,
    }


def _line(name: str, unix_seconds: float, **fields: Any) -> str:
    return json.dumps({"time": utc_text(unix_seconds), "event": name, **fields})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
