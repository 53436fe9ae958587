"""The whole loop in apply mode beside a simulated server: what it does to the engine, whatever happens to either."""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from controlled import OWNER, POLICY, TOKEN, Fault, Served, Sidecar
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import ConnectTimeoutError, ProtocolError

from controller.act.actuator import Outcome
from controller.checkpoint import Checkpoint
from controller.cycle import Cycle, EngineCycle
from controller.decide.decision import Action
from controller.decide.schedule import k_at
from controller.observe.plugin import PATH
from controller.reason import Reason
from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.step_cost import StepCost

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.timeout(600)  # simulated hours: a busy machine takes minutes over some of them

METRICS: Final = "/metrics"
HOLDING: Final = {Outcome.HELD, Outcome.RENEWED}


def traffic(*phases: tuple[float, str, int], **changes: Any) -> Scenario:
    """Streams of one workload from a time on: (seconds, workload, streams)."""
    known = tuple(Phase(start, ((name, 1.0),), concurrency=streams) for start, name, streams in phases)
    return replace(SCENARIOS["steady-code"], phases=known, **changes)


CODE: Final = traffic((0, "code", 4))
PROSE: Final = traffic((0, "prose", 4))
RANDOM: Final = traffic((0, "random", 4))


def beside(scenario: Scenario | str, folder: Path, **options: Any) -> Sidecar:
    """A sidecar in apply mode beside a fresh server."""
    return Sidecar(Served(scenario, folder), **options)


def engines(cycles: Iterable[Cycle]) -> list[EngineCycle]:
    """The one engine, pass by pass."""
    return [cycle.engines[0] for cycle in cycles if cycle.engines]


def probes(cycles: Iterable[Cycle]) -> int:
    """Passes in which something was only measured."""
    return sum(engine.decision.action is Action.PROBE for engine in engines(cycles))


def best_k(served: Served) -> int:
    """By the truth, for the traffic that arrives now."""
    return served.engine.phase_truth().best_k(max(1, served.engine.running), served.engine.k_max)


# What it is for.


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sudden_switch_of_traffic_is_followed_within_a_minute(seed: int, tmp_path: Path) -> None:
    """From the one best k to the other, and it stays there."""
    served = Served(traffic((0, "code", 4), (300, "prose", 4)), tmp_path, seed=seed)
    sidecar = Sidecar(served, seed=seed)
    sidecar.until(299)
    before = best_k(served)
    assert served.k == before
    sidecar.until(360)
    after = best_k(served)
    assert after < before - 1
    assert abs(served.k - after) <= 1
    later = sidecar.until(600)
    assert abs(served.k - after) <= 1
    assert engines(later)[-1].workloads[0].name == "prose"  # counted on while a schedule is held


def test_drafts_that_never_come_true_are_not_made_and_are_made_again_when_they_would(tmp_path: Path) -> None:
    """k=0 in one window; back within the jittered time of a probe, which is the only drafting until then."""
    sidecar = beside(traffic((0, "random", 4), (600, "code", 4)), tmp_path)
    served = sidecar.served
    sidecar.until(40)
    assert served.k == 0
    off = sidecar.until(599)
    assert 0 < probes(off) <= len(off) // 4
    assert {engine.decision.reason for engine in engines(off)} == {
        Reason.BEST_ALREADY,
        Reason.PROBING_OUT_OF_K0,
        Reason.PROBE_ENDED,
    }
    sidecar.until(900)
    assert served.k >= best_k(served) - 1 >= 3


class DearWithoutDrafts:
    """Costs of an engine whose steps at k=0 take three times as long as any model would expect."""

    def __init__(self, cost: StepCost) -> None:
        self._cost = cost

    def expected_seconds(self, batch: int, k: int, *rest: float) -> float:
        """Of one step."""
        return self._cost.expected_seconds(batch, k, *rest) * (1.0 if k else 3.0)


def test_a_k_that_turns_out_slower_than_expected_is_left_again_and_stays_left(tmp_path: Path) -> None:
    """Within a minute; nothing but what was measured speaks against it."""
    sidecar = beside(RANDOM, tmp_path)
    served = sidecar.served
    served.engine.cost = DearWithoutDrafts(served.engine.cost)  # type: ignore[assignment]
    sidecar.until(12)
    assert served.k == 0
    sidecar.until(60)
    assert served.k > 0
    for second in range(61, 361):
        sidecar.until(second)
        assert served.k > 0


