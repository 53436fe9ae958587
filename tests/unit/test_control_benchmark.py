"""The control benchmark: its scenarios are what they state, its contestants play fair, its oracle is unbeaten."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from controller.simulator.engine import StepEngine
from controller.simulator.scenario_document import schema_text
from controller.simulator.scenario_file import ScenarioFileError, read_traces
from controller.simulator.trace import Trace

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILES = sorted((BENCHMARKS / "scenarios").glob("*.json"))
sys.path.append(str(BENCHMARKS))  # the benchmark's modules find each other there

from control_contestants import AcceptanceEma  # noqa: E402
from control_forecast import MARGIN, may_be_best  # noqa: E402
from control_play import EMA, ORACLE, Look, Played, Sample, Task, fixed, play  # noqa: E402
from control_score import best_table, speed_of, windows_to_follow, windows_vs_off, worst_window  # noqa: E402

ISSUED = {"name", "regret", "vs_best_fixed", "vs_ema", "worst_window_vs_off", "changes_per_hour", "windows_to_follow"}


def shipped() -> dict[str, Trace]:
    """Every shipped trace by its name."""
    return {trace.scenario.name: trace for path in FILES for trace in read_traces(path)}


def document(name: str = "steady-prose") -> dict[str, Any]:
    """A shipped document, to be spoilt."""
    loaded: dict[str, Any] = json.loads((BENCHMARKS / "scenarios" / f"{name}.json").read_text("utf-8"))
    return loaded


def test_the_published_schema_is_the_one_that_is_enforced() -> None:
    """`make docs` writes it; the loader and the schema are one declaration."""
    assert (BENCHMARKS / "scenario.schema.json").read_text("utf-8") == schema_text()


def test_the_schema_is_a_schema_and_takes_every_shipped_scenario() -> None:
    """At least fourteen of them, each in a file of its own name."""
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in FILES:
        jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text("utf-8")))
        assert [trace.scenario.name for trace in read_traces(path)] == [path.stem]
    assert len(FILES) >= 14


def test_the_scenarios_that_nothing_is_tuned_on_are_sound_and_not_among_the_shipped_ones() -> None:
    """They are played with `--scenarios`, or never."""
    path = BENCHMARKS / "held-out.json"
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(json.loads(path.read_text("utf-8")))
    assert not {trace.scenario.name for trace in read_traces(path)} & set(shipped())


def spoil(**values: object) -> Callable[[dict[str, Any]], None]:
    """Set keys of the scenario."""
    return lambda scenario: scenario.update(values)


def spoil_phase(**values: object) -> Callable[[dict[str, Any]], None]:
    """Set keys of its only phase."""
    return lambda scenario: scenario["load"][0].update(values)


def spoil_workload(**values: object) -> Callable[[dict[str, Any]], None]:
    """Set keys of its only workload."""
    return lambda scenario: scenario["workloads"][0].update(values)


@pytest.mark.parametrize(
    ("spoilt", "words", "by_schema"),
    [
        (spoil(k_max=17), "scenarios[0].k_max: input should be less than or equal to 16; it is 17", True),
        (spoil(kmax=3), "scenarios[0].kmax: is not known: remove it", True),
        (spoil(noise={"step_sigma": "much"}), "scenarios[0].noise.step_sigma", True),
        (spoil_phase(concurrency=-1), "scenarios[0].load[0].concurrency", True),
        (spoil_phase(requests_per_second=1.0), "scenarios[0].load[0]: give either concurrency or", True),
        (spoil_phase(mix={"poems": 1}), "scenarios[0].load[0].mix.poems: no workload has this name", False),
        (spoil_phase(mix={"prose": 0}), "scenarios[0].load[0].mix: all weights are 0", False),
        (spoil_phase(start_seconds=5), "scenarios[0].load[0].start_seconds: phases start at 0 and rise", False),
        (spoil(events=[{"at_seconds": 1800, "kind": "restart"}]), "events[0].at_seconds: 1800 s is not before", False),
        (spoil(launch_schedule=[[2, 4, 1]]), "launch_schedule: a schedule's first range starts at batch", False),
        (spoil(cost={"grid": "cheap"}), "scenarios[0].cost.grid: there is no grid of this name", False),
        (spoil(cost={"step_ms": [[1, 2]]}), "scenarios[0].cost: step_ms needs batches and ks", False),
        (spoil(cost={"batches": [1], "ks": [1, 2], "step_ms": [[1, 2]]}), "cost.step_ms: grid", False),
        (spoil_workload(survival=[0.5, 0.4]), "workloads[0].survival: has 2 positions, k_max is 5", False),
        (spoil_workload(survival=[0.5, 0.6, 0.1, 0, 0]), "survival: it rises at position 2", False),
        (spoil_workload(match_tokens=1.5), "survival: position 2 is reached more often than matches", False),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_place(
    tmp_path: Path, spoilt: Callable[[dict[str, Any]], None], words: str, by_schema: bool
) -> None:
    """By the schema where a schema can tell, and by the loader always."""
    wrong = document()
    spoilt(wrong["scenarios"][0])
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(wrong), "utf-8")
    with pytest.raises(ScenarioFileError) as refused:
        read_traces(path)
    assert words in str(refused.value)
    assert jsonschema.Draft202012Validator(json.loads(schema_text())).is_valid(wrong) is not by_schema


def test_files_that_cannot_be_scenarios_are_refused_in_words(tmp_path: Path) -> None:
    """No file, no JSON, too much of it."""
    path = tmp_path / "file.json"
    with pytest.raises(ScenarioFileError, match="cannot be read"):
        read_traces(path)
    path.write_text("{", "utf-8")
    with pytest.raises(ScenarioFileError, match="this is not JSON"):
        read_traces(path)
    path.write_text(" " * (1024 * 1024 + 1), "utf-8")
    with pytest.raises(ScenarioFileError, match="larger than 1048576 bytes"):
        read_traces(path)


@pytest.mark.parametrize("name", ["steady-prose", "ngram", "zero-and-back"])
def test_survival_comes_out_as_stated(name: str) -> None:
    """In the simulator's exact expectation, whatever spread, bursts, matches and impossible drafts do to it."""
    stated = {each["name"]: each["survival"] for each in document(name)["scenarios"][0]["workloads"]}
    trace = shipped()[name]
    engine = StepEngine(trace.scenario)
    for workload in trace.scenario.workloads:
        alone = replace(trace.scenario.phases[0], mix=((workload.name, 1.0),))
        truth = StepEngine(replace(trace.scenario, phases=(alone,))).phase_truth().acceptance(engine.k_max)
        assert truth.survival == pytest.approx(stated[workload.name], abs=1e-9)


