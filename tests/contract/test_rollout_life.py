"""A change lives on the workload from its first patch to its verdict, whoever sees to it."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract.kubernetes_double import Fault, status
from contract.kubernetes_objects import (
    CONFIG,
    args_of,
    config_of,
    container,
    deployment,
    leader_worker_set,
    stateful_set,
)
from contract.kubernetes_rules import MINORS
from contract.rollout_bench import AFTER, CHANGE, HOLD, Bench, bench, later

from controller.act.rollout.actuator import RolloutActuator
from controller.act.rollout.result import RolloutOutcome
from controller.decide.decision import Action, Bounded, Decision

HOUR = 3600.0


def rolled(found: Bench) -> None:
    """The change is made, and its rollout is over."""
    assert found.act().outcome is RolloutOutcome.STARTED
    found.finish()
    assert found.act(HOLD).outcome is RolloutOutcome.SETTLING
    assert found.phase == "settling"


def reasons(found: Bench) -> list[str]:
    """The Events so far."""
    return [event["reason"] for event in found.double.events()]


def test_a_change_is_one_patch_that_tests_what_it_rests_on_and_carries_its_record(tmp_path: Path) -> None:
    """Text and annotations cannot part; nothing else in the workload moves."""
    with bench(tmp_path) as found:
        before = copy.deepcopy(found.workload)
        result = found.act()
        assert result.outcome is RolloutOutcome.STARTED
        assert result.edit is not None
        assert (result.edit.before, result.edit.after) == (CONFIG, AFTER)
        assert not result.warnings
        (sent,) = (each for each in found.double.sent if each.verb == "patch")
        assert sent.body == list(result.patch)
        tests = {each["path"]: each["value"] for each in sent.body if each["op"] == "test"}
        at = "/spec/template/spec/containers/0"
        assert tests == {"/metadata/resourceVersion": "101", f"{at}/name": "vllm", f"{at}/args/3": CONFIG}
        now = copy.deepcopy(found.workload)
        kept = now["metadata"].pop("annotations")
        assert kept["adaptive-k.io/previous-config"] == CONFIG
        assert kept["adaptive-k.io/applied-config"] == AFTER
        assert kept["adaptive-k.io/last-change"] == "2027-01-15T08:00:00Z"
        assert kept["adaptive-k.io/changes-today"] == "2027-01-15/1"
        assert kept["adaptive-k.io/phase"] == "rolling"
        now["spec"]["template"]["spec"]["containers"][0]["args"][3] = CONFIG
        for name in ("resourceVersion", "generation"):
            now["metadata"][name] = before["metadata"][name]
        assert now == before


every_kind = pytest.mark.parametrize("make", [deployment, stateful_set, leader_worker_set])


@every_kind
def test_a_change_that_pays_is_kept_and_says_what_it_brought(tmp_path: Path, make: Any) -> None:
    """Rolling, settling, settled: each once, with an Event, and the Lease is given back."""
    with bench(tmp_path, make()) as found:
        found.double.minors = MINORS
        assert found.act().outcome is RolloutOutcome.STARTED
        assert found.act().outcome is RolloutOutcome.ROLLING
        found.status(updatedReplicas=1, availableReplicas=1)
        result = found.act(HOLD)
        assert result.outcome is RolloutOutcome.ROLLING
        assert "1 of 2 replicas updated, 1 available" in result.sentence
        found.finish()
        assert found.act(HOLD).outcome is RolloutOutcome.SETTLING
        found.clock.advance(599)
        assert found.act(later(1200)).outcome is RolloutOutcome.SETTLING
        found.clock.advance(1)
        result = found.act(later(1200))
        assert result.outcome is RolloutOutcome.SETTLED
        assert "+20.0% (+18.3% to +21.7%) was measured, +20.0% expected" in result.sentence
        assert config_of(found.workload) == AFTER
        assert reasons(found) == [
            "SpeculationRolloutStarted",
            "SpeculationRolloutProgressed",
            "SpeculationRolloutSettled",
        ]
        (lease,) = (each for path, each in found.double.objects.items() if "/leases/" in path)
        assert lease["spec"]["holderIdentity"] == ""


@every_kind
def test_a_failed_rollout_is_rolled_back_to_the_very_text_before(tmp_path: Path, make: Any) -> None:
    """By the progress deadline, or, for what has none, by the time it takes; also while no page can be read."""
    with bench(tmp_path, make()) as found:
        found.act()
        if found.workload["kind"] == "Deployment":
            found.fail()
        else:
            found.status(updatedReplicas=1, availableReplicas=1)
            found.clock.advance(HOUR + 1)
        result = found.actuator.tend()
        assert result.outcome is RolloutOutcome.ROLLING_BACK
        assert config_of(found.workload) == CONFIG
        assert found.workload["metadata"]["annotations"]["adaptive-k.io/changes-today"].endswith("/2")
        assert found.actuator.tend().outcome is RolloutOutcome.ROLLING_BACK
        found.finish()
        assert found.actuator.tend().outcome is RolloutOutcome.ROLLED_BACK
        assert reasons(found)[1] == "SpeculationRolloutRolledBack"
        assert found.double.events()[1]["type"] == "Warning"
        found.clock.advance(23 * HOUR)
        result = found.act()
        assert result.outcome is RolloutOutcome.TOO_SOON
        assert "24 h after one setback" in result.sentence
        found.clock.advance(HOUR)
        assert found.act().outcome is RolloutOutcome.STARTED


def test_a_deadline_that_was_exceeded_before_the_rollback_is_not_counted_against_it(tmp_path: Path) -> None:
    """The Deployment's controller leaves the old condition standing until the rollback makes progress."""
    with bench(tmp_path) as found:
        found.act()
        found.fail()
        assert found.actuator.tend().outcome is RolloutOutcome.ROLLING_BACK
        found.status()
        assert found.workload["status"]["conditions"][0]["reason"] == "ProgressDeadlineExceeded"
        assert found.actuator.tend().outcome is RolloutOutcome.ROLLING_BACK
        found.finish()
        assert found.actuator.tend().outcome is RolloutOutcome.ROLLED_BACK