def test_k_in_force_is_what_the_loop_says_pass_by_pass(tmp_path: Path) -> None:
    """The engine's own schedule is the one that was wanted, with probes and without."""
    sidecar = beside(traffic((0, "code", 4), (120, "prose", 4)), tmp_path)
    seen = set()
    for second in range(300):
        for engine in engines(sidecar.until(second)):
            assert engine.control is not None
            assert engine.control.wanted == sidecar.served.engine.schedule
            assert engine.control.speculation is not None
            assert engine.control.speculation.schedule == sidecar.served.engine.schedule
            seen.add(engine.decision.action)
    assert seen >= {Action.HOLD, Action.PROBE, Action.CHANGE}


@pytest.mark.parametrize(("allowed", "ks"), [(False, {0, 5}), (True, set(range(6)))])
def test_a_k_without_a_captured_graph_runs_only_where_the_operator_accepts_it(
    allowed: bool, ks: set[int], tmp_path: Path
) -> None:
    """Neither as a change nor as a probe, at any batch size; with the operator's leave as any other."""
    served = Served(PROSE, tmp_path)
    served.faults[PATH] = lies_about(served, k_with_graph=[0, 5])
    wanted = [
        engine.control.wanted
        for engine in engines(Sidecar(served, allow_k_without_graph=allowed).until(200))
        if engine.control
    ]
    ran = {k for schedule in wanted for _, _, k in schedule}
    assert ran <= ks
    assert allowed == bool(ran - {0, 5})


def test_every_workload_is_told_its_own_best_k(tmp_path: Path) -> None:
    """What the mix costs each: nothing where it agrees, and something where it does not."""
    engine = beside("mixed-workloads", tmp_path).engine(200)
    told = {each.name: each for each in engine.workloads}
    assert told.keys() == {"code", "chat", "summary"}
    assert sum(each.share for each in told.values()) == pytest.approx(1.0)
    assert len({each.k_best for each in told.values()}) > 1
    k = engine.decision.k
    for each in told.values():
        assert (each.cost_of_mix == 0) == (each.k_best == k)


def test_equal_servers_and_equal_chance_make_equal_decisions(tmp_path: Path) -> None:
    """Pass by pass; with other chance, probes come at other times."""
    scenario = traffic((0, "random", 4), (150, "code", 4))

    def played(seed: int) -> list[tuple[Any, ...]]:
        return [
            (cycle.at_unix_seconds, engine.decision, engine.acted)
            for cycle in beside(scenario, tmp_path, seed=seed).until(300)
            for engine in cycle.engines
        ]

    assert played(0) == played(0) != played(1)


# What is held.


def test_a_schedule_is_renewed_while_passes_go_on_also_when_nobody_sends_anything(tmp_path: Path) -> None:
    """Ten times the time to live; then the passes stop, and the launch schedule is back by its end."""
    sidecar = beside(traffic((0, "prose", 4), (100, "prose", 0), (1300, "prose", 4)), tmp_path)
    served = sidecar.served
    sidecar.until(130)
    held = served.engine.schedule
    assert held != served.engine.launch_schedule
    cycles = sidecar.until(1290)
    assert {engine.acted.outcome for engine in engines(cycles)} == HOLDING
    assert {engine.decision.reason for engine in engines(cycles)} == {Reason.IDLE}
    assert (served.told()["owner"], served.engine.schedule) == (OWNER, held)
    served.server.advance_to(sidecar.passed_at_seconds + 79)
    assert served.engine.schedule == held
    served.server.advance_to(sidecar.passed_at_seconds + 122)
    assert (served.told()["owner"], served.engine.schedule) == (None, served.engine.launch_schedule)


