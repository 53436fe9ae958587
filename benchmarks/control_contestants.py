"""Who plays a trace: engines whose k is chosen before every step by one policy or another."""

from collections.abc import Sequence
from typing import Final, Protocol

from controller.simulator.engine import Step, StepEngine
from controller.simulator.scenario import Scenario
from controller.simulator.truth import Truth, workload_flow

TIERS: Final = (1, 3, 7)
WEIGHT: Final = 0.2
WARM_UP_VERIFIES: Final = 10
INTERVAL_VERIFIES: Final = 5
DOWN: Final = -0.25
UP: Final = 0.0


class Policy(Protocol):
    """Chooses k before every step."""

    def k(self, engine: "SteeredEngine") -> int:
        """The k of the step that begins now."""

    def verified(self, batch: int, k: int, accepted: int) -> None:
        """A step with `batch` decoding requests has verified up to k drafts each and accepted so many in all."""


class SteeredEngine(StepEngine):
    """An engine that asks a policy for k before every step, rather than a schedule."""

    def __init__(self, scenario: Scenario, policy: Policy, *, seed: int) -> None:
        self._policy = policy
        super().__init__(scenario, seed=seed)

    @property
    def decoding(self) -> tuple[int, ...]:
        """Decoding requests by workload."""
        return tuple(self._batch.by_workload.tolist())

    @property
    def phase_start_seconds(self) -> float:
        """When the present phase begins in its turn of the timeline: which one it is."""
        return self._traffic.phase.start_seconds

    def set_schedule(self, schedule: Sequence[tuple[int, int, int]]) -> None:
        """See `StepEngine`: the policy is asked in the schedule's place, whatever it says."""
        super().set_schedule(schedule)
        self._dense_k = _Asked(self, self._policy)

    def _finish_step(self, step: Step) -> None:
        counters = self.counters
        before = counters.generation_tokens + counters.truncated_tokens
        super()._finish_step(step)
        if step.batch:
            first = sum(1 for request, _ in step.chunks if request.to_prefill_tokens <= 0)
            emitted = counters.generation_tokens + counters.truncated_tokens - before
            self._policy.verified(step.batch, step.k, emitted - first - step.batch)


class _Asked(list[int]):
    """A schedule whose every entry is what the policy says now."""

    def __init__(self, engine: SteeredEngine, policy: Policy) -> None:
        super().__init__()
        self._engine, self._policy = engine, policy

    def __getitem__(self, _scheduled: object) -> int:  # type: ignore[override]
        return self._policy.k(self._engine)


class AcceptanceEma:
    """The adaptive policy that SGLang ships: a moving average of accepted drafts picks one of three ks.

    It aims at one draft beyond what is accepted, `clamp(round(ema) + 1, 1, largest)`, in the tiers there are: down
    while `ema <= lower tier - .5 + DOWN`, then up while `ema > tier - .5 + UP`. The average takes every verify step in
    with weight .2 and starts at k - 1; the first 10 are left to warm up, then every fifth may change k. It knows
    neither what a step costs nor k = 0.
    Source: sgl-project/sglang, python/sglang/srt/speculative/adaptive_spec_params.py, with the defaults of its first
    releases. Tiers beyond k_max are cut to it; it starts at the largest, as the server does.
    """

    def __init__(self, k_max: int) -> None:
        self._tiers = sorted({min(tier, k_max) for tier in TIERS})
        self._tier = len(self._tiers) - 1
        self.mean_accepted = float(self._tiers[self._tier] - 1)
        self._verifies = 0

    def k(self, engine: SteeredEngine | None = None) -> int:
        """See `Policy`."""
        del engine
        return self._tiers[self._tier]

    def verified(self, batch: int, k: int, accepted: int) -> None:
        """See `Policy`."""
        del k
        self.mean_accepted += WEIGHT * (accepted / batch - self.mean_accepted)
        self._verifies += 1
        beyond = self._verifies - WARM_UP_VERIFIES
        if beyond > 0 and beyond % INTERVAL_VERIFIES == 0:
            self._choose()

    def _choose(self) -> None:
        tiers = self._tiers
        while self._tier > 0 and self.mean_accepted <= tiers[self._tier - 1] - 0.5 + DOWN:
            self._tier -= 1
        while self._tier < len(tiers) - 1 and self.mean_accepted > tiers[self._tier] - 0.5 + UP:
            self._tier += 1


class Oracle:
    """Knows the physics and who decodes, and takes the best k for that before every step.

    What speeds a mix up most is not the k with the most tokens per second at this moment: a token of a request that
    advances slowly is worth more, since that request holds its place for longer. With v_w = 1 / E_w(k*), the steps
    that a token of workload w saves, it takes the k with the largest `sum_w n_w v_w E_w(k) / seconds(batch, k)`; E_w(k)
    are the expected tokens per step, and k* is the best constant k for the traffic that arrives.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[float, tuple[int, ...]], int] = {}
        self._typical: dict[tuple[float, int], int] = {}

    def k(self, engine: SteeredEngine) -> int:
        """See `Policy`."""
        decoding = engine.decoding
        if not any(decoding):
            return 0  # nothing but prompts: no drafts, whatever k
        phase = engine.phase_start_seconds
        if (phase, decoding) not in self._known:
            batch = sum(decoding)
            if (phase, batch) not in self._typical:
                self._typical[phase, batch] = engine.phase_truth().best_k(batch, engine.k_max)
            self._known[phase, decoding] = best_k(engine, decoding, self._typical[phase, batch])
        return self._known[phase, decoding]

    def verified(self, batch: int, k: int, accepted: int) -> None:
        """See `Policy`: there is nothing to learn."""


def best_k(engine: StepEngine, decoding: Sequence[int], typical_k: int) -> int:
    """The oracle's k for these numbers of decoding requests by workload; the smaller one of equals.

    `typical_k` is the best constant k for the traffic that arrives.
    """
    scenario, batch = engine.scenario, sum(decoding)
    running = [(workload, count) for workload, count in zip(scenario.workloads, decoding, strict=True) if count]
    truth = Truth.of_running(scenario, engine.cost, {workload.name: float(count) for workload, count in running})
    context_tokens = batch * truth.context_tokens(typical_k)
    worth = [(workload, count / workload_flow(workload, typical_k).tokens) for workload, count in running]

    def rate(k: int) -> float:
        advance = sum(each * workload_flow(workload, k).tokens for workload, each in worth)
        return advance / engine.cost.expected_seconds(batch, k, context_tokens)

    return max(range(engine.k_max + 1), key=lambda k: (rate(k), -k))
