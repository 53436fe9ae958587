"""What holds of every pass, whatever came in: the loop publishes it, and no part of the publication fails."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest

from controller.cycle import Cycle
from controller.reason import Reason
from controller.report.document import document
from controller.serve.log import log_cycle
from controller.serve.page import Page
from controller.serve.page_view import About
from controller.serve.telemetry import Telemetry

SENTENCE_CHARACTERS_MAX: Final = 2000
logging.getLogger("adaptive_k").addHandler(logging.NullHandler())


def publish(cycles: Sequence[Cycle]) -> None:
    """Log, document, own metrics and status page of passes in a row: all of them can be made and are well-formed."""
    registry, telemetry, page = CollectorRegistry(), Telemetry(), Page(About("http://127.0.0.1:8000", "apply"), 60.0)
    registry.register(telemetry)
    for cycle in cycles:
        telemetry.publish(cycle)
        page.publish(cycle)
        log_cycle(cycle)
        json.dumps(document(cycle), allow_nan=False)
        for failure in cycle.failures:
            assert failure.reason is not Reason.DEFECT, failure.message
            fits(failure.message)
        for engine in cycle.engines:
            fits(engine.decision.sentence)
            refuse_nonsense(engine.decision, "decision")
    assert generate_latest(registry)
    for family in telemetry.collect():
        for sample in family.samples:
            assert math.isfinite(sample.value), sample
    assert page.answer("live", 1.8e9).decode("utf-8")


def fits(sentence: str) -> None:
    """A sentence for people: on one line, without codes that steer a terminal, and not endless."""
    assert sentence.isprintable(), repr(sentence)
    assert len(sentence) <= SENTENCE_CHARACTERS_MAX, len(sentence)


def refuse_nonsense(value: Any, where: str) -> None:
    """No NaN anywhere in a dataclass of numbers."""
    if isinstance(value, float):
        assert not math.isnan(value), where
    elif is_dataclass(value):
        for field in fields(value):
            refuse_nonsense(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            refuse_nonsense(each, f"{where}[{index}]")
