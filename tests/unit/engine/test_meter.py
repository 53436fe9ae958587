"""The hooks: what is read from a scheduler's steps, when a step began, and what happens when something is wrong."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from fake_vllm import K_MAX, MAX_NUM_SEQS, ManualTime, Row, config, fresh_vllm, run
from hypothesis import given
from hypothesis import strategies as st

from controller.engine import meter, plugin
from controller.engine.meter import IN_FLIGHT_MAX
from controller.engine.scheduler import Reins
from controller.engine.workloads import VARIABLE


class Served:
    """An engine with the plugin whose time and steps are told."""

    def __init__(self, method: str | None = "eagle", **changes: Any) -> None:
        engine, scheduler = fresh_vllm()
        plugin.install(engine, scheduler)
        self.time = ManualTime()
        self.engine = engine(scheduler(config(method, **changes)))
        self.scheduler = self.engine.scheduler
        reins = Reins(self.scheduler, clock=self.time)
        setattr(self.scheduler, plugin.REINS, reins)
        setattr(self.scheduler, plugin.METER, meter.begin(self.scheduler, reins) or False)

    def measured(self) -> dict[str, Any]:
        """What GET tells of the counts."""
        document: dict[str, Any] = self.engine.adaptive_k_speculation(plugin.GET_MEASURED)[1]["measured"]
        return document

    def step(self, *rows: Row, seconds: float = 0.02, rest: float = 0.0) -> None:
        """The engine rests, and then does one step."""
        self.time.seconds += rest
        self.scheduler.told.append(rows)
        output = self.scheduler.schedule()
        self.time.seconds += seconds
        self.scheduler.update_from_output(output, run(output))

    def put(self, k: int) -> None:
        """Hold one k for every batch size."""
        seen = self.engine.adaptive_k_speculation("GET")[1]
        expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
        wanted = {"ranges": [[1, MAX_NUM_SEQS, k]], "ttl_seconds": 60, "owner": "a", **expected}
        assert self.engine.adaptive_k_speculation("PUT", wanted)[0] == 200


def decode(*ids: str, drafts: int = K_MAX, accepted: int = 1) -> tuple[Row, ...]:
    """Rows of requests that all decode."""
    return tuple(Row(each, drafts=drafts, accepted=accepted) for each in ids)


def test_the_counts_are_those_that_vllm_makes_of_the_same_steps() -> None:
    """Drafts that a grammar ruled out are not drafted; a verification of none left is no draft."""
    served = Served()
    served.scheduler.add("x", "chat")
    served.scheduler.add("y", "code")
    served.step(Row("x", drafts=4, accepted=3), Row("y", drafts=2, accepted=0))
    served.step(Row("x", drafts=4, accepted=1, invalid=2), Row("y", drafts=2, accepted=0, invalid=2))
    assert served.scheduler.stats == [[("x", 4, 3), ("y", 2, 0)], [("x", 2, 1), ("y", 0, 0)]]
    chat, code = served.measured()["workloads"]
    assert chat == {
        "name": "chat",
        "drafts": 2,
        "drafted": [2, 2, 1, 1],
        "judged": [2, 2, 1, 1],
        "accepted": [2, 1, 1, 0],
    }
    assert code == {"name": "code", "drafts": 1, "drafted": [1, 1, 0, 0], "judged": [1, 0, 0, 0], "accepted": [0] * 4}


def test_a_request_that_stops_in_a_step_verified_all_of_its_drafts() -> None:
    """Of what it accepted it may emit less, and is gone when the step is done, with its first verification."""
    served = Served()
    served.scheduler.add("x", "chat")
    served.step(Row("x", drafts=4, accepted=3, stops_after=2))
    assert served.scheduler.stats == [[("x", 4, 3)]]
    (chat,) = served.measured()["workloads"]
    assert (chat["drafted"], chat["accepted"]) == ([1] * 4, [1, 1, 1, 0])
    assert served.measured()["other_steps"]["tokens"] == 2


def test_a_request_that_fails_in_a_step_verified_nothing_in_it() -> None:
    """Nor does one that fails while it waits: vLLM tells of both in the outputs of the step."""
    served = Served()
    for each in "xyz":
        served.scheduler.add(each, "chat")
    served.scheduler.told.append(decode("x", "y"))
    output = served.scheduler.schedule()
    output.rows = (Row("z", fails=True), Row("x", drafts=4, accepted=1, fails=True), *decode("y"))
    served.scheduler.update_from_output(output, run(output))
    assert served.scheduler.stats == [[("y", 4, 1)]]
    (chat,) = served.measured()["workloads"]
    assert chat["drafted"] == [1] * 4


def test_a_request_that_was_preempted_is_still_the_same() -> None:
    """vLLM's V2 runner is told of it as of a new one."""
    served = Served()
    served.scheduler.add("x", "chat")
    served.step(*decode("x"))
    served.scheduler.requests["x"].sampling_params.extra_args["workload"] = "code"
    served.scheduler.forget("x")
    served.step(Row("x", prompt=9))
    served.step(*decode("x"))
    (chat,) = served.measured()["workloads"]
    assert (chat["name"], chat["drafts"]) == ("chat", 2)


