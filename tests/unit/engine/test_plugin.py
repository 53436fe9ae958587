"""The engine side: what is read from vLLM, what is changed in it, and what happens where it is another one."""

import logging
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import pytest
from fake_vllm import ManualTime, config, fresh_vllm

from controller.engine import plugin
from controller.engine.scheduler import Reins


def installed(vllm_config: Any, lookup: list[int] | None = None) -> Any:
    """An engine with the plugin."""
    engine, scheduler = fresh_vllm()
    assert plugin.missing(engine, scheduler) is None
    plugin.install(engine, scheduler)
    return engine(scheduler(vllm_config, lookup))


def put(engine: Any, k: int, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Hold one k for every batch size, as a message from the HTTP side."""
    seen = engine.adaptive_k_speculation("GET")[1]
    fields = {"ttl_seconds": 60, "owner": "a", "boot_id": seen["boot_id"], "generation": seen["generation"]}
    wanted = {"ranges": [[1, 8, k]], "allow_k_without_graph": False, **fields, **changes}
    status, told = engine.adaptive_k_speculation("PUT", wanted)
    return status, told


@pytest.mark.parametrize("lookup", [None, [0, 4, 4, 3, 3, 3, 2, 2, 2]])
def test_the_schedule_in_force_is_the_schedulers_table_and_reset_restores_the_very_object(
    lookup: list[int] | None,
) -> None:
    """As launched means as launched: without a schedule vLLM pads batches, with one it does not."""
    engine = installed(config(), lookup)
    assert put(engine, 1)[0] == 200
    assert engine.scheduler.dynamic_sd_lookup == [1] * 9
    assert engine.scheduler.schedule(throttle_prefills=True).num_spec_tokens_to_schedule == 1
    status, told = engine.adaptive_k_speculation("DELETE")
    assert status == 200
    assert engine.scheduler.dynamic_sd_lookup is lookup
    assert told["schedule"] == told["launch_schedule"]


def test_the_step_after_the_end_runs_on_the_launch_schedule() -> None:
    """Judged before the step is planned, also when nobody asked in between."""
    time = ManualTime()
    engine = installed(config())
    reins = Reins(engine.scheduler, clock=time)
    setattr(engine.scheduler, plugin.REINS, reins)
    assert put(engine, 0)[0] == 200
    time.seconds = 59.9
    assert engine.scheduler.schedule().num_spec_tokens_to_schedule == 0
    time.seconds = 60.0
    assert engine.scheduler.schedule().num_spec_tokens_to_schedule is None
    assert engine.adaptive_k_speculation("GET")[1]["generation"] == 2


def test_get_ends_a_schedule_that_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """On an idle engine no step does; and the log names who fell silent."""
    time = ManualTime()
    engine = installed(config())
    setattr(engine.scheduler, plugin.REINS, Reins(engine.scheduler, clock=time))
    put(engine, 0, owner="pod-7")
    time.seconds = 61.0
    with caplog.at_level(logging.INFO, "vllm.adaptive_k"):
        assert engine.adaptive_k_speculation("GET")[1]["owner"] is None
    assert engine.scheduler.dynamic_sd_lookup is None
    assert caplog.messages == [
        "adaptive-k: back to the launch schedule: pod-7 did not renew its own in time (generation 2)"
    ]


@pytest.mark.parametrize("method", ["suffix", "medusa", "custom_class"])
def test_a_method_that_cannot_draft_fewer_has_its_drafts_cut(method: str) -> None:
    """Its lookup table stays as it was: with another one vLLM's assertion would end the engine."""
    engine = installed(config(method))
    drafts = SimpleNamespace(req_ids=["x", "y"], draft_token_ids=[[1, 2, 3, 4], [5]])
    put(engine, 2)
    engine.scheduler.update_draft_token_ids(drafts)
    assert engine.scheduler.drafts == [[1, 2], [5]]
    assert engine.scheduler.dynamic_sd_lookup is None
    engine.adaptive_k_speculation("DELETE")
    engine.scheduler.update_draft_token_ids(SimpleNamespace(req_ids=["x"], draft_token_ids=[[1, 2, 3, 4]]))
    assert engine.scheduler.drafts == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("vllm_config", "reason"),
    [
        (config(None), "without speculation"),
        (config(data_parallel_size=2), "data parallelism"),
        (config("ngram_gpu"), "ngram_gpu is not known"),
        (config("extract_hidden_states"), "extract_hidden_states is not known"),
        (config("dflash"), "dflash is not known"),
        (config("dspark"), "dspark is not known"),
        (config("invented_tomorrow"), "invented_tomorrow is not known"),
        (config("eagle", parallel_drafting=True), "parallel drafting"),
        (config("suffix", async_scheduling=True), "asynchronous scheduling"),
        (config("eagle", enable_adaptive_verification=True), "adaptive verification"),
        (config(is_diffusion=True), "diffusion"),
        (config("eagle", full_graphs=True), "V1 runner"),
    ],
)
def test_where_k_cannot_change_get_and_put_say_why_and_nothing_is_touched(vllm_config: Any, reason: str) -> None:
    """409: it is the server's state, not the request, that stands in the way."""
    engine = installed(vllm_config)
    status, told = put(engine, 1)
    assert status == 409
    assert reason in told["error"]
    assert engine.adaptive_k_speculation("GET")[1]["read_only_because"] == told["error"]
    assert engine.scheduler.dynamic_sd_lookup is None


