"""Own metrics of cycles made by hand: live control, workloads, economics, and how many series there can be."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from controller.act.actuator import NOTHING_DONE, Acted, Outcome
from controller.cycle import Control, Cycle, EngineCycle, Failure
from controller.decide.decision import Action, Baseline, Bounded, Decision
from controller.decide.mix import WorkloadAnswer
from controller.decide.review import Change, Review, Verdict
from controller.model.acceptance import Acceptance
from controller.model.drafter import UNKNOWN
from controller.model.economics import Score
from controller.model.step_table import Cell, StepTable
from controller.model.step_time import StepTime
from controller.observe.speculation import Speculation
from controller.reason import Reason
from controller.serve.telemetry import Telemetry
from controller.serve.telemetry_family import Kind
from controller.serve.telemetry_read import BATCHES, POSITIONS_MAX, WORKLOADS_MAX
from controller.serve.telemetry_table import FAMILIES, LABELS

NOW = 1.8e9
REALISED = Bounded(1.08, 1.0, 1.16)
DOWN = Failure(Reason.SERVER_UNREACHABLE, "No connection.")


def acceptance(k_max: int = 3) -> Acceptance:
    """.8, .64, ..."""
    survival = tuple(0.8**position for position in range(1, k_max + 1))
    return Acceptance(
        hazard=(0.8,) * k_max,
        survival=survival,
        survival_low=tuple(0.9 * each for each in survival),
        survival_high=tuple(1.1 * each for each in survival),
        positions_observed=2,
        coverage=1.0,
        evidence_drafts=1234.0,
        logit_covariance=(),
    )


def score(k: int, *, measured: bool = True, seconds: float = 0.01) -> Score:
    """One k, with numbers that tell it apart."""
    return Score(k, 1.0 + k / 2, seconds, 100.0 + k, 90.0 + k, 110.0 + k, 1.0, 0.9, 1.1, k <= 2, measured)


def decided(**values: object) -> Decision:
    """k=2 is held at a batch of 10; k=0 is best from 64 on."""
    given: dict[str, object] = {
        "action": Action.HOLD,
        "reason": Reason.BEST_ALREADY,
        "sentence": "",
        "k_now": 2.0,
        "k": 2,
        "k_best": 3,
        "batch": 10.0,
        "schedule": ((1, 8, 3), (9, 63, 2), (64, 256, 0)),
        "gain": Bounded(1.2, 1.1, 1.3),
        "margin": Bounded(-0.1, -0.2, -0.05),
        "margin_without_speculation": Bounded(-0.2, -0.3, -0.1),
        "baseline": Baseline.MEASURED,
        "scores": (score(0, seconds=0.01), score(1, measured=False), score(2, seconds=0.014), score(3)),
    }
    return Decision(**given | values)  # type: ignore[arg-type]


def engine(decision: Decision | None = None, **values: object) -> EngineCycle:
    """An engine of k_max 3."""
    given: dict[str, object] = {"acceptance": acceptance()}
    return EngineCycle("m", "0", 3, decision or decided(), **given | values)  # type: ignore[arg-type]


def speculation(**values: object) -> Speculation:
    """What the plugin tells while we hold k=2 everywhere."""
    given: dict[str, object] = {
        "protocol": 1,
        "boot_id": "ab",
        "generation": 3,
        "owner": "adaptive-k@node",
        "method": "eagle",
        "k_max": 3,
        "max_num_seqs": 256,
        "launch_schedule": ((1, 256, 3),),
        "schedule": ((1, 16, 2), (17, 256, 1)),
        "expires_in_seconds": 90.0,
        "writable": True,
        "read_only_because": None,
    }
    return Speculation(**given | values)  # type: ignore[arg-type]


def series(*cycles: Cycle | EngineCycle) -> dict[tuple[str, frozenset[str]], float]:
    """Every series after these passes: (name without prefix, label values other than the engine's) -> value."""
    telemetry = Telemetry()
    for number, each in enumerate(cycles, 1):
        cycle = Cycle(number, NOW + number, (each,)) if isinstance(each, EngineCycle) else each
        telemetry.publish(cycle)
    registry = CollectorRegistry()
    registry.register(telemetry)
    return {
        (
            sample.name.removeprefix("adaptive_k_"),
            frozenset(value for name, value in sample.labels.items() if name not in {"model_name", "engine"}),
        ): sample.value
        for family in parse(generate_latest(registry).decode())
        for sample in family.samples
    }


def of(name: str, *labels: str) -> tuple[str, frozenset[str]]:
    """The key of a series."""
    return name, frozenset(labels)


def names(found: Iterable[tuple[str, frozenset[str]]]) -> set[str]:
    """Of the metrics that have a series."""
    return {name for name, _ in found}


def test_every_declaration_keeps_the_conventions() -> None:
    """One prefix, each name once, `_total` for counters only, every label explained, every text a sentence."""
    assert [name for name, count in Counter(each.name for each in FAMILIES).items() if count > 1] == []
    for each in FAMILIES:
        assert each.name.startswith("adaptive_k_")
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
        assert each.text.endswith(".")
        assert len(each.text) <= 120
        assert set(each.labels) <= set(LABELS)
    assert set(LABELS) == {label for each in FAMILIES for label in each.labels}


def test_a_series_has_the_labels_that_its_declaration_names() -> None:
    """Whatever is exported of a full cycle, and nothing declared is missing from it."""
    control = Control(speculation(), applied=True, review=reviewed())
    cycle = engine(decided(action=Action.CHANGE), control=control, workloads=(workload("chat"),), step_time=step_time())
    telemetry = Telemetry()
    telemetry.publish(Cycle(1, NOW, (replace(cycle, window=None),)))
    registry = CollectorRegistry()
    registry.register(telemetry)
    found = {
        sample.name: frozenset(sample.labels)
        for family in parse(generate_latest(registry).decode())
        for sample in family.samples
    }
    declared = {each.name: frozenset(each.labels) for each in FAMILIES}
    assert {name: declared[name] for name in found} == found
    without_window = {"adaptive_k_acceptance_length_tokens", "adaptive_k_step_seconds"} | {
        name for name in declared if re.search(r"(decoded|gain|loss)(_low|_high)?_tokens_per_second$", name)
    }
    assert declared.keys() - found.keys() == without_window


def reviewed(realised: Bounded | None = REALISED) -> Review:
    """A change from 3 to 2 that was to bring 20%."""
    return Review(Change(0.0, 10.0, 3, 2, Bounded(1.2, 1.1, 1.3)), realised, Verdict.PENDING)


def workload(name: str) -> WorkloadAnswer:
    """One of a mix."""
    return WorkloadAnswer(name, 0.5, acceptance(), 3, Bounded(0.1, 0.0, 0.2), 0.04)


def step_time(limit: float = 512.0) -> StepTime:
    """By the prior, and one cell."""
    return StepTime(StepTable((Cell(8.0, 2.0, 1.0, math.log(0.02), 100.0),)), UNKNOWN, limit)


def test_k_is_told_as_wanted_as_set_and_as_run() -> None:
    """Three numbers, so that a difference can be seen; the second only where the plugin tells it."""
    found = series(engine(control=Control(speculation())))
    k = {name: found[of(f"{name}_k")] for name in ("recommended", "current", "effective", "best", "max")}
    assert k == {"recommended": 2, "current": 2, "effective": 2, "best": 3, "max": 3}
    assert of("current_k") not in series(engine())


def test_the_schedules_are_told_at_powers_of_two() -> None:
    """The same series whatever the ranges are."""
    found = series(engine(control=Control(speculation())))
    told = {
        name: [found.get(of("schedule_k", name, str(batch))) for batch in BATCHES]
        for name in ("recommended", "in_force", "launch")
    }
    assert told == {
        "recommended": [3, 3, 3, 3, 2, 2, 0, 0, 0, None, None],
        "in_force": [2, 2, 2, 2, 2, 1, 1, 1, 1, None, None],
        "launch": [3, 3, 3, 3, 3, 3, 3, 3, 3, None, None],
    }
    assert found[of("crossover_batch_requests")] == 64


def test_a_schedule_that_always_drafts_has_no_crossover() -> None:
    """Left out, neither 0 nor infinite; and without a schedule, too."""
    for schedule in (((1, 256, 2),), ()):
        assert of("crossover_batch_requests") not in series(engine(decided(schedule=schedule)))


def test_margins_say_what_they_are_against_and_what_they_rest_on() -> None:
    """A server that was never seen without speculation is always modelled."""
    found = series(engine())
    assert found[of("margin_high_ratio", "k0", "measured")] == -0.05
    assert found[of("margin_low_ratio", "no_speculation", "modelled")] == -0.3
    assert of("margin_ratio", "k0", "modelled") not in found
    assert of("margin_ratio", "k0", "modelled") in series(engine(decided(baseline=Baseline.MODELLED)))


@pytest.mark.parametrize(("k", "basis"), [(2, "measured"), (1, "modelled"), (3, "modelled")])
def test_a_gain_is_measured_only_where_its_k_was(k: int, basis: str) -> None:
    """Both its steps and its positions."""
    assert series(engine(decided(k=k)))[of("gain_low_ratio", basis)] == 1.1


def test_the_curve_over_k_is_told() -> None:
    """Tokens per step and throughput, each k saying what it rests on."""
    found = series(engine())
    assert [found[of("expected_tokens_per_step", str(k))] for k in range(4)] == [1.0, 1.5, 2.0, 2.5]
    assert found[of("expected_high_tokens_per_second", "2", "measured")] == 112.0
    assert found[of("expected_tokens_per_second", "1", "modelled")] == 101.0  # its steps did not run here
    assert found[of("expected_tokens_per_second", "3", "modelled")] == 103.0  # its last position was never drafted


def test_the_cost_of_a_draft_is_what_it_adds_to_a_step() -> None:
    """Two drafts make a step of 10 ms one of 14: .2 of a step each."""
    assert series(engine())[of("draft_cost_ratio", "measured")] == pytest.approx(0.2)
    assert "draft_cost_ratio" not in names(series(engine(decided(scores=()))))


def test_the_capture_limit_is_told_only_where_it_is_known() -> None:
    """Beside the tokens of the mean step, so that an alert can compare them."""
    known = series(engine(step_time=step_time(512.0)))
    assert (known[of("capture_limit_tokens")], known[of("step_tokens")]) == (512.0, 30.0)
    assert of("capture_limit_tokens") not in series(engine(step_time=step_time(math.inf)))


def test_a_change_is_told_with_what_it_brought() -> None:
    """Predicted 20%, realised 8%: an error of -10%."""
    found = series(engine(control=Control(speculation(), review=reviewed())))
    assert found[of("predicted_gain_ratio")] == 1.2
    assert found[of("realised_gain_high_ratio")] == 1.16
    assert found[of("prediction_error_ratio")] == pytest.approx(-0.1)
    pending = series(engine(control=Control(speculation(), review=reviewed(None))))
    assert of("predicted_gain_ratio") in pending
    assert not {of("realised_gain_ratio"), of("prediction_error_ratio")} & pending.keys()


@pytest.mark.parametrize(
    ("applied", "told"), [(True, 1.0), (False, 0.0), (None, None)], ids=["yes", "no", "cannot be told"]
)
def test_whether_k_was_applied_is_told_only_where_counters_can_tell(applied: bool | None, told: float | None) -> None:
    """Unknown is not no."""
    found = series(engine(control=Control(speculation(), applied=applied, frozen=True)))
    assert found.get(of("applied")) == told
    assert found[of("frozen")] == 1


def test_the_expiry_of_what_is_held_is_a_time() -> None:
    """And is left out while nothing is held."""
    assert series(engine(control=Control(speculation())))[of("schedule_expiry_timestamp_seconds")] == NOW + 1 + 90
    free = Control(speculation(owner=None, expires_in_seconds=None))
    assert of("schedule_expiry_timestamp_seconds") not in series(engine(control=free))


def test_the_expiry_is_not_told_while_nobody_can_ask() -> None:
    """Counted from a later pass it would lie ahead for ever."""
    held = engine(control=Control(speculation()))
    down = Cycle(2, NOW + 2, (held,), DOWN)
    assert of("schedule_expiry_timestamp_seconds") not in series(held, down)


def test_what_is_old_is_not_told_as_of_now() -> None:
    """After two minutes without a good window the gauges end, and with them alerts on them; counters go on."""
    good = engine(control=Control(speculation(), applied=False))
    refused = replace(good, failure=Failure(Reason.COUNTERS_DISAGREE, "They do."))
    for late, told in ((120.0, True), (121.0, False)):
        for last in (Cycle(2, NOW + 1 + late, (good,), DOWN), Cycle(2, NOW + 1 + late, (refused,))):
            found = series(good, last)
            for name in ("margin_high_ratio", "applied", "step_tokens", "max_k"):
                assert (name in names(found)) is told, name
            assert found[of("decisions_total", "hold", "best_already")] == 1
    back = series(good, Cycle(2, NOW + 900, (good,), DOWN), Cycle(3, NOW + 901, (good,)))
    assert of("applied") in back


def test_success_is_a_window_that_can_be_used_not_only_a_page() -> None:
    """A page whose counters are refused for ever is none; one good engine of several is enough."""
    refused = engine(failure=Failure(Reason.K_IMPOSSIBLE, "Beyond."))
    success = of("last_success_timestamp_seconds")
    assert success not in series(refused)
    assert series(engine(), refused)[success] == NOW + 1
    assert series(Cycle(1, NOW, (refused, replace(engine(), engine="1"))))[success] == NOW
    assert series(Cycle(1, NOW))[success] == NOW


def test_what_acting_did_is_counted_by_name() -> None:
    """A failure also by its reason; every outcome exists from the start."""
    failed = Acted(Outcome.FAILED, Reason.PLUGIN_CONFLICT, "No.")
    found = series(engine(acted=Acted(Outcome.APPLIED)), engine(acted=failed), engine(acted=failed))
    assert {outcome: found[of("actuations_total", outcome)] for outcome in Outcome} == {
        Outcome.NOTHING_TO_DO: 0,
        Outcome.RECOMMENDED: 0,
        Outcome.APPLIED: 1,
        Outcome.RENEWED: 0,
        Outcome.HELD: 0,
        Outcome.FROZEN: 0,
        Outcome.ROLLING: 0,
        Outcome.ROLLING_BACK: 0,
        Outcome.HELD_BACK: 0,
        Outcome.FAILED: 2,
    }
    assert found[of("actuation_failures_total", "plugin_conflict")] == 2
    assert found[of("actuation_failures_total", "plugin_missing")] == 0


def test_an_old_pass_is_not_counted_again_while_the_server_is_down() -> None:
    """After a failed page the engines are those of an earlier pass."""
    good = engine(acted=Acted(Outcome.APPLIED))
    down = Cycle(2, NOW, (good,), DOWN)
    found = series(good, down, down)
    assert found[of("actuations_total", "applied")] == found[of("decisions_total", "hold", "best_already")] == 1
    assert found[of("failures_total", "server_unreachable")] == 2


def test_acting_counts_while_the_window_cannot_be_used() -> None:
    """A held schedule is renewed all the same; the decision is an old one."""
    broken = engine(acted=Acted(Outcome.RENEWED), failure=Failure(Reason.COUNTERS_DISAGREE, "They do."))
    found = series(broken)
    assert found[of("actuations_total", "renewed")] == found[of("failures_total", "counters_disagree")] == 1
    assert found[of("decisions_total", "hold", "best_already")] == 0


CHANGE = decided(action=Action.CHANGE, reason=Reason.FASTER_K)


def test_a_recommendation_that_nobody_follows_is_one_change() -> None:
    """However often it is repeated; another k is another."""
    found = series(*[engine(CHANGE, acted=Acted(Outcome.RECOMMENDED))] * 5)
    assert (found[of("changes_total")], found[of("last_change_timestamp_seconds")]) == (1, NOW + 1)
    again = series(engine(CHANGE), engine(decided()), engine(replace(CHANGE, k=1)), engine(decided()))
    assert (again[of("changes_total")], again[of("last_change_timestamp_seconds")]) == (2, NOW + 3)


def test_under_live_control_every_lasting_decision_is_a_change() -> None:
    """Back and forth to the same k counts each time; a probe does not count, and a hold neither."""
    live = Control(speculation())
    back = decided(action=Action.ROLL_BACK, reason=Reason.REALISED_WORSE)
    probe = decided(action=Action.PROBE, reason=Reason.EXPLORING)
    passes = [engine(each, control=live) for each in (CHANGE, back, probe, decided(), CHANGE)]
    assert series(*passes)[of("changes_total")] == 3
    assert of("last_change_timestamp_seconds") not in series(engine(probe, control=live))


def test_workloads_are_told_each() -> None:
    """Share, acceptance, best k, margin, and what the mix costs it."""
    found = series(engine(workloads=(workload("chat"), workload("code"))))
    assert found[of("workload_best_k", "code")] == 3
    assert found[of("workload_acceptance_length_tokens", "chat")] == pytest.approx(1 + 0.8 + 0.64 + 0.512)
    assert found[of("workload_margin_high_ratio", "chat")] == 0.2
    assert (found[of("workload_share_ratio", "chat")], found[of("workload_mix_cost_ratio", "chat")]) == (0.5, 0.04)


def test_the_number_of_series_is_bounded() -> None:
    """A server with absurd numbers of positions, values of k, workloads and ranges cannot flood Prometheus."""
    many = 4000
    schedule = tuple((batch, batch, batch % 5) for batch in range(1, many))
    told = speculation(schedule=schedule, launch_schedule=schedule)
    flood = engine(
        decided(schedule=schedule, scores=tuple(score(k) for k in range(many))),
        acceptance=acceptance(many),
        workloads=tuple(workload(f"w{number}") for number in range(many)),
        control=Control(told),
    )
    found = Counter(name for name, _ in series(flood))
    assert found["acceptance_ratio"] == POSITIONS_MAX
    assert found["expected_tokens_per_second"] == POSITIONS_MAX + 1
    assert found["workload_share_ratio"] == found["workload_margin_low_ratio"] == WORKLOADS_MAX
    assert found["schedule_k"] == 3 * len(BATCHES)
    assert found.total() < 1000


def test_a_long_and_hostile_name_is_a_label_like_any_other() -> None:
    """4 kB of quotes, newlines and markup: the page parses, and the label is the name."""
    hostile = '"\n\\<script>{},=\u2028' * 400
    telemetry = Telemetry()
    telemetry.publish(Cycle(1, NOW, (replace(engine(), model_name=hostile),)))
    registry = CollectorRegistry()
    registry.register(telemetry)
    samples = [each for family in parse(generate_latest(registry).decode()) for each in family.samples]
    assert {each.labels["model_name"] for each in samples if "model_name" in each.labels} == {hostile}


def test_nothing_done_is_what_a_pass_without_control_counts() -> None:
    """So that passes of both modes add up to the same total."""
    found = series(engine(acted=NOTHING_DONE), engine())
    assert found[of("actuations_total", "nothing_to_do")] == 2