def test_a_simulated_server_shows_the_stated_survival() -> None:
    """Counted, not computed: accepted by position over drafts, of thousands of drafts at k_max."""
    trace = shipped()["steady-prose"]
    engine = StepEngine(trace.scenario, seed=1)
    engine.advance_to(600)
    counters = engine.counters
    shown = counters.accepted_by_position().sum(axis=0) / counters.drafts
    assert counters.drafts > 50_000
    assert shown.tolist() == pytest.approx(document()["scenarios"][0]["workloads"][0]["survival"], abs=0.01)


def test_the_acceptance_average_steps_as_by_hand() -> None:
    """It starts at 7 with an average of 6, falls by a fifth of the way a verify, and decides after 15, 20, ...

    With nothing accepted, 6 (.8)^15 = .21 is below both 2.25 (7 to 3) and .25 (3 to 1). With everything accepted
    from there at k=1, .21 to 1 - .79 (.8)^5 = .74 is above .5: up to 3; then at 3 of 3 it passes 2.5 after seven
    verifies more, which the tenth finds.
    """
    policy = AcceptanceEma(8)
    seen = []
    for accepted in [0] * 15 + [1] * 5 + [3] * 10:
        policy.verified(batch=4, k=policy.k(), accepted=4 * accepted)
        seen.append(policy.k())
    assert seen == [7] * 14 + [1] * 5 + [3] * 10 + [7]
    assert policy.mean_accepted == pytest.approx(3 - (3 - (1 - (1 - 6 * 0.8**15) * 0.8**5)) * 0.8**10)


def test_the_acceptance_average_stays_within_its_tiers() -> None:
    """Tiers beyond k_max are cut to it, and between the thresholds of two tiers nothing moves."""
    policy = AcceptanceEma(5)
    for _ in range(100):
        policy.verified(batch=1, k=policy.k(), accepted=5)
    assert policy.k() == 5
    for _ in range(100):
        policy.verified(batch=10, k=policy.k(), accepted=24)  # 2.4: not yet down to 2.25, nor up from 3 at 2.5
    assert policy.k() == 5


def small(name: str, seconds: float) -> Trace:
    """A shipped trace, cut short."""
    return replace(shipped()[name], seconds=seconds, switch_seconds=None)


def score(trace: Trace, contestant: str) -> float:
    """Of one contestant on one trace."""
    run = play(Task(trace, 0, contestant))
    return speed_of(trace)(run.samples[0], run.samples[-1])


@pytest.mark.parametrize("name", ["saturation", "mixed-workloads"])
def test_nobody_beats_the_oracle(name: str) -> None:
    """No fixed k and not the acceptance average, beyond noise; and the worst of them is well behind."""
    trace = small(name, 300)
    rivals = [score(trace, contestant) for contestant in (EMA, *map(fixed, range(trace.scenario.k_max + 1)))]
    oracle = score(trace, ORACLE)
    assert oracle >= 0.99 * max(rivals)
    assert oracle > 1.2 * min(rivals)


