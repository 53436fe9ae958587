"""Own metrics: valid, consistent, and silent on what is not known."""

import re
import threading
from dataclasses import replace

import pytest
from fakes import ManualClock, RecordingActuator, ScriptedSource
from hypothesis import given
from hypothesis import strategies as st
from pages import after, snapshot
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from controller.cycle import Cycle
from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.reason import ACTING_FAILED, DECIDED, KEEPING_FAILED, OBSERVING_FAILED, Reason
from controller.serve.telemetry import Telemetry
from controller.serve.telemetry_state import ENGINES_KEPT

FIRST = snapshot()
SECOND = after(FIRST)
DOWN = ObserveError(Reason.SERVER_UNREACHABLE, "No connection.")
RESTARTED = FIRST


def published(*reads: list[Snapshot] | ObserveError) -> Telemetry:
    """Telemetry after a loop over these reads, one a pass."""
    clock = ManualClock()
    source = ScriptedSource(clock, *reads, before_read=lambda: clock.advance(10.0))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    telemetry = Telemetry()
    for _ in reads:
        telemetry.publish(loop.step())
    return telemetry


def text(telemetry: Telemetry) -> str:
    """What Prometheus scrapes."""
    registry = CollectorRegistry()
    registry.register(telemetry)
    return generate_latest(registry).decode()


def samples(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every series and its value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text(telemetry))
        for sample in family.samples
    }


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    """One series of the engine `m`, or without an engine."""
    found = samples(telemetry)
    alone = found.get((name, frozenset(labels.items())))
    return found.get((name, frozenset((labels | {"model_name": "m", "engine": "0"}).items())), alone)


STATES = {
    "nothing yet": (),
    "down from the start": (DOWN,),
    "warming up": ([FIRST],),
    "decided": ([FIRST], [SECOND]),
    "idle": ([FIRST], [FIRST]),
    "restarted": ([FIRST], [SECOND], [RESTARTED]),
    "down after good windows": ([FIRST], [SECOND], DOWN),
    "without speculation": ([snapshot(None)],),
    "two engines": ([FIRST, replace(FIRST, engine="1")], [SECOND, replace(SECOND, engine="1")]),
}