def test_a_rollback_that_does_not_come_up_calls_for_a_person(tmp_path: Path) -> None:
    """There is nothing further back to go to."""
    with bench(tmp_path) as found:
        found.act()
        found.fail()
        found.actuator.tend()
        found.fail()
        result = found.actuator.tend()
        assert result.outcome is RolloutOutcome.ROLLBACK_FAILED
        assert "look at its pods" in result.sentence
        assert reasons(found)[-1] == "SpeculationRollbackFailed"
        assert found.actuator.tend().outcome is RolloutOutcome.NOTHING_TO_DO


def test_a_realised_loss_is_rolled_back(tmp_path: Path) -> None:
    """When even the upper bound is a loss."""
    with bench(tmp_path) as found:
        rolled(found)
        found.clock.advance(600)
        result = found.act(later(950))
        assert result.outcome is RolloutOutcome.ROLLING_BACK
        assert "It lost: -5.0%" in result.sentence
        assert config_of(found.workload) == CONFIG


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        (later(995), RolloutOutcome.SETTLED),  # a loss within the bounds is none
        (later(600, tokens_per_step=1.0), RolloutOutcome.SETTLED),  # harder text: +20% for it
        (later(1200, tokens_per_step=3.0), RolloutOutcome.ROLLING_BACK),  # easier text: -20% for it
        (later(100, batch=4.0), RolloutOutcome.SETTLING),  # another load says nothing
        (HOLD, RolloutOutcome.SETTLING),  # nor does a server that still runs the old k
        (None, RolloutOutcome.SETTLING),
    ],
)
def test_only_like_loads_are_compared_and_the_traffic_is_taken_out(
    tmp_path: Path, decision: Decision | None, outcome: RolloutOutcome
) -> None:
    """Otherwise an evening would be taken for the work of k."""
    with bench(tmp_path) as found:
        rolled(found)
        found.clock.advance(600)
        assert (found.actuator.tend() if decision is None else found.act(decision)).outcome is outcome


def test_a_gain_that_cannot_be_measured_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """The change stays, and says that nobody knows."""
    with bench(tmp_path) as found:
        rolled(found)
        found.clock.advance(600 + HOUR)
        result = found.act(HOLD)
        assert result.outcome is RolloutOutcome.SETTLED
        assert "could not be measured" in result.sentence


@pytest.mark.parametrize("moment", ["rolling", "settling", "rolling-back"])
def test_a_new_process_takes_over_where_the_old_one_was_ended(tmp_path: Path, moment: str) -> None:
    """A sidecar's own pod is rolled, too: the successor knows everything from the workload."""
    with bench(tmp_path) as found:
        found.act()
        if moment == "settling":
            found.finish()
            found.act(HOLD)
        if moment == "rolling-back":
            found.fail()
            found.act(HOLD)
        assert found.phase == moment
        successor = found.replica("pod-b")
        assert successor.tend().outcome is RolloutOutcome.NOT_LEADER
        found.clock.advance(61)
        found.finish()
        result = successor.tend()
        expected = {"rolling": RolloutOutcome.SETTLING, "rolling-back": RolloutOutcome.ROLLED_BACK}
        assert result.outcome is expected.get(moment, RolloutOutcome.SETTLING)
        values = [op for each in found.double.sent for op in each.body or [] if each.verb == "patch"]
        replaced = sum(op["op"] == "replace" for op in values)
        assert replaced == (2 if moment == "rolling-back" else 1)


