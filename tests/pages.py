"""Snapshots, and the pages of /metrics that show them, written by prometheus_client as vLLM's are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.observe.snapshot import Snapshot
from controller.reason import Reason

CAPTURES: Final = tuple(sorted((Path(__file__).parent / "data" / "vllm_pages").glob("*.txt")))
"""Pages of vLLM 0.32, as it served them."""
NGRAM_WINDOW: Final = tuple(path for path in reversed(CAPTURES) if "ngram" in path.name)
"""The pages before and after one window of n-gram drafting."""
COUNTERS: Final = {
    "spec_decode_num_drafts": "drafts",
    "spec_decode_num_draft_tokens": "draft_tokens",
    "spec_decode_num_accepted_tokens": "accepted_tokens",
    "num_preemptions": "preemptions",
    "prompt_tokens": "prompt_tokens",
    "generation_tokens": "generated_tokens",
}
GAUGES: Final = {
    "num_requests_running": "running",
    "num_requests_waiting": "waiting",
}
HISTOGRAMS: Final = {
    "iteration_tokens_total": ("steps", None),
    "time_to_first_token_seconds": ("first_tokens", None),
    "inter_token_latency_seconds": ("latency_samples", "latency_seconds"),
}
CREATED: Final = 1_790_000_000.0


def snapshot(k_max: int | None = 4, **values: Any) -> Snapshot:
    """An engine that has just started."""
    zeros = dict.fromkeys(
        (
            "drafts", "draft_tokens", "accepted_tokens", "latency_samples", "latency_seconds", "steps",
            "generated_tokens", "first_tokens", "prompt_tokens", "preemptions", "running", "waiting",
        ),
        0.0,
    )  # fmt: skip
    named: dict[str, Any] = {
        "model_name": "m",
        "engine": "0",
        "at_seconds": None,
        "created_seconds": CREATED,
        "accepted_by_position": (0.0,) * (k_max or 0),
    }
    return Snapshot(**zeros | named | values)


def after(
    before: Snapshot,
    *,
    request_steps: int = 4000,
    survival: tuple[float, ...] = (0.8, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15),
    batch: float = 4.0,
    step_seconds: float = 0.01,
) -> Snapshot:
    """The same engine some traffic later: every request-step drafts k_max tokens, `survival` of them are accepted."""
    k_max = before.k_max or 0
    accepted = tuple(float(round(request_steps * share)) for share in survival[:k_max])
    drafts = request_steps if k_max else 0
    return replace(
        before,
        drafts=before.drafts + drafts,
        draft_tokens=before.draft_tokens + drafts * k_max,
        accepted_tokens=before.accepted_tokens + sum(accepted),
        accepted_by_position=tuple(a + b for a, b in zip(before.accepted_by_position, accepted, strict=True)),
        latency_samples=before.latency_samples + request_steps,
        latency_seconds=before.latency_seconds + request_steps * step_seconds,
        steps=before.steps + request_steps / batch,
        generated_tokens=before.generated_tokens + request_steps + sum(accepted) + 10,
        first_tokens=before.first_tokens + 10,
        prompt_tokens=before.prompt_tokens + 5000,
        running=batch,
    )


def page(*engines: Snapshot) -> str:
    """The page that shows these engines; those without a k_max have no speculative series."""
    registry = CollectorRegistry()
    registry.register(_Engines(engines))
    return generate_latest(registry).decode()


class _Engines(Collector):
    def __init__(self, engines: tuple[Snapshot, ...]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        labels = ("model_name", "engine")
        for name, field in COUNTERS.items():
            family = CounterMetricFamily(f"vllm:{name}", f"{name}.", labels=labels)
            for each in self._engines:
                if each.k_max is not None or not name.startswith("spec_decode"):
                    family.add_metric(each.key[:2], getattr(each, field), created=each.created_seconds)
            yield family
        family = CounterMetricFamily(
            "vllm:spec_decode_num_accepted_tokens_per_pos", "Per position.", labels=[*labels, "position"]
        )
        for each in self._engines:
            for position, value in enumerate(each.accepted_by_position):
                family.add_metric((*each.key[:2], str(position)), value, created=each.created_seconds)
        yield family
        for name, field in GAUGES.items():
            gauge = GaugeMetricFamily(f"vllm:{name}", f"{name}.", labels=labels)
            for each in self._engines:
                gauge.add_metric(each.key[:2], getattr(each, field))
            yield gauge
        for name, (count, total) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"vllm:{name}", f"{name}.", labels=labels)
            for each in self._engines:
                samples = getattr(each, count)
                seconds = getattr(each, total) if total else samples * 2
                histogram.add_metric(each.key[:2], [("0.1", samples), ("+Inf", samples)], seconds)
            yield histogram


def with_value(text: str, series: str, value: str) -> str:
    """The page with another value in one series, named by the beginning of its line."""
    lines = text.splitlines(keepends=True)
    (index,) = (index for index, line in enumerate(lines) if line.startswith(series))
    lines[index] = f"{lines[index].rpartition(' ')[0]} {value}\n"
    return "".join(lines)


def _without(text: str, part: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if part not in line)


_GOOD: Final = page(after(snapshot()))
_DRAFTS: Final = "vllm:spec_decode_num_drafts_total"
_STEPS: Final = "vllm:iteration_tokens_total_count"

BAD_PAGES: Final[dict[str, tuple[str, Reason, str]]] = {
    "html": ("<!DOCTYPE html>\n<html><body>Sign in 1\n</body></html>\n", Reason.NOT_METRICS, "not a metrics page"),
    "plain text": ("404 page not found\n", Reason.NOT_METRICS, "API port"),
    "words": ("upstream connect error\nor disconnect 12 times\n", Reason.NOT_METRICS, "not a metrics page"),
    "json": ('{"detail": "Not Found"}', Reason.NOT_METRICS, "not a metrics page"),
    "empty": ("", Reason.PAGE_EMPTY, "is empty"),
    "blank": ("\n \n\n", Reason.PAGE_EMPTY, "check that the address"),
    "cut in a line": (_GOOD[: _GOOD.index(_STEPS) + 20], Reason.PAGE_CUT, "ends in the middle"),
    "cut after a line": (_GOOD[: _GOOD.index(_STEPS)], Reason.PAGE_CUT, "Fetch it again"),
    "other program": ("# TYPE up gauge\nup 1\nvllm_ 3\n", Reason.NOT_VLLM, "another program"),
    "nothing of use": ('vllm:cache_config_info{engine="0"} 1\n', Reason.PAGE_CUT, "older than 0.11"),
    "half a value": (with_value(_GOOD, _DRAFTS, "12x"), Reason.PAGE_CUT, "cannot be parsed"),
    "NaN": (with_value(_GOOD, _DRAFTS, "NaN"), Reason.BAD_SAMPLE, "drafts_total is nan"),
    "infinite": (with_value(_GOOD, _STEPS, "+Inf"), Reason.BAD_SAMPLE, "is inf"),
    "negative": (with_value(_GOOD, _DRAFTS, "-1.0"), Reason.BAD_SAMPLE, "is -1"),
    "overflowing": (with_value(_GOOD, _DRAFTS, "9" * 400), Reason.BAD_SAMPLE, "not used"),
    "negative gauge": (with_value(_GOOD, "vllm:num_requests_running", "-3"), Reason.BAD_SAMPLE, "is -3"),
    "no such position": (_GOOD.replace('position="3"', 'position="x"'), Reason.BAD_SAMPLE, "position='x'"),
    "position missing": (_without(_GOOD, 'position="1"'), Reason.PAGE_CUT, "per_pos"),
    "positions missing": (_without(_GOOD, "per_pos"), Reason.PAGE_CUT, "per_pos"),
    "drafts missing": (_without(_GOOD, "num_draft_tokens"), Reason.PAGE_CUT, "num_draft_tokens"),
    "two servers": (_GOOD + _GOOD, Reason.BAD_SAMPLE, "several servers"),
}
"""Pages that must be refused: the page, the reason, and words of the sentence."""
BAD_SUCCESSORS: Final[dict[str, tuple[Snapshot, Reason, str]]] = {
    "a counter fell": (after(snapshot(), request_steps=10), Reason.SERVER_RESTARTED, "fell from"),
    "everything fell": (snapshot(), Reason.SERVER_RESTARTED, "restarted inside the window"),
    "another k_max": (after(after(snapshot(3))), Reason.SERVER_RESTARTED, "k_max went from 4 to 3"),
    "created anew": (
        replace(after(after(after(snapshot()))), created_seconds=CREATED + 100),
        Reason.SERVER_RESTARTED,
        "created anew",
    ),
    "positions rise": (
        replace(after(after(after(snapshot()))), accepted_by_position=(6400.0, 9000.0, 5000.0, 4000.0)),
        Reason.COUNTERS_DISAGREE,
        "later position",
    ),
    "more accepted than drafted": (
        replace(after(after(snapshot())), draft_tokens=40_000.0, accepted_tokens=60_000.0, drafts=20_000.0),
        Reason.COUNTERS_DISAGREE,
        "contradict",
    ),
    "more drafted than k_max allows": (
        replace(after(after(after(snapshot()))), draft_tokens=1e6),
        Reason.COUNTERS_DISAGREE,
        "in 4000 drafts of at most 4",
    ),
    "more than any server counts": (
        replace(after(after(after(snapshot()))), prompt_tokens=1e15),
        Reason.COUNTERS_DISAGREE,
        "prompt_tokens rose by 1e+15",
    ),
    "a step of hours": (
        replace(after(after(after(snapshot()))), latency_seconds=1e9),
        Reason.COUNTERS_DISAGREE,
        "a step took 250000 s",
    ),
    "a step of nothing": (
        replace(after(after(after(snapshot()))), latency_seconds=80.0 + 1e-9),
        Reason.COUNTERS_DISAGREE,
        "a step took",
    ),
    "a batch of millions": (
        replace(after(after(after(snapshot()))), steps=2000.0 + 2e-3),
        Reason.COUNTERS_DISAGREE,
        "requests at once",
    ),
}
"""What may not follow `after(after(snapshot()))`, why, and words of the sentence."""
