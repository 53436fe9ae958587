"""vLLM's metrics as snapshots: a page of `/metrics`, or samples that a store keeps. Only here are their names known.

Names and meanings were read in vLLM 0.32 and 0.33 (`vllm/v1/metrics/loggers.py`, `vllm/v1/spec_decode/metrics.py`).
A page carries thousands of lines; only those of the wanted samples are given to prometheus_client's parser, and their
names and labels only once.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from controller.observe.errors import ObserveError
from controller.observe.snapshot import Labels, Snapshot
from controller.plain import plain
from controller.reason import Reason

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.samples import Sample as MetricSample

SPECULATION: Final = {
    "spec_decode_num_drafts_total": "drafts",
    "spec_decode_num_draft_tokens_total": "draft_tokens",
    "spec_decode_num_accepted_tokens_total": "accepted_tokens",
}
PER_POSITION: Final = "spec_decode_num_accepted_tokens_per_pos_total"
LOAD: Final = {
    "inter_token_latency_seconds_count": "latency_samples",
    "inter_token_latency_seconds_sum": "latency_seconds",
    "iteration_tokens_total_count": "steps",
    "generation_tokens_total": "generated_tokens",
    "time_to_first_token_seconds_count": "first_tokens",
    "prompt_tokens_total": "prompt_tokens",
}
"""Without these nothing can be said of the load: a page that lacks one is cut or not vLLM's."""
OPTIONAL: Final = {
    "num_preemptions_total": "preemptions",
    "num_requests_running": "running",
    "num_requests_waiting": "waiting",
}
_CUT: Final = (
    "it is cut, or it comes from a vLLM older than 0.11 or started with --disable-log-stats. Fetch it again, whole."
)
FIRST_ENGINE: Final = "0"
"""The engine of a series without that label."""
CREATED: Final = "generation_tokens_created"
"""The `_created` twin of one counter, wanted by its exact name: it moves when the server restarts."""

GAUGES: Final = frozenset({"num_requests_running", "num_requests_waiting"})
"""What may fall without a restart."""
ALWAYS: Final = "generation_tokens_total"
"""The counter that stands for a server where all that is asked is which servers there are."""
PREFIXES: Final = ("vllm:", "vllm_")
"""Both spellings: an OpenMetrics page has the second."""

_PLAIN: Final = SPECULATION | LOAD | OPTIONAL
WANTED: Final = frozenset({*_PLAIN, PER_POSITION, CREATED})
Sample = tuple[str, int | None]
"""A wanted name without its prefix, and the draft position for `PER_POSITION`."""
_Series = tuple[tuple[str, str], Sample | None]
"""Model name and engine, and which of the wanted samples it is; None for another."""
_PREFIX: Final = re.compile(r"^vllm[:_]")
_WANTED_LINE: Final = re.compile(
    r"^vllm[:_](?:" + "|".join(sorted(map(re.escape, WANTED))) + r")(?=[{ \t]).*$", re.MULTILINE
)
_ANY_VLLM: Final = re.compile(r"^vllm[:_]\w", re.MULTILINE)
_ANY_SAMPLE: Final = re.compile(
    r"^(?:# (?:HELP|TYPE) [a-zA-Z_:]"
    r"|[a-zA-Z_:][\w:]*(?:\{.*\})?[ \t]+[-+]?(?:[.\d]\S*|Inf|NaN)(?:[ \t]+-?\d+)?[ \t\r]*$)",
    re.MULTILINE,
)
SERIES_KEPT: Final = 1024
"""Series that need not be parsed again: those of some fifty engines on one page."""
SERIES_KEPT_CHARACTERS: Final = 2048
"""A longer one is parsed each time, so that what is kept stays small."""
NAME_CHARACTERS_MAX: Final = 8192
"""A longer name of a model or an engine is damage, for paths have half: it would stand in each metric and line of the
log."""
LIMIT: Final = 1e18
"""No counter of tokens, steps or seconds comes near: a larger value is damage."""


