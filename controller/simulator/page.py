"""The `/metrics` page of a simulated server: vLLM's families, in its order, as Prometheus text."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, TypeAlias

from controller.simulator import families
from controller.simulator.counters import Histogram
from controller.simulator.engine import StepEngine
from controller.simulator.families import Family

CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
"""What vLLM 0.32 answers, whatever the client accepts."""
EPOCH_UNIX_SECONDS: Final = 1_790_000_000.0
"""Simulated time 0 on the page, so that equal pasts give equal pages."""

Label: TypeAlias = tuple[str, str] | None
"""A label beside those of the engine, as (name, value)."""
Samples: TypeAlias = Sequence[tuple[Label, float]]


def render_page(engines: Sequence[StepEngine]) -> str:
    """The page of one server, with all its engines."""
    return "".join(f"{line}\n" for line in _lines(engines))


def _lines(engines: Sequence[StepEngine]) -> Iterator[str]:
    started = EPOCH_UNIX_SECONDS + min(engine.started_seconds for engine in engines)
    yield from _head(families.PROCESS_START)
    yield f"process_start_time_seconds {go_float(started)}"
    if any(engine.k_max for engine in engines):
        yield from _speculation(engines)
    yield from _load(engines)
    yield from _tokens(engines)
    for family, histogram in _HISTOGRAMS:
        yield from _histogram(family, engines, histogram)
    yield from _head(families.CACHE_CONFIG)
    for engine in engines:
        blocks = str(engine.scenario.kv_cache_tokens // 16)
        labels = families.CACHE_CONFIG_LABELS | {"engine": str(engine.index), "num_gpu_blocks": blocks}
        yield f"{_series(families.CACHE_CONFIG.name, labels)} {go_float(1.0)}"


def _speculation(engines: Sequence[StepEngine]) -> Iterator[str]:
    yield from _counter(families.DRAFTS, engines, lambda e: [(None, e.counters.drafts)])
    yield from _counter(families.DRAFT_TOKENS, engines, lambda e: [(None, e.counters.draft_tokens)])
    yield from _counter(families.ACCEPTED_TOKENS, engines, lambda e: [(None, e.counters.accepted_tokens)])
    yield from _counter(families.ACCEPTED_PER_POSITION, engines, _by_position)


def _by_position(engine: StepEngine) -> Samples:
    accepted = engine.counters.accepted_by_position().sum(axis=0)
    return [(("position", str(position)), count) for position, count in enumerate(accepted.tolist())]


def _load(engines: Sequence[StepEngine]) -> Iterator[str]:
    yield from _gauge(families.RUNNING, engines, lambda e: [(None, e.running)])
    yield from _gauge(families.WAITING, engines, lambda e: [(None, e.waiting)])
    yield from _gauge(
        families.WAITING_BY_REASON,
        engines,
        lambda e: [(("reason", "capacity"), e.waiting), (("reason", "deferred"), 0)],
    )
    yield from _gauge(
        families.SLEEP_STATE,
        engines,
        lambda _: [(("sleep_state", s), s == "awake") for s in ("awake", "weights_offloaded", "discard_all")],
    )
    yield from _gauge(families.KV_USAGE, engines, lambda e: [(None, e.kv_cache_usage)])


def _tokens(engines: Sequence[StepEngine]) -> Iterator[str]:
    yield from _counter(families.PREFIX_QUERIES, engines, lambda e: [(None, e.counters.prompt_tokens)])
    yield from _counter(families.PREFIX_HITS, engines, lambda _: [(None, 0)])
    yield from _counter(families.PREEMPTIONS, engines, lambda e: [(None, e.counters.preemptions)])
    yield from _counter(families.PROMPT_TOKENS, engines, lambda e: [(None, e.counters.prompt_tokens)])
    yield from _counter(families.GENERATION_TOKENS, engines, lambda e: [(None, e.counters.generation_tokens)])
    reasons = ("stop", "length", "abort", "error", "repetition")
    yield from _counter(
        families.SUCCESS,
        engines,
        lambda e: [(("finished_reason", r), e.counters.finished_requests if r == "stop" else 0) for r in reasons],
    )


_HISTOGRAMS: Final[tuple[tuple[Family, Callable[[StepEngine], Histogram]], ...]] = (
    (families.STEP_TOKENS, lambda e: e.counters.step_tokens),
    (families.FIRST_TOKEN, lambda e: e.counters.first_token),
    (families.INTER_TOKEN, lambda e: e.counters.inter_token),
    (families.PER_OUTPUT_TOKEN, lambda e: e.counters.per_output_token),
    (families.END_TO_END, lambda e: e.counters.end_to_end),
    (families.QUEUE, lambda e: e.counters.queue),
    (families.INFERENCE, lambda e: e.counters.inference),
    (families.PREFILL, lambda e: e.counters.prefill),
    (families.DECODE, lambda e: e.counters.decode),
)


def _gauge(family: Family, engines: Sequence[StepEngine], read: Callable[[StepEngine], Samples]) -> Iterator[str]:
    yield from _head(family)
    for engine in engines:
        for label, value in read(engine):
            yield _sample(family.name, engine, label, value)


def _counter(family: Family, engines: Sequence[StepEngine], read: Callable[[StepEngine], Samples]) -> Iterator[str]:
    yield from _gauge(family, engines, read)
    created = family.name.removesuffix("_total") + "_created"
    yield from _created(created, family, engines, read)


def _histogram(family: Family, engines: Sequence[StepEngine], read: Callable[[StepEngine], Histogram]) -> Iterator[str]:
    yield from _head(family)
    for engine in engines:
        histogram = read(engine)
        buckets = _bucket_series(family.name, engine.index, engine.scenario.model_name, histogram.bounds)
        below = list(accumulate(histogram.counts))
        yield "\n".join([f"{series} {go_float(count)}" for series, count in zip(buckets, below, strict=True)])
        yield _sample(f"{family.name}_count", engine, None, below[-1])
        yield _sample(f"{family.name}_sum", engine, None, histogram.sum)
    yield from _created(f"{family.name}_created", family, engines, lambda _: [(None, 0)])


def _created(
    name: str, family: Family, engines: Sequence[StepEngine], read: Callable[[StepEngine], Samples]
) -> Iterator[str]:
    """The twin that prometheus_client adds to each counter and histogram: when it was made, as a gauge."""
    yield from _head(Family(name, "gauge", family.text))
    for engine in engines:
        for label, _ in read(engine):
            yield _sample(name, engine, label, EPOCH_UNIX_SECONDS + engine.started_seconds)


def _head(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.text}"
    yield f"# TYPE {family.name} {family.kind}"


def _sample(name: str, engine: StepEngine, label: Label, value: float) -> str:
    return f"{_engine_series(name, engine.index, engine.scenario.model_name, label)} {go_float(value)}"


@lru_cache(maxsize=1024)  # a page has the same series every time, and only their values are new
def _bucket_series(name: str, index: int, model_name: str, bounds: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(_engine_series(f"{name}_bucket", index, model_name, ("le", go_float(b))) for b in (*bounds, math.inf))


@lru_cache(maxsize=4096)  # likewise
def _engine_series(name: str, index: int, model_name: str, label: Label) -> str:
    return _series(name, {"engine": str(index), "model_name": model_name, **dict([label] if label else [])})


def _series(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def go_float(value: float) -> str:
    """A number as prometheus_client writes it.

    >>> go_float(3), go_float(1790000000.5), go_float(float("inf"))
    ('3.0', '1.7900000005e+09', '+Inf')
    """
    if type(value) is int and 0 <= value < 10**6:
        return f"{value}.0"
    number = float(value)
    if number == math.inf:
        return "+Inf"
    text = repr(number)
    dot = text.find(".")
    if number > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+0{dot - 1}"
    return text
