"""The engine: continuous batching, step by step, under a drafter whose luck is written into the texts.

One step of vLLM's V1 scheduler, as far as speculation and load can tell: running requests decode first,
prompts are worked through in chunks beside them, k comes from the schedule at the number of requests
scheduled, every decoding request emits 1 + accepted tokens, and the whole batch waits for the slowest part.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from controller.simulator.batch import DecodeBatch
from controller.simulator.counters import Counters, StepTally
from controller.simulator.noise import NoiseSource
from controller.simulator.request import Request
from controller.simulator.scenario import Scenario
from controller.simulator.schedule import Schedule, constant_schedule, dense_schedule
from controller.simulator.step_cost import StepCost
from controller.simulator.traffic import NEVER, Traffic, event_times
from controller.simulator.truth import Truth


class Step(NamedTuple):
    """A step under way: who decodes with which k, which prompts are worked through, and when it ends."""

    batch: int
    k: int
    chunks: tuple[tuple[Request, int], ...]
    prefill_tokens: int
    seconds: float
    ends_seconds: float


class StepEngine:
    """One simulated engine. It stands still until `advance_to` moves it.

    Equal arguments give equal pasts, whatever the number of calls that led there.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        k_max: int | None = None,
        schedule: Schedule | None = None,
        seed: int = 0,
        engine_index: int = 0,
    ) -> None:
        self.scenario, self.index = scenario, engine_index
        self.k_max = scenario.k_max if k_max is None else k_max
        slots = scenario.max_num_seqs
        self.cost = StepCost(
            scenario.grid, k_max=self.k_max, max_num_seqs=slots, launched_with_speculation=self.k_max > 0
        )
        self.launch_schedule: Schedule = schedule or scenario.schedule or constant_schedule(self.k_max, slots)
        self._traffic = Traffic(scenario, k_max=self.k_max, engine_index=engine_index, seed=seed)
        self._noise = NoiseSource(scenario.noise, seed=seed, engine_index=engine_index)
        self._events = event_times(scenario)
        self._event = next(self._events, None)
        self._batch = DecodeBatch(scenario, self.k_max)
        self.simulated_seconds = self._clock = 0.0
        self.starts = 0
        self.before_step: Callable[[float], None] | None = None
        """Called with the simulated time at which a step is about to be planned."""
        self._start(0.0)

    def _start(self, seconds: float) -> None:
        """Start the engine process, first or anew: nothing of the past is left."""
        self.starts += 1
        self.started_seconds = self._clock = seconds
        self.counters = Counters.fresh(len(self.scenario.workloads), self.k_max)
        self._batch.clear()
        self._prefilling: list[Request] = []
        self._waiting: deque[Request] = deque()
        self._prefill_context_tokens = 0
        self._admitted = 0
        self._step: Step | None = None
        self._k_before: int | None = None
        self.set_schedule(self.launch_schedule)

    # What can be asked.

    @property
    def schedule(self) -> Schedule:
        """The schedule in force."""
        return self._schedule

    @property
    def is_up(self) -> bool:
        """Whether the server answers at this moment (it does not while it restarts)."""
        return self.started_seconds <= self.simulated_seconds

    @property
    def running(self) -> int:
        """Requests that decode or prefill."""
        return self._batch.size + len(self._prefilling)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache in use, 0..1."""
        return (self._batch.context_tokens + self._prefill_context_tokens) / self.scenario.kv_cache_tokens

    def truth(self) -> Truth:
        """The truth about the requests that decode now; about the present phase if there are none."""
        counts = {
            workload.name: float(count)
            for workload, count in zip(self.scenario.workloads, self._batch.by_workload, strict=True)
            if count
        }
        if counts:
            return Truth.of_running(self.scenario, self.cost, counts)
        return self.phase_truth()

    def phase_truth(self) -> Truth:
        """The truth about the traffic of the present phase, once it fills the server."""
        return Truth.of_arrivals(self.scenario, self.cost, dict(self._traffic.phase.mix))

    # What can be done.

    def set_schedule(self, schedule: Sequence[tuple[int, int, int]]) -> None:
        """Put a schedule in force from the next step on.

        Raises:
            ValueError: it is not one that vLLM would take.
        """
        self._dense_k = dense_schedule(schedule, self.k_max, self.scenario.max_num_seqs)
        self._schedule = tuple((low, high, k) for low, high, k in schedule)

    def advance_to(self, seconds: float) -> None:
        """Let simulated time pass until `seconds`. A step that ends later stays under way."""
        self.simulated_seconds = max(self.simulated_seconds, seconds)
        while self._clock <= seconds:
            if self._step is None:
                self._step = self._begin_step()
            if self._step is None:
                wake = min(self._traffic.next_wake_seconds, NEVER if self._event is None else self._event[0])
                if wake > seconds:
                    return
                self._clock = max(self._clock, wake)
            elif self._step.ends_seconds <= seconds:
                self._finish_step(self._step)
                self._step = None
            else:
                return

    # One step.

    def _begin_step(self) -> Step | None:
        if self._event is not None:
            self._restart_if_due()
        now, batch = self._clock, self._batch
        if self.before_step is not None:
            self.before_step(now)
        outstanding = batch.size + len(self._prefilling) + len(self._waiting)
        self._waiting.extend(self._traffic.arrivals(now, outstanding))
        self._preempt_while_full()
        chunks = self._schedule_prefills() if self._prefilling or self._waiting else ()
        size = batch.size
        if not size and not chunks:
            return None
        k = self._dense_k[size + len(chunks)]
        prefill_tokens = sum([tokens for _, tokens in chunks]) if chunks else 0
        expected = self.cost.expected_seconds(size, k, batch.context_tokens, prefill_tokens)
        seconds = expected * self._noise.next_factor()
        return Step(size, k, chunks, prefill_tokens, seconds, now + seconds)

    def _restart_if_due(self) -> None:
        while self._event is not None and self._event[0] <= self._clock:
            _, event = self._event
            self._event = next(self._events, None)
            self._start(self._clock + event.down_seconds)

    def _preempt_while_full(self) -> None:
        """Send the youngest requests back to the queue while the next step does not fit into the KV cache."""
        batch = self._batch
        room = self.scenario.kv_cache_tokens - self._prefill_context_tokens
        while batch.size > 1 and batch.context_tokens + batch.size * (self.k_max + 1) > room:
            youngest = max(range(batch.size), key=lambda index: batch.requests[index].number)
            request = batch.remove(youngest)
            request.to_prefill_tokens = request.prompt_tokens + request.emitted_tokens
            self.counters.preemptions += 1
            self._waiting.appendleft(request)

    def _schedule_prefills(self) -> tuple[tuple[Request, int], ...]:
        """Share what the decoding requests leave of the token budget among prompts, in order."""
        batch = self._batch
        budget = self.scenario.max_num_batched_tokens - batch.size * (self._dense_k[batch.size] + 1)
        chunks = []
        for request in self._prefilling:
            if budget > 0:
                tokens = min(budget, request.to_prefill_tokens)
                chunks.append((request, tokens))
                budget -= tokens
        while self._waiting and budget > 0 and self._admits(self._waiting[0]):
            request = self._admit(self._waiting.popleft())
            tokens = min(budget, request.to_prefill_tokens)
            chunks.append((request, tokens))
            budget -= tokens
        return tuple(chunks)

    def _admits(self, request: Request) -> bool:
        if self.running >= self.scenario.max_num_seqs:
            return False
        needed = (request.to_prefill_tokens or request.prompt_tokens) + self.k_max + 1
        used = self._batch.context_tokens + self._batch.size * (self.k_max + 1) + self._prefill_context_tokens
        return self.running == 0 or used + needed <= self.scenario.kv_cache_tokens

    def _admit(self, request: Request) -> Request:
        if request.scheduled_seconds < 0:
            request.scheduled_seconds = self._clock
            request.to_prefill_tokens = request.prompt_tokens
            self._admitted += 1
            request.number = self._admitted
        self._prefill_context_tokens += request.to_prefill_tokens
        self._prefilling.append(request)
        return request

    def _finish_step(self, step: Step) -> None:
        counters = self.counters
        self._clock = step.ends_seconds
        emitted, finished = self._batch.step(step.k, counters) if step.batch else (0, [])
        if step.batch:
            counters.inter_token.observe(step.seconds, step.batch)
        for request in finished:
            self._finish_request(request)
        prompt_tokens, first = self._finish_prefills(step) if step.chunks else (0, 0)
        counters.generation_tokens += emitted + first
        if step.batch or first:  # vLLM counts no iteration for a step without output
            counters.step_tokens.observe(emitted + first + prompt_tokens)
        counters.steps += 1
        counters.busy_seconds += step.seconds
        tallies = counters.unsettled
        if step.batch and step.k == self._k_before:
            tallies = counters.beside_prompts if step.chunks else counters.settled
        self._k_before = step.k
        tally = tallies.get((step.batch, step.k))
        if tally is None:
            tally = tallies[step.batch, step.k] = StepTally()
        tally.steps += 1
        tally.seconds += step.seconds
        tally.tokens += emitted + first
        tally.prefill_tokens += step.prefill_tokens

    def _finish_prefills(self, step: Step) -> tuple[int, int]:
        """Prompts that were completed: their tokens, and the tokens that their requests emitted at once."""
        prompt_tokens = emitted = 0
        for request, tokens in step.chunks:
            request.to_prefill_tokens -= tokens
            if request.to_prefill_tokens > 0:
                continue
            self._prefilling.remove(request)
            self._prefill_context_tokens -= request.prompt_tokens + request.emitted_tokens
            prompt_tokens += self._emit_after_prefill(request)
            emitted += 1
        return prompt_tokens, emitted

    def _emit_after_prefill(self, request: Request) -> int:
        """The token that ends a prefill; returns the prompt tokens that vLLM counts with it."""
        counters, now, counted = self.counters, self._clock, 0
        if request.emitted_tokens:  # resumed after preemption
            counters.inter_token.observe(now - request.last_token_seconds)
        else:
            counted = request.prompt_tokens
            request.first_token_seconds = now
            counters.first_tokens += 1
            counters.prompt_tokens += counted
            counters.first_token.observe(now - request.arrived_seconds)
        request.emitted_tokens += 1
        if request.emitted_tokens >= request.output_tokens:
            self._finish_request(request)
        else:
            self._batch.add(request)
        return counted

    def _finish_request(self, request: Request) -> None:
        counters, now = self.counters, self._clock
        decode = now - request.first_token_seconds
        counters.finished_requests += 1
        counters.end_to_end.observe(now - request.arrived_seconds)
        counters.queue.observe(request.scheduled_seconds - request.arrived_seconds)
        counters.inference.observe(now - request.scheduled_seconds)
        counters.prefill.observe(request.first_token_seconds - request.scheduled_seconds)
        counters.decode.observe(decode)
        counters.per_output_token.observe(decode / max(request.output_tokens - 1, 1))