def read_page(text: str, at_seconds: float | None = None) -> tuple[Snapshot, ...]:
    """The snapshots of every engine on one page, ordered by model name and engine.

    Args:
        text: The page in the Prometheus text format 0.0.4; names may be spelt `vllm:...` or `vllm_...`.
        at_seconds: When it was read, on a monotonic clock; None if that is not known.

    Raises:
        ObserveError: The page is empty, cut, not a metrics page, not vLLM's, or holds an impossible value.
    """
    _refuse_other_pages(text)
    try:
        return _snapshots(_samples(_WANTED_LINE.findall(text)), at_seconds)
    except ValueError as error:
        raise ObserveError(
            Reason.PAGE_CUT,
            f"The metrics page cannot be parsed ({plain(str(error))}): it is cut or damaged. Fetch it again, whole.",
        ) from error


def snapshots(families: "Iterable[Metric]", at_seconds: float | None) -> tuple[Snapshot, ...]:
    """The same from families already parsed; `read_page` equals this over a full parse of the page."""
    return _snapshots(((_series_of(each), each.value) for each in _all(families)), at_seconds)


def _samples(lines: Sequence[str]) -> Iterable[tuple[_Series, float]]:
    """What the lines tell. Those of the usual form are a series, a space and a value, and the series is known by now.

    Raises:
        ValueError: They are damaged.
    """
    try:
        return [
            ((_series if len(series) <= SERIES_KEPT_CHARACTERS else _read_series)(series), _number(value))
            for series, _, value in (line.rpartition(" ") for line in lines)
        ]
    except ValueError:
        return [(_series_of(each), each.value) for each in _parsed("\n".join(lines) + "\n")]


def _read_series(text: str) -> _Series:
    """What a name and labels stand for. Raises ValueError where more is there, such as a value before a timestamp."""
    (found,) = _parsed(f"{text} 0\n")
    if found.value != 0 or found.timestamp is not None:
        raise ValueError(text)
    return _series_of(found)


_series: Final = lru_cache(maxsize=SERIES_KEPT)(_read_series)


def _number(text: str) -> float:
    if "_" in text:  # to Python it is one all the same
        raise ValueError(text)
    return float(text)


def _parsed(lines: str) -> "Iterator[MetricSample]":
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415  # a store needs no parser

    return _all(text_string_to_metric_families(lines))


def _all(families: "Iterable[Metric]") -> "Iterator[MetricSample]":
    return (each for family in families for each in family.samples)


def _series_of(each: "MetricSample") -> _Series:
    engine = (each.labels.get("model_name", ""), each.labels.get("engine", FIRST_ENGINE))
    return engine, sample(each.name, each.labels)


def _snapshots(samples: Iterable[tuple[_Series, float]], at_seconds: float | None) -> tuple[Snapshot, ...]:
    found: dict[tuple[str, str], dict[Sample, float]] = defaultdict(dict)
    for (engine, name), value in samples:
        if name is not None:
            refuse_impossible(name, value)
            _put(found[engine], name, value)
    for engine in found:
        if max(map(len, engine)) > NAME_CHARACTERS_MAX:
            raise ObserveError(
                Reason.BAD_SAMPLE,
                f"The page names a model or an engine by more than {NAME_CHARACTERS_MAX} characters: this page is not "
                "used. Give the model a shorter name with --served-model-name.",
            )
    if not any(position is None for samples in found.values() for _, position in samples):
        raise ObserveError(Reason.PAGE_CUT, f"The page has vllm: series, but not vllm:{next(iter(LOAD))}: {_CUT}")
    return tuple(assembled(*key, found[key], at_seconds) for key in sorted(found))