def test_after_a_restart_of_the_server_the_wanted_schedule_is_applied_again(tmp_path: Path) -> None:
    """In the first pass that reaches it, as another boot; what was learnt is kept."""
    sidecar = beside(replace(PROSE, events=(Event(200, "restart", down_seconds=25),)), tmp_path)
    served = sidecar.served
    sidecar.until(199)
    held, boot = served.engine.schedule, served.told()["boot_id"]
    assert held != served.engine.launch_schedule
    down = sidecar.until(224)
    assert [cycle.failure.reason for cycle in down if cycle.failure] == [Reason.SERVER_ERROR] * len(down)
    (first,) = engines(sidecar.until(234))
    assert first.acted.outcome is Outcome.APPLIED
    assert [failure.reason for failure in (first.failure,) if failure] == [Reason.SERVER_RESTARTED]
    assert served.told()["boot_id"] != boot
    assert served.engine.schedule == held
    sidecar.until(400)
    assert abs(served.k - best_k(served)) <= 1


def test_a_reset_by_somebody_else_is_respected_for_a_while(tmp_path: Path) -> None:
    """The launch schedule rules, decisions say so, and afterwards control resumes without being told."""
    sidecar = beside(PROSE, tmp_path, stand_down_seconds=120)
    served = sidecar.served
    sidecar.until(100)
    assert served.engine.schedule != served.engine.launch_schedule
    assert served.ask("DELETE").status_code == 200
    out = sidecar.until(215)
    assert {engine.decision.reason for engine in engines(out)} == {Reason.STOOD_DOWN}
    assert {engine.acted.outcome for engine in engines(out)} == {Outcome.NOTHING_TO_DO}
    assert {engine.control.wanted for engine in engines(out) if engine.control} == {()}
    assert "keeps out for 120 more seconds" in engines(out)[0].decision.sentence
    assert (served.told()["owner"], served.engine.schedule) == (None, served.engine.launch_schedule)
    sidecar.until(300)
    assert served.told()["owner"] == OWNER
    assert abs(served.k - best_k(served)) <= 1


def test_the_end_of_a_time_to_live_is_no_reset(tmp_path: Path) -> None:
    """A sidecar that was held up for longer takes its schedule up again at once."""
    sidecar = beside(PROSE, tmp_path)
    served = sidecar.served
    sidecar.until(100)
    held = served.engine.schedule
    served.server.advance_to(300)
    assert served.told()["owner"] is None
    sidecar.until(300)
    assert (served.told()["owner"], served.engine.schedule) == (OWNER, held)


def test_frozen_what_is_held_stays_held_and_nothing_changes(tmp_path: Path) -> None:
    """Although the traffic does; thawed, it is followed."""
    sidecar = beside(traffic((0, "prose", 4), (200, "code", 4)), tmp_path)
    served = sidecar.served
    sidecar.until(150)
    sidecar.frozen = True
    sidecar.until(160)
    held = served.engine.schedule
    assert held != served.engine.launch_schedule
    cycles = sidecar.until(600)
    assert {engine.decision.reason for engine in engines(cycles)} == {Reason.FROZEN}
    assert {engine.acted.outcome for engine in engines(cycles)} == HOLDING
    assert all(engine.control is not None and engine.control.frozen for engine in engines(cycles))
    assert (served.told()["owner"], served.engine.schedule) == (OWNER, held)
    sidecar.frozen = False
    sidecar.until(700)
    assert served.k > 3


def probing(sidecar: Sidecar) -> bool:
    """Whether a probe runs."""
    (learnt,) = sidecar.loop.learnt.values()
    return learnt.course.probe is not None


def until_a_probe(sidecar: Sidecar) -> int:
    """Passes until one runs; the second it began in."""
    return next(second for second in range(1, 300) if sidecar.until(second) and probing(sidecar))


def idle_in_a_probe(folder: Path) -> Scenario:
    """Text that no drafter can guess, until a probe out of k=0 runs; then nobody sends anything until second 800."""
    folder.mkdir()
    sidecar = beside(RANDOM, folder)
    sidecar.until(40)
    stops = until_a_probe(sidecar) + 1
    return traffic((0, "random", 4), (stops, "random", 0), (800, "random", 4))


