"""What each own metric is of an engine's cycle: values with their labels. What is not known yields nothing."""

from collections.abc import Iterable, Iterator
from typing import Final

from controller.cycle import EngineCycle
from controller.decide.decision import Baseline, Bounded, Schedule
from controller.decide.review import Review
from controller.decide.schedule import k_at
from controller.model.economics import Score

POSITIONS_MAX: Final = 32
"""Draft positions, and values of k, that are exported; vLLM servers draft fewer than ten."""
WORKLOADS_MAX: Final = 65
"""As many as the engine plugin tells apart, and `other`."""
BATCHES: Final = tuple(2**power for power in range(11))
"""The batch sizes at which schedules are exported: 1 to 1024, the same for ever, so that a change makes no series."""

Labels = tuple[str, ...]
Value = tuple[Labels, float]
Spread = tuple[Labels, Bounded]


def gain(engine: EngineCycle) -> Iterator[Spread]:
    """Throughput at the recommended k over now."""
    decision = engine.decision
    if decision.gain is not None:
        score = _score(engine, decision.k)
        yield (_basis(score is not None and score.step_measured and score.tokens_observed),), decision.gain


def margin(engine: EngineCycle) -> Iterator[Spread]:
    """Throughput now against k=0, and against a server without speculation."""
    decision = engine.decision
    if decision.margin is not None:
        yield ("k0", decision.baseline.value), decision.margin
    if decision.margin_without_speculation is not None:
        yield ("no_speculation", Baseline.MODELLED.value), decision.margin_without_speculation


def acceptance(engine: EngineCycle) -> Iterator[Spread]:
    """Survival by draft position."""
    known = engine.acceptance
    if known is not None:
        spreads = zip(known.survival, known.survival_low, known.survival_high, strict=True)
        for position, spread in list(enumerate(spreads))[:POSITIONS_MAX]:
            yield (str(position),), Bounded(*spread)


def tokens_by_k(engine: EngineCycle) -> Iterator[Value]:
    """Expected tokens per step at each k."""
    return (((str(score.k),), score.tokens_per_step) for score in engine.decision.scores[: POSITIONS_MAX + 1])


def throughput_by_k(engine: EngineCycle) -> Iterator[Spread]:
    """Expected throughput at each k."""
    for score in engine.decision.scores[: POSITIONS_MAX + 1]:
        yield (
            (str(score.k), _basis(score.step_measured and score.tokens_observed)),
            Bounded(score.tokens_per_second, score.tokens_per_second_low, score.tokens_per_second_high),
        )


def schedules(engine: EngineCycle) -> Iterator[Value]:
    """k by batch: as recommended, in force, and at launch."""
    control = engine.control
    told = control.speculation if control else None
    found: dict[str, Schedule] = {"recommended": engine.decision.schedule}
    if told is not None:
        found |= {"in_force": told.schedule, "launch": told.launch_schedule}
    for name, schedule in found.items():
        end = max((high for _, high, _ in schedule), default=0)
        for batch in BATCHES:
            k = k_at(schedule, batch) if batch <= end else None
            if k is not None:
                yield (name, str(batch)), k


def current_k(engine: EngineCycle) -> float | None:
    """What the schedule in force asks for at the present load."""
    told = engine.control.speculation if engine.control else None
    batch = engine.decision.batch
    return k_at(told.schedule, max(1, round(batch))) if told and batch is not None else None


def saturation(engine: EngineCycle) -> Iterator[Value]:
    """Tokens of a step at which computing costs as much as reading the weights."""
    if engine.step_time is not None:
        parameter = engine.step_time.parameters()["saturation_tokens"]
        yield (_basis(parameter.identified),), parameter.median


def crossover_batch(engine: EngineCycle) -> float | None:
    """The batch from which on the schedule drafts nothing; None where it always does."""
    schedule = engine.decision.schedule
    return schedule[-1][0] if schedule and schedule[-1][2] == 0 else None


def draft_cost(engine: EngineCycle) -> Iterator[Value]:
    """What each draft adds to a step, as a share of the step at k=0: (t(k) / t(0) - 1) / k at the k in force, or 1."""
    k = max(1, round(engine.decision.k_now or 0))
    drafting, off = _score(engine, k), _score(engine, 0)
    if drafting is not None and off is not None:
        cost = (drafting.step_seconds / off.step_seconds - 1) / k
        yield (_basis(drafting.step_measured and off.step_measured),), cost


def capture_limit(engine: EngineCycle) -> float | None:
    """Tokens of a step beyond which there is no captured graph."""
    limit = engine.step_time.capture_limit_tokens if engine.step_time else None
    return limit if limit is not None and limit < float("inf") else None


def step_tokens(engine: EngineCycle) -> float | None:
    """Tokens that the mean step verifies: batch (1 + k)."""
    batch, k = engine.decision.batch, engine.decision.k_now
    return None if batch is None or k is None else batch * (1 + k)


def realised(engine: EngineCycle) -> Iterator[Spread]:
    """The gain that the last change brought."""
    found = _review(engine)
    if found is not None and found.realised is not None:
        yield (), found.realised


def predicted(engine: EngineCycle) -> Iterator[Spread]:
    """The gain that was expected of it."""
    found = _review(engine)
    if found is not None:
        yield (), found.change.predicted


def prediction_error(engine: EngineCycle) -> float | None:
    """Realised over predicted, minus 1."""
    found = _review(engine)
    return None if found is None or found.realised is None else found.realised.value / found.change.predicted.value - 1


def expiry(engine: EngineCycle, at_unix_seconds: float) -> float | None:
    """When the engine returns to its launch schedule unless what it holds is renewed."""
    told = engine.control.speculation if engine.control else None
    if told is None or told.expires_in_seconds is None:
        return None
    return at_unix_seconds + told.expires_in_seconds


def workload_margin(engine: EngineCycle) -> Iterator[Spread]:
    """Each workload's throughput at the mix's k over k=0."""
    return (((each.name,), each.margin) for each in engine.workloads[:WORKLOADS_MAX])


def workload_acceptance_length(engine: EngineCycle) -> Iterator[Value]:
    """Tokens that a draft of k_max would yield each workload, the bonus token included."""
    return (((each.name,), 1 + sum(each.acceptance.survival)) for each in engine.workloads[:WORKLOADS_MAX])


def _review(engine: EngineCycle) -> Review | None:
    return engine.control.review if engine.control else None


def _score(engine: EngineCycle, k: int | None) -> Score | None:
    scores: Iterable[Score] = engine.decision.scores
    return next((score for score in scores if score.k == k), None)


def _basis(measured: bool) -> str:
    return (Baseline.MEASURED if measured else Baseline.MODELLED).value