def sample(name: str, labels: Mapping[str, str]) -> Sample | None:
    """What a series holds; None when it is none of the wanted ones.

    >>> sample("vllm:spec_decode_num_accepted_tokens_per_pos_total", {"position": "2"})
    ('spec_decode_num_accepted_tokens_per_pos_total', 2)

    Raises:
        ObserveError: Its draft position is not a number.
    """
    found = _PREFIX.sub("", name)
    if found == name or found not in WANTED:
        return None
    return found, _position(labels.get("position", "")) if found == PER_POSITION else None


def assembled(
    model_name: str,
    engine: str,
    samples: Mapping[Sample, float],
    at_seconds: float | None,
    labels: Labels = (),
) -> Snapshot:
    """The snapshot of one engine from its samples of one instant.

    Raises:
        ObserveError: One is missing.
    """
    positions = sorted(position for _, position in samples if position is not None)
    speculative = bool(positions) or any((name, None) in samples for name in SPECULATION)
    required = [*LOAD, *(SPECULATION if speculative else ())]
    missing = [name for name in required if (name, None) not in samples]
    if speculative and positions != list(range(len(positions) or 1)):
        missing.append(PER_POSITION)
    if missing:
        raise ObserveError(
            Reason.PAGE_CUT,
            f"The page lacks vllm:{missing[0]} for model '{plain(model_name)}', engine '{plain(engine)}': {_CUT}",
        )
    fields = {field: samples.get((name, None), 0.0) for name, field in _PLAIN.items()}
    return Snapshot(
        model_name=model_name,
        engine=engine,
        at_seconds=at_seconds,
        created_seconds=samples.get((CREATED, None)),
        accepted_by_position=tuple(samples[PER_POSITION, position] for position in positions),
        labels=labels,
        replicas=None,
        **fields,
    )


def _put(found: dict[Sample, float], name: Sample, value: float) -> None:
    if name in found:
        raise ObserveError(
            Reason.BAD_SAMPLE,
            f"vllm:{name[0]} stands twice on the page for one engine: it seems to be the page of several servers put "
            "together. Give the address of one vLLM server.",
        )
    found[name] = float(value)


def _refuse_other_pages(text: str) -> None:
    beginning = " ".join(text[:200].split())
    if not beginning:
        raise ObserveError(
            Reason.PAGE_EMPTY,
            "The metrics page is empty: check that the address is vLLM's API port, path /metrics.",
        )
    if beginning.startswith("<") or not _ANY_SAMPLE.search(text):
        raise ObserveError(
            Reason.NOT_METRICS,
            f"The answer is not a metrics page (it begins '{plain(beginning, 40)}'): check that the address is "
            "vLLM's API port, path /metrics, with no login page or ingress in front.",
        )
    if not _ANY_VLLM.search(text):
        raise ObserveError(
            Reason.NOT_VLLM,
            "A metrics page, but without any vllm: series: this is another program's port, or vLLM was started "
            "with --disable-log-stats. Give the address of vLLM's API port, or start it without that flag.",
        )
    if not text.endswith("\n"):
        raise ObserveError(
            Reason.PAGE_CUT,
            "The metrics page ends in the middle of a line: it is cut. Fetch it again, whole.",
        )


def refuse_impossible(found: Sample, value: float) -> None:
    """No counter or gauge of vLLM is negative, infinite or beyond `LIMIT`; raises `ObserveError`."""
    name, _ = found
    if not 0 <= value < LIMIT:  # False for NaN, too
        raise ObserveError(
            Reason.BAD_SAMPLE,
            f"vllm:{name} is {plain(str(value), 20)}, which no counter or gauge of vLLM can be: this page is not used. "
            "If it repeats, look at what stands between vLLM and adaptive-k.",
        )


def _position(label: str) -> int:
    if not label.isascii() or not label.isdigit() or len(label) > 3:
        raise ObserveError(
            Reason.BAD_SAMPLE,
            f"vllm:{PER_POSITION} has position='{plain(label, 20)}', where a small whole number is expected: this page "
            "is not used. If it repeats, look at what stands between vLLM and adaptive-k.",
        )
    return int(label)