@pytest.mark.parametrize("idle", [False, True], ids=["busy", "idle"])
def test_to_freeze_ends_a_probe(idle: bool, tmp_path: Path) -> None:
    """In the next pass, whether or not anybody sends something then; and passes come at their usual pace again."""
    sidecar = beside(idle_in_a_probe(tmp_path / "before") if idle else CODE, tmp_path)
    sidecar.until(40 if idle else 0)
    seconds = until_a_probe(sidecar)
    (learnt,) = sidecar.loop.learnt.values()
    home = learnt.course.home
    assert sidecar.served.engine.schedule != home
    sidecar.frozen = True
    next_pass = next(cycles for second in range(seconds + 1, seconds + 20) if (cycles := sidecar.until(second)))
    assert len(next_pass) == 1
    assert sidecar.served.engine.schedule == home
    assert sidecar.loop.pause_seconds(10.0) == 10.0


def test_a_schedule_that_the_engine_ignores_is_told(tmp_path: Path) -> None:
    """By the engine's own counters, whatever the plugin believes."""
    sidecar = beside(PROSE, tmp_path)
    served = sidecar.served
    launched = served.engine.launch_schedule
    obeys = served.engine.set_schedule
    served.engine.set_schedule = lambda _: obeys(launched)  # type: ignore[method-assign,assignment]
    found = [engine.control.applied for engine in engines(sidecar.until(100)) if engine.control]
    assert served.told()["schedule"] != [list(each) for each in launched]
    assert found[0] is None
    assert False in found
    assert all(applied is False for applied in found[found.index(False) :])


# What others do.


def test_what_another_owner_holds_is_left_alone_and_each_pass_says_so(tmp_path: Path) -> None:
    """The recommendation goes on, about the other's schedule."""
    sidecar = beside(PROSE, tmp_path)
    served = sidecar.served
    served.hold(5, "somebody")
    cycles = sidecar.until(200)
    found = engines(cycles)
    assert {engine.acted.outcome for engine in found} == {Outcome.FAILED}
    assert {engine.acted.reason for engine in found} == {Reason.PLUGIN_CONFLICT}
    assert all("somebody holds a schedule" in engine.acted.message for engine in found)
    assert (served.told()["owner"], served.engine.schedule) == ("somebody", ((1, 256, 5),))
    assert all(cycle.failure is None for cycle in cycles)
    assert found[-1].decision.k_best is not None
    assert abs(found[-1].decision.k_best - best_k(served)) <= 1


@pytest.mark.parametrize("frozen", [True, False])
def test_what_another_owner_gives_back_is_not_kept_up_in_its_stead(frozen: bool, tmp_path: Path) -> None:
    """The launch schedule is in force again, or what is decided from there."""
    sidecar = beside(CODE, tmp_path)
    served = sidecar.served
    served.hold(1, "somebody", ttl_seconds=100)
    sidecar.until(95)
    sidecar.frozen = frozen
    sidecar.until(115)
    assert served.told()["owner"] != "somebody"
    assert served.k == 5
    if frozen:
        assert (served.told()["owner"], served.engine.schedule) == (None, ((1, 256, 5),))


def test_of_two_sidecars_one_holds_and_the_other_says_so(tmp_path: Path) -> None:
    """Neither ever takes the other's schedule away."""
    served = Served(PROSE, tmp_path)
    one, other = Sidecar(served), Sidecar(served, owner="the-other")
    owners = set()
    for second in range(0, 200, 5):
        for sidecar in (one, other):
            sidecar.until(second)
            owners.add(served.told()["owner"])
    assert len(owners - {None}) == 1


def test_a_wrong_token_leaves_the_recommendation(tmp_path: Path) -> None:
    """Nothing changes, each pass says why, and the decision is made all the same."""
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token-of-somebody", "utf-8")
    sidecar = beside(RANDOM, tmp_path, tokens=wrong)
    served = sidecar.served
    found = engines(sidecar.until(100))
    assert served.engine.schedule == served.engine.launch_schedule
    assert served.told()["generation"] == 0
    assert {engine.acted.reason for engine in found[1:]} == {Reason.PLUGIN_REFUSES}
    assert found[-1].decision.k_best == 0
    assert k_at(found[-1].decision.schedule, 4) == 0
    assert not any(TOKEN in engine.acted.message or "another-token" in engine.acted.message for engine in found)