ROWS = st.integers(0, K_MAX).flatmap(
    lambda drafts: st.builds(
        Row,
        request_id=st.sampled_from("uvwxyz"),
        drafts=st.just(drafts),
        accepted=st.integers(0, drafts),
        prompt=st.just(0) if drafts else st.sampled_from([0, 7]),
        stops_after=st.none() | st.integers(1, K_MAX + 1),
        fails=st.booleans(),
        client=st.integers(0, 1),
    )
)
STEP = st.lists(ROWS, max_size=6, unique_by=lambda row: row.request_id)
STEPS = st.lists(STEP, max_size=8)


def alike(row: Row, drafts: int) -> Row:
    """A row that decodes, and verifies so many drafts."""
    return replace(row, drafts=drafts, accepted=min(row.accepted, drafts), prompt=0)


ALIKE = st.lists(st.builds(lambda rows, drafts: [alike(row, drafts) for row in rows], STEP, st.integers(1, K_MAX)))


@given(
    steps=STEPS | ALIKE,
    aborted=st.sets(st.sampled_from("uvwxyz")),
    invalid=st.booleans(),
    workloads=st.integers(1, 2),
)
def test_whatever_the_requests_do_the_counts_are_vllms(
    steps: list[list[Row]], aborted: set[str], invalid: bool, workloads: int
) -> None:
    """By position, over all requests; those that stop or are aborted while the model runs are other ones afterwards.

    Whether those that are alike are counted together or one by one makes no difference.
    """
    told = []
    for together_min in (1, 1000):
        served = Served()
        with mock.patch.object(meter, "TOGETHER_MIN", together_min):
            for number, rows in enumerate(steps):
                now = [replace(row, invalid=row.drafts - row.accepted if invalid else 0) for row in rows]
                for row in now:
                    if row.request_id not in served.scheduler.requests:
                        served.scheduler.add(row.request_id, f"workload-{number % workloads}")
                served.scheduler.told.append(tuple(now))
                output = served.scheduler.schedule()
                if number == 1:
                    served.scheduler.finish(aborted & served.scheduler.requests.keys())
                served.scheduler.update_from_output(output, run(output))
        verified = [each for stats in served.scheduler.stats for each in stats or ()]
        told.append(served.measured())
        positions = range(1, K_MAX + 1)
        for key, expected in (
            ("drafted", [sum(drafted >= j for _, drafted, _ in verified) for j in positions]),
            ("accepted", [sum(accepted >= j for _, _, accepted in verified) for j in positions]),
        ):
            assert [sum(each[key][j - 1] for each in told[-1]["workloads"]) for j in positions] == expected
    assert told[0] == told[1]