@pytest.mark.parametrize("reads", STATES.values(), ids=STATES)
def test_every_state_gives_a_valid_page(reads: tuple[list[Snapshot] | ObserveError, ...]) -> None:
    """In both formats, with HELP and TYPE for every family, each series once, base units, no NaN."""
    telemetry = published(*reads)
    registry = CollectorRegistry()
    registry.register(telemetry)
    families: list[Metric] = list(parse_openmetrics(generate_openmetrics(registry).decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.name.startswith("adaptive_k_")
        assert family.documentation.endswith(".")
        assert family.type != "unknown"
        assert not re.search(r"_(ms|milliseconds|percent|perc|minutes)$", family.name)
        for sample in family.samples:
            assert abs(sample.value) < float("inf")
            assert not {"pod", "namespace", "instance"} & set(sample.labels)
    lines = [line.rpartition(" ")[0] for line in text(telemetry).splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_what_is_not_known_is_left_out() -> None:
    """Never 0, never NaN: before the first window only k_max is known."""
    warming = published([FIRST])
    assert value(warming, "adaptive_k_max_k") == 4
    for name in ("effective_k", "recommended_k", "gain_ratio", "step_seconds", "evidence_drafts", "batch_requests"):
        assert value(warming, f"adaptive_k_{name}") is None
    silent = published()
    assert value(silent, "adaptive_k_last_success_timestamp_seconds") is None
    assert value(silent, "adaptive_k_cycles_total") == 0


def test_a_decision_is_exported_with_its_bounds() -> None:
    """k, gain, margin and acceptance, each between its bounds."""
    telemetry = published([FIRST], [SECOND])
    assert value(telemetry, "adaptive_k_effective_k") == 4
    assert value(telemetry, "adaptive_k_evidence_drafts") == 4000
    assert value(telemetry, "adaptive_k_step_seconds") == pytest.approx(0.01)
    for low, middle, high, labels in (
        ("margin_low_ratio", "margin_ratio", "margin_high_ratio", {"against": "k0", "basis": "modelled"}),
        ("gain_low_ratio", "gain_ratio", "gain_high_ratio", {"basis": "measured"}),
        ("acceptance_low_ratio", "acceptance_ratio", "acceptance_high_ratio", {"position": "2"}),
    ):
        found = [value(telemetry, f"adaptive_k_{name}", **labels) for name in (low, middle, high)]
        assert None not in found
        assert found == sorted(each for each in found if each is not None)


def test_every_label_set_of_the_counters_exists_from_the_start() -> None:
    """A first failure or change is an increase from 0, which an alert can see."""
    silent = samples(published())
    failures = {dict(labels)["reason"] for name, labels in silent if name == "adaptive_k_failures_total"}
    assert Reason.SERVER_UNREACHABLE in failures
    assert Reason.FASTER_K not in failures
    seen = samples(published([FIRST]))
    outcomes = {
        (dict(labels)["action"], dict(labels)["reason"]): count
        for (name, labels), count in seen.items()
        if name == "adaptive_k_decisions_total"
    }
    assert outcomes["change", "faster_k"] == 0
    assert outcomes["disable", "speculation_loses"] == 0
    assert outcomes["hold", "warming_up"] == 1
    assert {reason for _, reason in outcomes} == set(DECIDED)
    assert failures == set(OBSERVING_FAILED)
    acting = {dict(labels)["reason"] for name, labels in seen if name == "adaptive_k_actuation_failures_total"}
    assert acting == set(ACTING_FAILED)


def test_every_reason_is_of_a_decision_or_of_one_kind_of_failure() -> None:
    """So that no reason is missing from the counters, and none is in two of them."""
    kinds = (DECIDED, OBSERVING_FAILED, ACTING_FAILED, KEEPING_FAILED)
    assert sorted(reason for kind in kinds for reason in kind) == sorted(Reason)


def test_counters_never_fall() -> None:
    """Over good and bad passes, engines that come and go included."""
    reads: list[list[Snapshot] | ObserveError] = [
        [FIRST],
        DOWN,
        [SECOND],
        [RESTARTED],
        DOWN,
        [SECOND],
        [snapshot(None)],
    ]
    before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for end in range(len(reads) + 1):
        now = {key: count for key, count in samples(published(*reads[:end])).items() if key[0].endswith("_total")}
        assert all(now[key] >= count for key, count in before.items())
        before = now


def test_models_that_come_and_go_do_not_fill_memory() -> None:
    """The longest gone is forgotten; one that is still served never is, however old."""
    old = replace(FIRST, model_name="the-first")
    later = [[old, replace(FIRST, model_name=f"model-{number}")] for number in range(ENGINES_KEPT + 20)]
    page = text(published(*later))
    counted = set(re.findall(r'adaptive_k_decisions_total\{.*?model_name="([^"]*)"', page))
    assert len(counted) == ENGINES_KEPT
    assert {"the-first", f"model-{ENGINES_KEPT + 19}"} <= counted
    assert "model-0" not in counted


def test_a_failure_is_counted_once_and_leaves_the_last_good_values() -> None:
    """The dashboard keeps its picture, the counter tells."""
    good, bad = published([FIRST], [SECOND]), published([FIRST], [SECOND], DOWN)
    assert value(bad, "adaptive_k_failures_total", reason="server_unreachable") == 1
    assert value(bad, "adaptive_k_recommended_k") == value(good, "adaptive_k_recommended_k")
    for name in ("last_success_timestamp_seconds", "decisions_total"):
        labels = {} if name.startswith("last") else {"action": "hold", "reason": "warming_up"}
        assert value(bad, f"adaptive_k_{name}", **labels) == value(good, f"adaptive_k_{name}", **labels)


def test_a_restart_is_not_counted_again_while_the_server_is_down() -> None:
    """Each failure belongs to the pass it happened in."""
    telemetry = published([FIRST], [SECOND], [RESTARTED], DOWN, DOWN)
    assert value(telemetry, "adaptive_k_failures_total", reason="server_restarted") == 1
    assert value(telemetry, "adaptive_k_failures_total", reason="server_unreachable") == 2


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_hostile_model_names_are_escaped_on_the_page(name: str) -> None:
    """The page parses, and the label is the name."""
    page = published([snapshot(model_name=name)])
    shown = {
        sample.labels["model_name"]
        for family in parse(text(page))
        for sample in family.samples
        if "model_name" in sample.labels
    }
    assert shown == {name}


def test_a_scrape_sees_one_pass_whole() -> None:
    """However many scrape while the loop publishes: all values of a page are of the same cycle."""
    telemetry = Telemetry()
    template = Cycle(number=0, at_unix_seconds=0.0)
    registry = CollectorRegistry()
    registry.register(telemetry)
    telemetry.publish(template)
    stop = threading.Event()

    def publish() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            telemetry.publish(replace(template, number=number, at_unix_seconds=float(number)))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for _ in range(300):
            page = generate_latest(registry).decode()
            (passes,) = re.findall(r"(?m)^adaptive_k_cycles_total (\S+)$", page)
            (success,) = re.findall(r"(?m)^adaptive_k_last_success_timestamp_seconds (\S+)$", page)
            assert float(passes) == float(success)
    finally:
        stop.set()
        publisher.join()