def test_guards_survive_a_restart(tmp_path: Path) -> None:
    """What was changed an hour ago is not changed again by a process that was born since."""
    with bench(tmp_path) as found:
        rolled(found)
        found.clock.advance(HOUR)
        assert found.act(later(1200)).outcome is RolloutOutcome.SETTLED
        fresh = replace(CHANGE, schedule=((1, 256, 1),), k=1)
        result = found.replica("pod-a").act("m", "0", fresh)
        assert result.outcome is RolloutOutcome.TOO_SOON
        assert "5 h of it are left" in result.sentence
        found.clock.advance(5 * HOUR)
        assert found.replica("pod-a").act("m", "0", fresh).outcome is RolloutOutcome.STARTED


def test_a_day_has_so_many_changes_and_no_more(tmp_path: Path) -> None:
    """However short the interval is."""
    with bench(tmp_path, minimum_interval_seconds=60.0, settle_seconds=0.0) as found:
        for k in (1, 2):
            assert found.act(replace(CHANGE, schedule=((1, 256, k),))).outcome is RolloutOutcome.STARTED
            found.finish()
            found.act(HOLD)
            assert found.act(later(1200)).outcome is RolloutOutcome.SETTLED
            found.clock.advance(600)
        again = replace(CHANGE, schedule=((1, 256, 3),))
        assert found.act(again).outcome is RolloutOutcome.TOO_MANY_TODAY
        found.clock.advance(16 * HOUR)
        assert found.act(again).outcome is RolloutOutcome.STARTED


def test_a_text_that_somebody_else_put_back_is_left_alone_and_backed_off_from(tmp_path: Path) -> None:
    """GitOps: the field manager is named, and the next change waits longer each time."""
    with bench(tmp_path) as found:
        rolled(found)
        found.double.change(found.path, lambda thing: args_of(thing).__setitem__(3, CONFIG))
        result = found.act()
        assert result.outcome is RolloutOutcome.REVERTED
        assert "argocd-controller wrote it since" in result.sentence
        assert config_of(found.workload) == CONFIG
        assert reasons(found)[-1] == "SpeculationRolloutReverted"
        found.finish()
        found.clock.advance(24 * HOUR - 1)
        assert found.act().outcome is RolloutOutcome.TOO_SOON
        found.clock.advance(1)
        assert found.act().outcome is RolloutOutcome.STARTED
        found.double.change(found.path, lambda thing: args_of(thing).__setitem__(3, CONFIG))
        assert found.act().outcome is RolloutOutcome.REVERTED
        found.clock.advance(24 * HOUR)
        assert "96 h after 2 setbacks" in found.act().sentence


def test_a_settled_text_that_somebody_replaced_together_with_our_annotations_is_noticed(tmp_path: Path) -> None:
    """`kubectl replace` takes the record away; this process still knows."""
    with bench(tmp_path) as found:
        rolled(found)
        found.clock.advance(600)
        found.act(later(1200))

        def replaced(thing: dict[str, Any]) -> None:
            del thing["metadata"]["annotations"]
            args_of(thing)[3] = CONFIG

        found.double.change(found.path, replaced)
        assert found.act().outcome is RolloutOutcome.REVERTED
        assert found.phase == "reverted"


def test_a_text_that_rollout_undo_put_back_together_with_older_annotations_is_noticed(tmp_path: Path) -> None:
    """`kubectl rollout undo` restores both, so that the workload itself looks as if nothing had been changed."""
    with bench(tmp_path, settle_seconds=0.0) as found:
        rolled(found)
        assert found.act(later(1200)).outcome is RolloutOutcome.SETTLED
        older = copy.deepcopy(found.workload["metadata"]["annotations"])
        found.clock.advance(6 * HOUR)
        assert found.act(replace(CHANGE, schedule=((1, 256, 1),))).outcome is RolloutOutcome.STARTED

        def undo(thing: dict[str, Any]) -> None:
            thing["metadata"]["annotations"] = older
            args_of(thing)[3] = AFTER

        found.double.change(found.path, undo)
        assert found.act(HOLD).outcome is RolloutOutcome.REVERTED
        assert (config_of(found.workload), found.phase) == (AFTER, "reverted")
        found.finish()
        found.clock.advance(6 * HOUR)
        assert "24 h after one setback" in found.act(replace(CHANGE, schedule=((1, 256, 1),))).sentence