def test_requests_that_are_alike_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked one by one, as long as one workload is served, and no reply ends."""
    monkeypatch.setattr(meter, "TOGETHER_MIN", 2)
    served = Served()
    for each in "xyz":
        served.scheduler.add(each, "chat")
    served.step(Row("x", drafts=4, accepted=3), Row("y", drafts=4, accepted=0), Row("z", drafts=4, accepted=3))
    ledger = served.scheduler._adaptive_k_meter._ledger
    monkeypatch.setattr(ledger, "verified_by_request", {})  # by which each would be asked
    served.step(Row("x", drafts=4, accepted=1), Row("y", drafts=4, accepted=4), Row("z", drafts=4, accepted=1))
    (chat,) = served.measured()["workloads"]
    assert (chat["drafts"], chat["accepted"]) == (6, [5, 3, 3, 1])


@pytest.mark.parametrize("k_max", [254, 255, 400])
@pytest.mark.parametrize("together_min", [1, 1000])
def test_drafts_longer_than_a_byte_tells_are_counted_too(
    k_max: int, together_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No method drafts so many, but nothing forbids it."""
    monkeypatch.setattr("fake_vllm.K_MAX", k_max)
    monkeypatch.setattr(meter, "TOGETHER_MIN", together_min)
    served = Served()
    for each in "xy":
        served.scheduler.add(each, "chat")
    served.step(Row("x", drafts=k_max, accepted=k_max), Row("y", drafts=k_max, accepted=0))
    (chat,) = served.measured()["workloads"]
    assert (chat["drafts"], chat["drafted"], chat["accepted"]) == (2, [2] * k_max, [1] * k_max)


def test_the_first_step_of_an_engine_is_counted_though_nobody_asked_before() -> None:
    """Counts are since the engine started, not since the first question."""
    engine, scheduler = fresh_vllm()
    plugin.install(engine, scheduler)
    served = engine(scheduler(config()))
    served.scheduler.add("x")
    served.scheduler.told.append((Row("x", prompt=7),))
    output = served.scheduler.schedule()
    served.scheduler.update_from_output(output, run(output))
    told = served.adaptive_k_speculation(plugin.GET_MEASURED)[1]["measured"]
    assert (told["other_steps"]["steps"], told["other_steps"]["tokens"]) == (1, 1)


def test_a_request_is_looked_up_once_and_forgotten_when_it_ends() -> None:
    """Another one under the same id is another one."""
    served = Served()
    served.scheduler.add("x", "chat")
    served.step(*decode("x"))
    served.scheduler.requests["x"].sampling_params.extra_args["workload"] = "code"
    served.step(*decode("x"))
    served.scheduler.finish(["x"])
    served.step()
    served.scheduler.add("x", "code")
    served.step(*decode("x"))
    assert {each["name"]: each["drafts"] for each in served.measured()["workloads"]} == {"chat": 2, "code": 1}


def test_a_label_an_adapter_or_the_model_name_a_workload() -> None:
    """And what is no label is other."""
    served = Served(served_model_name="org/tiny")
    for number, names in enumerate([("chat", None), (None, "lora"), (None, None), ("no label", None)]):
        served.scheduler.add(str(number), *names)
    served.step(*decode("0", "1", "2", "3"))
    assert [each["name"] for each in served.measured()["workloads"]] == ["chat", "lora", "org_tiny", "other"]


def test_while_the_engine_is_busy_a_step_lasts_from_the_end_of_the_one_before() -> None:
    """What lies between two steps of a busy engine, fetching drafts for one, is paid by each step."""
    served = Served()
    served.scheduler.add("x")
    served.step(Row("x", prompt=5), seconds=0.5)
    served.step(*decode("x"), seconds=0.02, rest=0.003)
    served.step(*decode("x"), seconds=0.02, rest=0.005)
    (steps,) = served.measured()["steps"]
    assert steps["steps"] == 2
    assert steps["seconds"] == pytest.approx(0.048)
    assert served.measured()["other_steps"] == {"steps": 1, "seconds": pytest.approx(0.5), "tokens": 1}


@pytest.mark.parametrize("rest", [0.4, 3600.0])
def test_idle_time_is_no_steps_time(rest: float) -> None:
    """After the last request ended, a step lasts since it was planned."""
    served = Served()
    served.scheduler.add("x")
    served.step(Row("x", prompt=5))
    served.step(*decode("x"))
    served.scheduler.finish(["x"])
    served.step(seconds=0.0)
    served.scheduler.add("y")
    served.step(Row("y", prompt=5), seconds=0.02, rest=rest)
    served.step(*decode("y"), seconds=0.02)
    told = served.measured()
    assert told["steps"][0]["seconds"] == pytest.approx(0.04)
    assert told["other_steps"]["seconds"] == pytest.approx(0.04)