def test_a_token_file_that_is_gone_is_told_with_its_own_option(tmp_path: Path) -> None:
    """As a failure to act: it is not the server's page that could not be read."""
    sidecar = beside(RANDOM, tmp_path, tokens=tmp_path / "gone")
    cycles = sidecar.until(60)
    assert all(cycle.failures == () for cycle in cycles)
    assert {engine.acted.reason for engine in engines(cycles)} == {Reason.PLUGIN_REFUSES}
    assert engines(cycles)[-1].acted.message.endswith("give a readable file with --plugin-token-file.")
    assert engines(cycles)[-1].decision.k_best == 0


def test_without_the_plugin_it_says_what_to_install_and_recommends(tmp_path: Path) -> None:
    """Status 404, in each pass."""
    sidecar = beside(RANDOM, tmp_path)
    sidecar.served.faults[PATH] = answers(b'{"detail":"Not Found"}', "404 Not Found")
    found = engines(sidecar.until(100))
    assert {engine.acted.reason for engine in found} == {Reason.PLUGIN_MISSING}
    assert "adaptive-k-vllm" in found[-1].acted.message
    assert found[-1].decision.action in (Action.DISABLE, Action.HOLD)
    assert found[-1].decision.k_best == 0


def test_where_k_cannot_be_changed_it_says_why_and_recommends(tmp_path: Path) -> None:
    """In each pass in which a change is wanted."""
    sidecar = beside(replace(RANDOM, method="suffix"), tmp_path)
    served = sidecar.served
    found = engines(sidecar.until(100))
    assert served.engine.schedule == served.engine.launch_schedule
    assert found[-1].acted.reason is Reason.PLUGIN_READ_ONLY
    assert "asynchronous scheduling" in found[-1].acted.message
    assert "--mode recommend" in found[-1].acted.message
    assert found[-1].decision.k_best == 0


def test_a_plugin_that_does_not_answer_costs_nothing_but_the_change(tmp_path: Path) -> None:
    """The page is judged; what is held runs out; when the plugin answers again, the schedule is back."""
    sidecar = beside(PROSE, tmp_path)
    served = sidecar.served
    sidecar.until(100)
    held = served.engine.schedule
    served.faults[PATH] = raises(ConnectTimeoutError("no answer"))
    cycles = sidecar.until(260)
    assert {engine.acted.reason for engine in engines(cycles)} == {Reason.PLUGIN_UNREACHABLE}
    assert all(cycle.failures == () for cycle in cycles)
    assert served.engine.schedule == served.engine.launch_schedule != held
    served.faults.clear()
    sidecar.until(300)
    assert served.told()["owner"] == OWNER
    assert abs(served.k - best_k(served)) <= 1


def test_a_long_name_of_the_owner_is_its_own(tmp_path: Path) -> None:
    """128 characters are allowed, and compared in full."""
    sidecar = beside(PROSE, tmp_path, owner="a" * 128)
    found = engines(sidecar.until(200))
    assert {engine.acted.reason for engine in found} == {None}
    assert sidecar.served.told()["owner"] == "a" * 128


def test_when_only_recommending_the_plugin_is_read_and_nothing_is_changed(tmp_path: Path) -> None:
    """Workloads are told apart, and the schedule stays as launched, without an owner."""
    served = Served("mixed-workloads", tmp_path)
    sidecar = Sidecar(served, applying=False)
    engine = sidecar.engine(100)
    assert {each.name for each in engine.workloads} == {"code", "chat", "summary"}
    assert engine.control is None
    told = served.told()
    assert (told["owner"], told["generation"], served.engine.schedule) == (None, 0, served.engine.launch_schedule)


# When nothing is explored.


def test_a_budget_of_0_never_explores(tmp_path: Path) -> None:
    """Not even what is expected to cost nothing, nor out of k=0."""
    nothing = replace(POLICY, exploration_budget=0.0)
    for scenario in (CODE, PROSE, RANDOM):
        assert (
            probes(beside(scenario, tmp_path, policy=nothing).until(250))
            == 0
            < probes(beside(scenario, tmp_path).until(250))
        )


def test_while_requests_wait_nothing_is_explored(tmp_path: Path) -> None:
    """Four streams decode, and twice as many clients are there."""
    crowded = replace(traffic((0, "code", 8)), max_num_seqs=4)
    roomy = replace(traffic((0, "code", 4)), max_num_seqs=4)
    assert probes(beside(crowded, tmp_path).until(200)) == 0 < probes(beside(roomy, tmp_path).until(200))