@pytest.mark.parametrize("characters", ["a && b > c <d", "caf\xe9 \u4f60 \u2028 \U0001f600", '\t"\\'])
def test_a_script_of_any_characters_is_edited_and_restored(tmp_path: Path, characters: str) -> None:
    """A JSON patch's test compares literals: each character has to be written as the API server writes it."""
    script = f"echo '{characters}' && exec vllm serve m --speculative-config '{CONFIG}' 2>&1\n"
    with bench(tmp_path, deployment(container(command=["bash", "-c"], args=[script]))) as found:
        assert found.act().outcome is RolloutOutcome.STARTED
        assert args_of(found.workload) == [script.replace(CONFIG, AFTER)]
        found.fail()
        assert found.act(HOLD).outcome is RolloutOutcome.ROLLING_BACK
        assert args_of(found.workload) == [script]


def test_a_change_of_another_part_of_the_arguments_is_not_a_revert(tmp_path: Path) -> None:
    """People may go on editing their workload."""
    with bench(tmp_path) as found:
        rolled(found)
        found.double.change(found.path, lambda thing: args_of(thing).append("--enforce-eager"))
        assert found.act(HOLD).outcome is RolloutOutcome.SETTLING


def test_a_dry_run_is_judged_by_the_api_server_and_stores_nothing(tmp_path: Path) -> None:
    """No Lease, no Event, no change, and the patch to look at."""
    with bench(tmp_path, dry_run=True) as found:
        before = copy.deepcopy(found.double.objects)
        result = found.act()
        assert result.outcome is RolloutOutcome.DRY_RUN
        assert json.dumps(result.patch)
        assert result.edit is not None
        assert result.edit.after == AFTER
        assert found.double.objects == before
        assert [each.verb for each in found.double.sent] == ["get", "patch"]
        assert found.double.sent[1].query["dryRun"] == "All"


@pytest.mark.parametrize("action", [Action.HOLD, Action.PROBE, Action.ROLL_BACK])
def test_only_a_decision_to_change_restarts_servers(tmp_path: Path, action: Action) -> None:
    """A probe lasts for windows; a restart costs more than it can teach."""
    with bench(tmp_path) as found:
        assert found.act(replace(CHANGE, action=action)).outcome is RolloutOutcome.NOTHING_TO_DO
        assert [each.verb for each in found.double.sent] == ["get"]


def test_an_idle_actuator_looks_once_a_minute(tmp_path: Path) -> None:
    """Another replica may have died within a change."""
    with bench(tmp_path) as found:
        for _ in range(7):
            found.act(HOLD)
            found.clock.advance(10)
        assert len(found.double.sent) == 2


def test_a_change_that_does_not_pay_for_its_restarts_is_not_made(tmp_path: Path) -> None:
    """With both amounts, so that the settings can be judged."""
    with bench(tmp_path, startup_seconds=600.0) as found:
        result = found.act(replace(CHANGE, gain=Bounded(1.06, 1.05, 1.07)))
        assert result.outcome is RolloutOutcome.NOT_WORTH_A_RESTART
        assert "gains 2,160,000 tokens in 6 h" in result.sentence
        assert "cost up to 2,400,000" in result.sentence
        assert found.act().outcome is RolloutOutcome.STARTED


def test_a_config_of_many_lines_is_told_in_one_and_restored_as_it_was(tmp_path: Path) -> None:
    """YAML block scalars make such texts."""
    text = '{\n  "method": "eagle",\n  "num_speculative_tokens": 5\n}\n'
    with bench(tmp_path, deployment(container(text))) as found:
        results = [found.act()]
        assert '"num_speculative_tokens": 5,\n  "num_speculative_tokens_per_batch_size"' in config_of(found.workload)
        found.fail()
        results.append(found.act(HOLD))
        assert config_of(found.workload) == text
        assert [each.outcome for each in results] == [RolloutOutcome.STARTED, RolloutOutcome.ROLLING_BACK]
        assert all(each.sentence.isprintable() and not each.sentence.endswith("..") for each in results)
        assert all(event["note"].isprintable() for event in found.double.events())


def test_a_change_without_prices_is_not_made(tmp_path: Path) -> None:
    """There is nothing to hold the cost against."""
    with bench(tmp_path) as found:
        result = found.act(replace(CHANGE, scores=()))
        assert result.outcome is RolloutOutcome.NOTHING_TO_DO
        assert "no prices" in result.sentence