def test_the_pause_of_a_paused_engine_is_no_steps_time() -> None:
    """Its requests still run, so only the length of the pause tells."""
    served = Served()
    served.scheduler.add("x")
    served.step(Row("x", prompt=5))
    served.step(*decode("x"), seconds=0.02)
    served.step(*decode("x"), seconds=0.02, rest=90.0)
    (steps,) = served.measured()["steps"]
    assert steps["seconds"] == pytest.approx(0.04)


def test_with_asynchronous_scheduling_each_step_keeps_its_own_batch_and_k() -> None:
    """Step n+1 is planned before step n is done: k changes in between, and n still counts as what it was."""
    served = Served()
    served.scheduler.add("x")
    served.scheduler.add("y")
    rows = [(Row("x", prompt=5), Row("y", prompt=5)), decode("x", "y"), decode("x", "y"), decode("x"), decode("x")]
    served.scheduler.told.extend([*rows, decode("x", drafts=1)])
    in_flight = [served.scheduler.schedule()]
    for number in range(1, 6):
        if number == 5:
            served.put(1)
        in_flight.append(served.scheduler.schedule())
        served.time.seconds += 0.01
        served.scheduler.update_from_output(in_flight[0], run(in_flight.pop(0)))
    served.time.seconds += 0.01
    served.scheduler.update_from_output(in_flight[0], run(in_flight.pop(0)))
    told = served.measured()
    assert [(each["batch_min"], each["k"], each["steps"]) for each in told["steps"]] == [(1, K_MAX, 2), (2, K_MAX, 2)]
    assert [each["seconds"] for each in told["steps"]] == pytest.approx([0.02, 0.02])
    assert told["other_steps"] == {"steps": 2, "seconds": pytest.approx(0.02), "tokens": 4}


@pytest.mark.parametrize("method", ["eagle", "suffix"])
def test_a_step_whose_k_is_not_that_of_the_step_before_is_another_matter(method: str) -> None:
    """Its drafts were proposed under the other k. That holds for a method whose drafts are cut, too."""
    served = Served(method)
    served.scheduler.add("x")
    served.step(Row("x", prompt=5))
    served.step(*decode("x"))
    served.put(2)
    served.step(*decode("x"))
    served.step(*decode("x", drafts=2))
    served.engine.adaptive_k_speculation("DELETE")
    served.step(*decode("x", drafts=2))
    served.step(*decode("x"))
    told = served.measured()
    assert [(each["k"], each["steps"]) for each in told["steps"]] == [(2, 1), (K_MAX, 2)]
    assert told["other_steps"]["steps"] == 3


def test_k_is_that_of_the_steps_own_batch() -> None:
    """As launched with a schedule; from two requests on it drafts less."""
    engine, scheduler = fresh_vllm()
    plugin.install(engine, scheduler)
    served = engine(scheduler(config(), [4, 4, 4, 1, 1, 1, 1, 1, 1]))
    for each in "abc":
        served.scheduler.add(each)
    served.scheduler.told.extend([decode("a"), decode("a"), decode(*"abc"), decode(*"abc", drafts=1)])
    for _ in range(4):
        output = served.scheduler.schedule()
        served.scheduler.update_from_output(output, run(output))
    told = served.adaptive_k_speculation(plugin.GET_MEASURED)[1]["measured"]
    assert [(each["batch_min"], each["k"], each["steps"]) for each in told["steps"]] == [(1, 4, 1), (3, 1, 1)]


@pytest.mark.parametrize(
    ("rows", "decoding", "prompt_tokens"),
    [
        (decode("x", "y"), 2, 0),
        (decode("x", "y", drafts=0, accepted=0), 2, 0),
        ((*decode("x", drafts=2), *decode("y", drafts=0, accepted=0)), 2, 0),
        ((*decode("x", drafts=2), Row("y", prompt=2)), 1, 2),
        ((*decode("x", drafts=0, accepted=0), Row("y", prompt=50)), 1, 50),
        ((Row("x", prompt=30), Row("y", prompt=50)), None, None),
    ],
)
def test_a_step_beside_prompts_counts_by_those_that_decode_and_one_of_prompts_alone_apart(
    rows: tuple[Row, ...], decoding: int | None, prompt_tokens: int | None
) -> None:
    """However many drafts those that decode verify, or none."""
    served = Served()
    served.scheduler.add("x")
    served.scheduler.add("y")
    served.step(*decode("x", "y"))
    served.step(*rows)
    told = served.measured()
    found = [(each["request_steps"], each["prompt_tokens"]) for each in told["steps"]]
    assert found == ([] if decoding is None else [(decoding, prompt_tokens)])
    assert told["other_steps"]["steps"] == 2 - len(found)