def test_while_the_target_is_missed_nothing_is_explored(tmp_path: Path) -> None:
    """A time per output token that no k can reach."""
    missed = replace(POLICY, pressure_seconds=1e-4)
    met = replace(POLICY, pressure_seconds=1.0)
    assert probes(beside(CODE, tmp_path, policy=missed).until(200)) == 0
    assert probes(beside(CODE, tmp_path, policy=met).until(200)) > 0


def test_the_rest_of_a_server_during_a_probe_is_not_charged_to_exploration(tmp_path: Path) -> None:
    """A probe that costs something begins, and then nobody sends anything for a while: nothing was lost by it."""
    sidecar = beside(idle_in_a_probe(tmp_path / "before"), tmp_path)
    sidecar.until(40)
    sidecar.until(until_a_probe(sidecar) + 20)
    assert probing(sidecar)
    engine = sidecar.engine(830)
    assert engine.decision.scores[1].gain_ratio < 0.99
    (learnt,) = sidecar.loop.learnt.values()
    assert learnt.course.account.seconds is not None
    assert learnt.course.account.seconds > 0


# Across restarts of the sidecar.


def test_a_restored_sidecar_goes_on_under_the_same_owner_without_warming_up_again(tmp_path: Path) -> None:
    """Its first pass goes on with what is held; its first window finds nothing to change."""
    served = Served(PROSE, tmp_path)
    first = Sidecar(served)
    first.until(300)
    held, generation = served.engine.schedule, served.told()["generation"]
    path = tmp_path / "checkpoint"
    Checkpoint(path, "simulated", first.clock).save(first.loop.learnt)
    second = Sidecar(served, offset_seconds=-5e6)
    second = Sidecar(served, offset_seconds=-5e6, restored=Checkpoint(path, "simulated", second.clock).read())
    found = engines(second.until(330))
    assert {engine.acted.outcome for engine in found} <= HOLDING
    assert served.told()["generation"] == generation
    assert served.engine.schedule == held
    assert found[1].decision.reason not in (Reason.NOT_ENOUGH_EVIDENCE, Reason.WARMING_UP)
    assert found[1].step_time is not None
    assert found[1].acceptance is not None
    assert found[1].acceptance.evidence_drafts > 3000


def test_a_restored_sidecar_applies_what_ran_out_in_the_meantime(tmp_path: Path) -> None:
    """The time to live ended while it was away."""
    served = Served(PROSE, tmp_path)
    first = Sidecar(served)
    first.until(200)
    held = served.engine.schedule
    served.server.advance_to(400)
    assert served.engine.schedule == served.engine.launch_schedule
    second = Sidecar(served, restored=first.loop.learnt)
    (engine,) = engines(second.until(401))
    assert engine.acted.outcome is Outcome.APPLIED
    assert served.engine.schedule == held


def test_a_sidecar_that_forgot_everything_takes_its_schedule_over_without_a_conflict(tmp_path: Path) -> None:
    """It is held under the same name."""
    served = Served(PROSE, tmp_path)
    Sidecar(served).until(200)
    held = served.engine.schedule
    (engine,) = engines(Sidecar(served).until(201))
    assert engine.acted.outcome in HOLDING
    assert served.engine.schedule == held


# Whatever the server does.