def test_the_v2_runner_has_full_graphs_for_the_ks_of_the_launch_only() -> None:
    """And tells which."""
    engine = installed(config("eagle", full_graphs=True, use_v2_model_runner=True), [0, 4, 4, 4, 4, 2, 2, 0, 0])
    assert engine.adaptive_k_speculation("GET")[1]["k_with_graph"] == [0, 2, 4]
    assert put(engine, 3)[0] == 422
    assert put(engine, 2)[0] == 200


def test_registering_twice_is_registering_once() -> None:
    """vLLM may call a plugin more than once in a process."""
    engine, scheduler = fresh_vllm()
    plugin.install(engine, scheduler)
    wrapped = scheduler.schedule, scheduler.update_draft_token_ids
    assert plugin.missing(engine, scheduler) is None
    plugin.install(engine, scheduler)
    assert (scheduler.schedule, scheduler.update_draft_token_ids) == wrapped


def test_two_engines_are_two_boots() -> None:
    """Random, so that a restarted engine is another one."""
    boots = {installed(config()).adaptive_k_speculation("GET")[1]["boot_id"] for _ in range(2)}
    assert len(boots) == 2


def test_what_an_older_vllm_lacks_is_named() -> None:
    """The class, the method, or Dynamic SD itself."""
    engine, scheduler = fresh_vllm()
    assert plugin.missing(None, scheduler) == "vllm.v1.engine.core.EngineCore"
    assert plugin.missing(engine, None) == "vllm.v1.core.sched.scheduler.Scheduler"
    assert "dynamic_sd_lookup" in (plugin.missing(engine, type("S", (scheduler,), {"schedule": len})) or "")
    no_update = type("S", (), {"schedule": scheduler.schedule})
    assert plugin.missing(engine, no_update) == "Scheduler.update_draft_token_ids"


def test_another_plugin_may_have_wrapped_the_scheduler_before() -> None:
    """Whoever wraps with `functools.wraps` hides nothing."""
    engine, scheduler = fresh_vllm()
    original = scheduler.schedule
    scheduler.schedule = wraps(original)(partial(original))
    assert plugin.missing(engine, scheduler) is None


def test_without_vllm_registering_says_so_in_one_line_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """This environment has no vLLM: the plugin is off and raises nothing."""
    plugin.register()
    (message,) = caplog.messages
    assert message == (
        "adaptive-k: k cannot be changed live, this vLLM lacks vllm.v1.engine.core.EngineCore; "
        "it serves as without the plugin"
    )
    assert plugin.unavailable() == "vllm.v1.engine.core.EngineCore"


def test_a_scheduler_of_somebody_else_is_left_alone() -> None:
    """`--scheduler-cls` can name a class that has nothing of vLLM's."""
    engine, scheduler = fresh_vllm()
    plugin.install(engine, scheduler)
    status, told = engine(SimpleNamespace()).adaptive_k_speculation("GET")
    assert status == 503
    assert "SimpleNamespace" in told["error"]


def test_a_vllm_that_lost_a_field_refuses_instead_of_guessing() -> None:
    """The first question finds out."""
    broken = config()
    del broken.use_v2_model_runner
    engine = installed(broken)
    status, told = engine.adaptive_k_speculation("GET")
    assert status == 503
    assert "lacks something" in told["error"]
    assert "use_v2_model_runner" in told["error"]
    assert engine.scheduler.schedule() is not None