def test_steps_of_one_batch_and_k_are_kept_apart_by_whether_a_prompt_was_read_beside_them() -> None:
    """Else a long prompt would pass for a dear draft."""
    served = Served()
    served.scheduler.add("x")
    served.step(*decode("x"))
    served.step(*decode("x"), seconds=0.02)
    served.scheduler.add("y")
    served.step(*decode("x"), Row("y", prompt=700), seconds=0.3)
    plain, beside = served.measured()["steps"]
    assert (plain["batch_min"], plain["k"]) == (beside["batch_min"], beside["k"]) == (1, K_MAX)
    assert (plain["seconds"], plain["prompt_tokens"]) == (pytest.approx(0.02), 0)
    assert (beside["seconds"], beside["prompt_tokens"]) == (pytest.approx(0.3), 700)


def test_a_prompt_of_one_token_passes_for_a_request_that_decodes() -> None:
    """Or one of which all but the last is cached: it takes one token's work, and emits one."""
    served = Served()
    served.scheduler.add("x")
    served.step(*decode("x"))
    served.scheduler.add("y")
    served.step(*decode("x"), Row("y", prompt=1))
    served.step(*decode("x", "y"))
    (steps,) = served.measured()["steps"]
    assert (steps["batch_min"], steps["steps"], steps["prompt_tokens"]) == (2, 2, 0)
    assert served.measured()["other_steps"]["steps"] == 1


def test_tokens_of_a_request_aborted_in_mid_step_are_nobodys() -> None:
    """What the engine did not emit is not counted; that the step had two requests is."""
    served = Served()
    served.scheduler.add("x")
    served.scheduler.add("y")
    served.step(*decode("x", "y"))
    served.scheduler.told.append(decode("x", "y"))
    output = served.scheduler.schedule()
    served.scheduler.finish(["y"])
    served.scheduler.update_from_output(output, run(output))
    (steps,) = served.measured()["steps"]
    assert (steps["request_steps"], steps["tokens"]) == (2, 2)


def test_steps_that_were_planned_and_never_done_are_not_kept() -> None:
    """A bounded number is; and a step that was not planned here is not counted."""
    served = Served()
    served.scheduler.add("x")
    abandoned = []
    for _ in range(3 * IN_FLIGHT_MAX):
        served.scheduler.told.append(decode("x"))
        abandoned.append(served.scheduler.schedule())
    served.scheduler.update_from_output(abandoned[0], run(abandoned[0]))
    assert served.measured()["steps"] == []
    served.step(*decode("x"))
    served.step(*decode("x"))
    assert served.measured()["steps"][0]["steps"] == 1


def no_ids(served: Served, output: Any) -> None:
    """The next step is planned with ended requests that have no ids."""
    served.scheduler.finished_req_ids = [["no id"]]
    served.scheduler.told.appendleft(())
    served.scheduler.schedule()


def no_request(served: Served, output: Any) -> None:
    """A request verifies drafts and has no parameters."""
    served.scheduler.requests["y"] = None
    served.scheduler.told.appendleft(decode("y"))
    served.scheduler.schedule()


def no_tokens(served: Served, output: Any) -> None:
    """What the model made of a step cannot be counted."""
    output.scheduled_spec_decode_tokens = None


def no_total(served: Served, output: Any) -> None:
    """A step does not say how many tokens it had."""
    del output.num_scheduled_tokens


def too_many(served: Served, output: Any) -> None:
    """More is accepted than was drafted."""
    output.scheduled_spec_decode_tokens["x"] = []


def everything(served: Served, output: Any) -> None:
    """Several things go wrong in one step."""
    no_request(served, output)
    no_total(served, output)