def answers(body: bytes, status: str = "200 OK") -> Fault:
    """Another body, with another status."""

    def answer(_: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        start(status, [("Content-Type", "application/json"), ("Location", "http://elsewhere/")])
        return [body]

    return answer


def raises(error: Exception) -> Fault:
    """No answer."""

    def answer(_: "WSGIEnvironment", __: "StartResponse") -> Iterable[bytes]:
        raise error

    return answer


def lies_about(served: Served, **lie: Any) -> Fault:
    """The plugin's own answer, but for some fields."""

    def answer(environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        document = json.loads(b"".join(served.server.application(environment, lambda *_: lambda _: None)))
        return answers(json.dumps(document | lie).encode())(environment, start)

    return answer


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
BRANCHES = st.lists(LEAVES, max_size=4) | st.dictionaries(st.text(max_size=12), LEAVES, max_size=4)
JSON = LEAVES | BRANCHES | st.lists(BRANCHES, max_size=4)
STATUSES = (
    "200 OK",
    "204 No Content",
    "302 Found",
    "401 Unauthorized",
    "404 Not Found",
    "409 Conflict",
    "500 Oh",
    "503 No",
)
FAULTS = st.one_of(
    st.builds(answers, st.binary(max_size=200), st.sampled_from(STATUSES)),
    st.sampled_from([ProtocolError("reset"), ConnectTimeoutError("slow"), OSError("odd")]).map(raises),
)
DONE_TO = st.sampled_from(["metrics", "plugin", "both", "nothing", "reset", "another owner", "freeze", "time"])


SCRIPTS = st.lists(st.tuples(DONE_TO, FAULTS, st.integers(1, 130)), max_size=6)


@given(SCRIPTS, st.integers(0, 3))
@settings(max_examples=4)
def test_no_pass_raises_and_control_comes_back_whatever_the_server_does(
    script: list[tuple[str, Fault, int]], seed: int
) -> None:
    """Faults of every kind, then a healthy server: within a few minutes all is as if nothing had been."""
    nothing_raises_and_control_comes_back(script, seed)


@pytest.mark.slow
@given(SCRIPTS, st.integers(0, 3))
@settings(max_examples=20)
def test_no_pass_raises_and_control_comes_back_whatever_many_servers_do(
    script: list[tuple[str, Fault, int]], seed: int
) -> None:
    """Five times as many scripts."""
    nothing_raises_and_control_comes_back(script, seed)


def nothing_raises_and_control_comes_back(script: list[tuple[str, Fault, int]], seed: int) -> None:
    """Play the script, then leave the server alone."""
    with tempfile.TemporaryDirectory() as folder:
        served = Served(replace(PROSE, events=(Event(77, "restart", down_seconds=3),)), Path(folder), seed=seed)
        sidecar = Sidecar(served, seed=seed, stand_down_seconds=60)
        now = 0.0
        for what, fault, seconds in script:
            served.faults.clear()
            sidecar.frozen = what == "freeze"
            served.faults |= {METRICS: fault} if what in ("metrics", "both") else {}
            served.faults |= {PATH: fault} if what in ("plugin", "both") else {}
            if what == "reset":
                served.ask("DELETE")
            if what == "another owner" and served.engine.is_up and served.told()["owner"] is None:
                served.hold(1, "somebody", ttl_seconds=30)
            if what == "time":
                served.server.advance_to(now + seconds)
            now += seconds
            for cycle in sidecar.until(now):
                assert all(engine.decision.sentence.isprintable() for engine in cycle.engines)
                assert all(failure.message.isprintable() for failure in cycle.failures)
        served.faults.clear()
        sidecar.frozen = False
        last = sidecar.until(now + 300)[-1]
        assert last.failures == ()
        assert last.engines[0].acted.reason is None
        assert served.told()["owner"] == OWNER
        assert abs(served.k - best_k(served)) <= 1


FIELDS = st.sampled_from(
    ["protocol", "boot_id", "generation", "owner", "method", "k_max", "max_num_seqs", "launch_schedule", "schedule",
     "expires_in_seconds", "writable", "read_only_because", "k_with_graph", "measured"]
)  # fmt: skip
RANGES = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400), st.integers(0, 9)), max_size=6)
ODD = st.one_of(JSON, RANGES, st.sampled_from([OWNER, "somebody", 0, 1, 4096, [], {}]))


@given(st.lists(st.dictionaries(FIELDS, ODD, max_size=4), min_size=1, max_size=4))
@settings(max_examples=15)
def test_no_document_of_the_plugin_makes_a_pass_raise(lies: list[dict[str, Any]]) -> None:
    """Fields that are missing nothing but the truth."""
    with tempfile.TemporaryDirectory() as folder:
        served = Served(PROSE, Path(folder))
        sidecar = Sidecar(served)
        for number, lie in enumerate(lies):
            served.faults[PATH] = lies_about(served, **lie)
            for cycle in sidecar.until(40 * (number + 1)):
                assert all(engine.acted.message.isprintable() for engine in cycle.engines)