def test_k0_everywhere_is_a_schedule_of_zeros(tmp_path: Path) -> None:
    """Speculation is never removed."""
    with bench(tmp_path) as found:
        off = replace(CHANGE, action=Action.DISABLE, k=0, schedule=((1, 256, 0),))
        assert found.act(off).outcome is RolloutOutcome.STARTED
        assert json.loads(config_of(found.workload))["num_speculative_tokens_per_batch_size"] == [[1, 256, 0]]
        assert json.loads(config_of(found.workload))["num_speculative_tokens"] == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"config": '{"method": "suffix", "num_speculative_tokens": 5}'}, "suffix cannot run a schedule"),
        ({"args": ["--speculative-config", CONFIG, "--data-parallel-size=2"]}, "under data parallelism"),
    ],
)
def test_k0_without_a_schedule_is_left_to_people(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """And k above 0 is the one number that is left."""
    with bench(tmp_path, deployment(container(**fields))) as found:
        result = found.act(replace(CHANGE, action=Action.DISABLE, k=0))
        assert result.outcome is RolloutOutcome.NOT_POSSIBLE
        assert words in result.sentence
        result = found.act()
        assert result.outcome is RolloutOutcome.STARTED
        assert result.edit is not None
        assert result.edit.after == result.edit.before.replace(": 5", ": 2")


def test_a_server_that_has_the_config_already_is_not_restarted_again(tmp_path: Path) -> None:
    """Something else overrules it."""
    with bench(tmp_path, deployment(container(AFTER))) as found:
        result = found.act()
        assert result.outcome is RolloutOutcome.NOTHING_TO_DO
        assert "look at its log" in result.sentence


def test_a_server_of_several_engines_is_left_alone(tmp_path: Path) -> None:
    """One text cannot hold two decisions."""
    with bench(tmp_path) as found:
        actuator: RolloutActuator = found.actuator
        actuator.act("m", "1", HOLD)
        assert actuator.act("m", "0", CHANGE).outcome is RolloutOutcome.NOT_POSSIBLE
        found.clock.advance(301)
        assert actuator.act("m", "0", CHANGE).outcome is RolloutOutcome.STARTED


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"adaptive-k.io/last-change": "yesterday"}, "adaptive-k.io/changes-today"),
        ({"adaptive-k.io/phase": "dancing"}, "adaptive-k.io/"),
    ],
)
def test_a_damaged_record_stops_every_change(tmp_path: Path, annotations: dict[str, str], words: str) -> None:
    """A guess might restart servers every ten seconds."""
    with bench(tmp_path) as found:
        found.double.change(found.path, lambda thing: thing["metadata"].__setitem__("annotations", annotations))
        result = found.act()
        assert result.outcome is RolloutOutcome.RECORD_UNREADABLE
        assert words in result.sentence
        found.double.change(found.path, lambda thing: thing["metadata"].pop("annotations"))
        assert found.act().outcome is RolloutOutcome.STARTED


def test_an_event_that_cannot_be_written_is_a_warning_and_nothing_else(tmp_path: Path) -> None:
    """Events are for people; the change is recorded on the workload."""
    with bench(tmp_path) as found:
        found.double.faults.append(Fault("create", status(403, "events is forbidden"), about="/events"))
        result = found.act()
        assert result.outcome is RolloutOutcome.STARTED
        (warning,) = result.warnings
        assert "events is forbidden" in warning


@pytest.mark.parametrize("args", [["serve"], ["serve", "-sc", "1", "-sc", "2"]])
def test_a_change_whose_argument_somebody_took_away_is_left_to_them(tmp_path: Path, args: list[str]) -> None:
    """It is over, the Lease is given back, and nobody waits for a rollout that will not end."""
    with bench(tmp_path) as found:
        assert found.act().outcome is RolloutOutcome.STARTED

        def edit(thing: dict[str, Any]) -> None:
            thing["spec"]["template"]["spec"]["containers"][0]["args"] = args

        found.double.change(found.path, edit)
        assert found.act(HOLD).outcome is RolloutOutcome.REVERTED
        assert found.phase == "reverted"
        assert found.act(HOLD).outcome is RolloutOutcome.NOTHING_TO_DO


def test_engines_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """A model may be served under another name with every start."""
    with bench(tmp_path) as found:
        for number in range(20):
            found.clock.advance(301.0)
            assert found.actuator.act(f"model-{number}", "0", HOLD).outcome is RolloutOutcome.NOTHING_TO_DO
        assert len(found.actuator._engines) == 1