@pytest.mark.parametrize("breaks", [no_ids, no_request, no_tokens, no_total, too_many, everything])
def test_an_error_while_measuring_ends_the_measuring_and_nothing_else(
    breaks: Callable[[Served, Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log; the scheduler has its own methods back, its step comes out whole, and k still changes."""
    served = Served()
    served.scheduler.add("x", "chat")
    served.step(*decode("x"))
    served.scheduler.told.extend([decode("x"), decode("x")])
    output = served.scheduler.schedule()
    breaks(served, output)
    outputs = served.scheduler.update_from_output(output, run(output))
    assert outputs[0].outputs[0].new_token_ids == [7, 7]
    output = served.scheduler.schedule()
    served.scheduler.update_from_output(output, run(output))
    assert meter.HOOK not in vars(served.scheduler)
    status, told = served.engine.adaptive_k_speculation(plugin.GET_MEASURED)
    assert status == 200
    assert "measured" not in told
    (line,) = [message for message in caplog.messages if "measured" in message]
    assert line.startswith("adaptive-k: nothing is measured any more, because of ")
    served.put(1)


def test_an_error_of_vllms_own_goes_through_untouched() -> None:
    """It is vLLM's to handle, and no reason to stop measuring."""
    served = Served()
    served.scheduler.add("x")
    served.scheduler.told.append(decode("x", drafts=1, accepted=1))
    output = served.scheduler.schedule()
    made = run(output)
    del output.rows
    with pytest.raises(AttributeError, match="rows"):
        served.scheduler.update_from_output(output, made)
    served.step(*decode("x"))
    served.step(*decode("x"))
    assert served.measured()["steps"][0]["steps"] == 1


def one_more(self: Any, scheduler_output: Any, model_runner_output: Any, more: Any = None) -> None:
    """`update_from_output` as a later vLLM could have it."""


def by_name(self: Any, *, scheduler_output: Any, model_runner_output: Any) -> None:
    """The same parameters, but by name only."""


@pytest.mark.parametrize(
    ("name", "method", "lacking"),
    [
        ("update_from_output", None, "Scheduler.update_from_output"),
        ("update_from_output", one_more, "Scheduler.update_from_output(scheduler_output, model_runner_output)"),
        ("update_from_output", by_name, "Scheduler.update_from_output(scheduler_output, model_runner_output)"),
    ],
)
def test_where_vllm_lacks_a_hook_nothing_is_measured_and_k_still_changes(
    name: str, method: Any, lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Or has it with other parameters. Likewise in a class that `--scheduler-cls` names, made from vLLM's own."""
    engine, scheduler = fresh_vllm()
    plugin.install(engine, scheduler)
    served = engine(type("Custom", (scheduler,), {name: method})(config()))
    served.scheduler.schedule()
    served.scheduler.schedule()
    status, told = served.adaptive_k_speculation(plugin.GET_MEASURED)
    assert (status, told["writable"], "measured" in told) == (200, True, False)
    assert caplog.messages == [
        f"adaptive-k: nothing is measured, this vLLM lacks {lacking}; k can be changed all the same"
    ]


@pytest.mark.parametrize("changes", [{"data_parallel_size": 2}, {"is_diffusion": True}])
def test_where_k_means_nothing_or_nobody_can_ask_nothing_is_measured(changes: dict[str, Any]) -> None:
    """And the scheduler keeps its own methods."""
    engine, scheduler = fresh_vllm()
    plugin.install(engine, scheduler)
    served = engine(scheduler(config(**changes)))
    served.scheduler.schedule()
    assert meter.HOOK not in vars(served.scheduler)


def test_without_speculation_steps_are_measured_as_k_0() -> None:
    """What a step costs without drafts is worth knowing there, too."""
    served = Served(None)
    served.scheduler.add("x")
    served.step(*decode("x", drafts=0, accepted=0))
    served.step(*decode("x", drafts=0, accepted=0))
    (steps,) = served.measured()["steps"]
    assert (steps["k"], steps["steps"], steps["tokens"]) == (0, 1, 1)


def test_names_that_the_environment_lists_in_vain_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, when the engine starts."""
    monkeypatch.setenv(VARIABLE, "chat,not a label")
    with caplog.at_level(logging.WARNING, "vllm.adaptive_k"):
        Served()
    (line,) = caplog.messages
    assert "'not a label'" in line
    assert "chat" not in line
