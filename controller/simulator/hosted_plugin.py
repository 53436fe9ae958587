"""The engine plugin inside a simulated server: the real one, holding the reins of a simulated scheduler.

So there is one implementation of the protocol, and what is tried against the simulator is what a vLLM server answers.
An installed sidecar has the plugin only where its own wheel is installed, too: then this module cannot be imported.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from weakref import finalize

from controller.simulator.asgi import WsgiAnswer, answer
from controller.simulator.engine import StepEngine
from controller.simulator.measured import measured
from controller.simulator.scenario import Scenario
from controller.simulator.schedule import constant_schedule, dense_schedule

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

try:
    from controller.engine import ledger, plugin, resource, schedule, scheduler, workloads
except ModuleNotFoundError as error:
    if error.name != "controller.engine":
        raise
    from adaptive_k_vllm import ledger, plugin, resource, schedule, scheduler, workloads  # type: ignore[import-not-found,no-redef]


class HostedPlugin:
    """The plugin's resource, in front of the engines of one simulated server.

    Time to live runs in simulated seconds. Each start of the engine is a boot of its own, at its launch schedule. With
    several engines the plugin is off, as under data parallelism.
    """

    path: Final = resource.PATH

    def __init__(self, engines: Sequence[StepEngine], token_file: Path | None) -> None:
        self._engine = engines[0]
        self._resource = resource.SpeculationResource(
            token_file=lambda: None if token_file is None else str(token_file)
        )
        config = SimpleNamespace(parallel_config=SimpleNamespace(data_parallel_size=len(engines)))
        self._resource.connect(SimpleNamespace(engine_core=self, vllm_config=config), lacking=None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds = 0.0
        self._boot()
        self._engine.before_step = self._before_step

    def answer(self, environment: "WSGIEnvironment") -> WsgiAnswer:
        """Answer a request for the resource."""
        self._at(self._engine.simulated_seconds)
        if self._loop is None:
            self._loop = asyncio.new_event_loop()  # one for all requests: the server answers one at a time
            finalize(self, self._loop.close)
        return answer(self._resource, environment, self._loop)

    async def call_utility_async(self, method: str, verb: str, *message: Any) -> tuple[int, dict[str, Any]]:
        """vLLM's channel from its API server to its engine, as the plugin uses it."""
        assert method == plugin.ENGINE_METHOD
        return plugin.answer(self._core, verb, *message)

    def _boot(self) -> None:
        """What vLLM and the plugin do when an engine starts."""
        self._starts = self._engine.starts
        self._core = SimpleNamespace(scheduler=_Scheduler(self._engine))
        self._reins = scheduler.Reins(self._core.scheduler, clock=lambda: self._seconds)
        setattr(self._core.scheduler, plugin.REINS, self._reins)
        setattr(self._core.scheduler, plugin.METER, _Meter(self._engine))

    def _at(self, seconds: float) -> None:
        """Let the plugin's clock, which never goes back, show this time."""
        if self._starts != self._engine.starts:
            self._boot()
        self._seconds = max(self._seconds, seconds)

    def _before_step(self, seconds: float) -> None:
        self._at(seconds)
        self._reins.before_step()


class _Scheduler:
    """A simulated engine as the plugin sees it: vLLM's `Scheduler`, as far as it looks."""

    def __init__(self, engine: StepEngine) -> None:
        slots = engine.scenario.max_num_seqs
        constant = engine.launch_schedule == constant_schedule(engine.k_max, slots)
        self._engine = engine
        self._launched = None if constant else dense_schedule(engine.launch_schedule, engine.k_max, slots)
        self._lookup = self._launched
        self.num_spec_tokens = engine.k_max
        self.vllm_config = _vllm_config(engine)
        self.scheduler_config = self.vllm_config.scheduler_config

    @property
    def dynamic_sd_lookup(self) -> list[int] | None:
        """k by batch size, index 0 unused; None is the launched k at every batch size."""
        return self._lookup

    @dynamic_sd_lookup.setter
    def dynamic_sd_lookup(self, lookup: list[int] | None) -> None:
        self._lookup = lookup
        if lookup is None or lookup is self._launched:
            self._engine.set_schedule(self._engine.launch_schedule)
        else:
            self._engine.set_schedule([(first, last, k) for first, last, k in schedule.ranges_of(tuple(lookup))])


setattr(_Scheduler, plugin.REINS, None)  # as `plugin.install` marks the classes that it knows


class _Meter:
    """In place of the plugin's own meter, which would slow each simulated step down: the engine counts already."""

    def __init__(self, engine: StepEngine) -> None:
        self._engine = engine
        self._labels = _labels(engine.scenario)
        self._batch_tops = ledger.bucket_tops(engine.scenario.max_num_seqs)

    def document(self) -> dict[str, Any]:
        """`measured` of the plugin's document."""
        return measured(self._engine.counters, self._labels, self._batch_tops)


def _labels(scenario: Scenario) -> list[str]:
    """What the plugin calls each workload, whose requests carry its name; the 64 slots go to the first ones."""
    labels: list[str] = []
    for workload in scenario.workloads:
        extra = SimpleNamespace(extra_args={workloads.EXTRA_ARGUMENT: workload.name})
        label = workloads.workload_of(SimpleNamespace(sampling_params=extra, lora_request=None), scenario.model_name)
        full = len(set(labels) - {ledger.OTHER}) >= ledger.WORKLOADS_MAX
        labels.append(ledger.OTHER if full and label not in labels else label)
    return labels


def _vllm_config(engine: StepEngine) -> SimpleNamespace:
    """vLLM's configuration as the plugin reads it.

    Graphs are piecewise, so that any k can be tried; scheduling is asynchronous, so that the plugin refuses methods
    whose drafts it would have to cut: the simulator has no drafts to cut.
    """
    scenario = engine.scenario
    speculative = SimpleNamespace(method=scenario.method, parallel_drafting=False, enable_adaptive_verification=False)
    piecewise = SimpleNamespace(has_full_cudagraphs=lambda: False)
    return SimpleNamespace(
        speculative_config=speculative if engine.k_max else None,
        parallel_config=SimpleNamespace(data_parallel_size=scenario.engines),
        scheduler_config=SimpleNamespace(max_num_seqs=scenario.max_num_seqs, async_scheduling=True),
        model_config=SimpleNamespace(is_diffusion=False),
        compilation_config=SimpleNamespace(cudagraph_mode=piecewise),
        use_v2_model_runner=False,
    )