@pytest.mark.parametrize("name", ["mixed-workloads", "bursts"])
def test_a_fixed_k_that_the_physics_rules_out_is_behind_by_more_than_chance(name: str) -> None:
    """Where clients wait for one another and where they do not; so the best one is always played."""
    trace = small(name, 480)
    scores = {k: score(trace, fixed(k)) for k in range(trace.scenario.k_max + 1)}
    kept = may_be_best(trace)
    assert max(scores, key=lambda k: scores[k]) in kept
    assert len(kept) < len(scores)
    assert max(scores[k] for k in scores if k not in kept) < (1 - MARGIN / 2) * max(scores.values())


def test_a_sudden_switch_changes_the_best_k_by_more_than_following_allows() -> None:
    """Else a controller that stands still would be praised for following."""
    for trace in shipped().values():
        if trace.switch_seconds is not None:
            bests = []
            for phase in trace.scenario.phases:
                still = replace(trace.scenario, phases=(replace(phase, start_seconds=0.0),))
                assert phase.concurrency is not None
                bests.append(StepEngine(still).phase_truth().best_k(phase.concurrency, trace.scenario.k_max))
            assert abs(bests[0] - bests[1]) >= 3


def test_following_counts_passes_until_k_stays_near() -> None:
    """Three looks in a row within one of the oracle's; never is all of them."""
    looks = [Look(10.0 * i, k, 2) for i, k in enumerate((7, 3, 7, 7, 3, 2, 1))]
    assert windows_to_follow(looks) == 5
    assert windows_to_follow(looks[:4]) == 4


def test_the_worst_window_is_found_after_the_warm_up() -> None:
    """Half the speed for five of ten minutes is .75, and .875 if one seed of two has it; the warm-up counts nothing."""

    def samples(slow: Callable[[float], bool]) -> tuple[Sample, ...]:
        tokens, found = 0.0, [Sample(0.0, 0.0, 0.0, 0.0, 0.0)]
        for i in range(150):
            tokens += 500.0 if slow(10.0 * i) else 1000.0
            found.append(Sample(10.0 * (i + 1), tokens, 10.0 * (i + 1), 0.0, 0.0))
        return tuple(found)

    off = samples(lambda _: False)
    speed = speed_of(shipped()["saturation"])
    early = windows_vs_off(samples(lambda t: t < 300), off, speed)
    late = windows_vs_off(samples(lambda t: 600 <= t < 900), off, speed)
    assert worst_window([early]) == pytest.approx(1.0)
    assert worst_window([late]) == pytest.approx(0.75)
    assert worst_window([early, late]) == pytest.approx(0.875)
    assert worst_window([()]) is None


def test_the_table_of_hindsight_takes_the_best_k_of_each_batch() -> None:
    """Batches that nobody saw take the k of those below; a k that met a batch by accident does not count."""
    task = Task(shipped()["saturation"], 0, fixed(0))
    runs = [
        Played(task, (), {(1, 0): (100.0, 10.0), (64, 0): (400.0, 10.0)}),
        Played(task, (), {(1, 3): (250.0, 10.0), (64, 3): (300.0, 10.0), (8, 3): (90.0, 0.1)}),
        Played(task, (), {(1, 5): (9.0, 0.1), (8, 5): (500.0, 10.0)}),
    ]
    table = best_table(runs, 256)
    ks = {batch: next(k for low, high, k in table if low <= batch <= high) for batch in (1, 7, 8, 40, 64, 256)}
    assert ks == {1: 3, 7: 3, 8: 5, 40: 5, 64: 0, 256: 0}


def test_a_seed_gives_every_contestant_the_same_texts() -> None:
    """The workload draws do not depend on k: fixed ks finish requests of the same lengths in the same order."""
    trace = small("sparse-traffic", 600)
    finished = [play(Task(trace, 3, fixed(k))).samples[-1].requests for k in (2, 3)]
    assert finished[0] == finished[1] > 10


def test_unknown_traffic_can_be_added_and_the_result_has_the_agreed_form(tmp_path: Path) -> None:
    """A file of one's own, one seed, as JSON on stdout; progress and missed targets go to stderr.

    What is not played for want of a target is null.
    """
    own = document("steady-code")
    own["scenarios"][0].update(name="own", duration_seconds=960, k_max=1)
    own["scenarios"][0]["workloads"][0]["survival"] = [0.8]
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own), "utf-8")
    ran = run("--quick", "--json", "--scenarios", str(path), "--only", "own")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result.keys() >= {"scenarios", "regret_mean", "regret_max", "vs_ema_mean"}
    (scenario,) = result["scenarios"]
    assert scenario.keys() >= ISSUED
    assert scenario["name"] == "own"
    assert scenario["windows_to_follow"] is None
    assert scenario["regret"] == result["regret_mean"] == result["regret_max"]
    assert scenario["worst_window_vs_off"] > 1.2
    assert scenario["vs_table"] is scenario["vs_without_speculation"] is None


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    """Before anything is played."""
    ran = run("--only", "steady-poems")
    assert ran.returncode == 2
    assert "no such scenario; there are: bursts, day-curve" in ran.stderr


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    """The benchmark as a person runs it."""
    command = [sys.executable, str(BENCHMARKS / "control.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)
