"""What happened between two snapshots of the same engine."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from operator import attrgetter
from typing import Final

from controller.observe.errors import ObserveError
from controller.observe.snapshot import Replicas, Snapshot
from controller.observe.speculation import BATCH_MAX, COUNT_MAX, STEP_SECONDS
from controller.reason import Reason

LEAST_COUNT: Final = 1e-3
"""A thousandth of an event is none, and ratios stay finite."""
PER_TOKEN_TOLERANCE: Final = 0.02
"""A latency histogram counts tokens rather than request-steps when its count is within this of the decoded tokens."""
NO_NEW_SAMPLES: Final = (
    "The server was not scraped since the last pass: look at less often than it is scraped (--interval-seconds), or "
    "see why scraping stopped."
)


@dataclass(frozen=True, slots=True)
class Window:
    """Differences of counters, and means of gauges; units as in `Snapshot`.

    `seconds` is None when the pages carry no interval: rates per wall second are then unknown, and nothing
    in the scores needs them. Every ratio below is None when its denominator is 0 (an idle window).
    """

    model_name: str
    engine: str
    seconds: float | None
    k_max: int | None
    drafts: float
    draft_tokens: float
    accepted_tokens: float
    accepted_by_position: tuple[float, ...]
    latency_samples: float
    latency_seconds: float
    steps: float
    generated_tokens: float
    first_tokens: float
    prompt_tokens: float
    preemptions: float
    running: float
    waiting: float

    @property
    def decoded_tokens(self) -> float:
        """Tokens generated after the first of each request."""
        return max(0.0, self.generated_tokens - self.first_tokens)

    @property
    def latency_per_token(self) -> bool:
        """Whether the latency histogram holds one sample a token rather than one a request-step.

        vLLM up to 0.33 adds one sample per request and engine step; a change to one per token is open upstream.
        With accepted drafts the two differ, so the count tells which holds.
        """
        decoded = self.decoded_tokens
        if self.accepted_tokens < 2 * PER_TOKEN_TOLERANCE * decoded:
            return False
        return abs(self.latency_samples - decoded) <= PER_TOKEN_TOLERANCE * decoded

    @property
    def request_steps(self) -> float:
        """Pairs of (request, engine step) that emitted tokens after the first: the unit of everything per step."""
        if self.latency_per_token:
            return max(0.0, self.decoded_tokens - self.accepted_tokens)
        return self.latency_samples

    @property
    def step_seconds(self) -> float | None:
        """Mean engine step as the requests felt it: sum of inter-token latencies / request-steps.

        Weighted by requests: a step with 63 requests counts 63 times, one with a single request once.
        """
        return _ratio(self.latency_seconds, self.request_steps)

    @property
    def decode_batch(self) -> float | None:
        """Mean number of decoding requests per engine step: request-steps / steps."""
        return _ratio(self.request_steps, self.steps)

    @property
    def tpot_seconds(self) -> float | None:
        """Time per output token after the first, averaged over tokens: sum of inter-token latencies / such tokens."""
        return _ratio(self.latency_seconds, self.decoded_tokens)

    @property
    def mean_acceptance_length(self) -> float | None:
        """Tokens per verified draft, bonus token included: 1 + accepted / drafts."""
        ratio = _ratio(self.accepted_tokens, self.drafts)
        return None if ratio is None else 1.0 + ratio

    @property
    def mean_draft_length(self) -> float | None:
        """Draft tokens per draft. Equal to k only for methods that always draft k."""
        return _ratio(self.draft_tokens, self.drafts)

    @property
    def drafting_share(self) -> float | None:
        """Request-steps that verified a draft / request-steps, at most 1."""
        ratio = _ratio(self.drafts, self.request_steps)
        return None if ratio is None else min(1.0, ratio)


_COUNTERS: Final = tuple(
    field.name
    for field in fields(Window)
    if field.name
    not in {
        "model_name", "engine", "seconds", "k_max", "accepted_by_position", "running", "waiting",
    }
)  # fmt: skip
_GAUGES: Final = ("running", "waiting")
_counted: Final = attrgetter(*_COUNTERS)
"""The counters of a snapshot or a window, in their order."""


def between(before: Snapshot, after: Snapshot) -> Window:
    """The window from one snapshot to a later one of the same engine.

    Raises:
        ObserveError: The server restarted in between (a counter fell, its creation time or k_max changed),
            the clock did not move forward, the counters contradict each other, or none of the engines that the
            snapshots add up could be read.
    """
    refuse_unread(after)
    if after.replicas is not None and not after.replicas.counted:
        raise ObserveError(Reason.NO_NEW_SAMPLES, NO_NEW_SAMPLES)
    _refuse_restart(before, after)
    seconds = _seconds(before, after)
    by_position = zip(before.accepted_by_position, after.accepted_by_position, strict=True)
    window = Window(
        model_name=after.model_name,
        engine=after.engine,
        seconds=seconds,
        k_max=after.k_max,
        accepted_by_position=tuple(_risen(early, late) for early, late in by_position),
        **{name: _risen(early, late, name) for name, early, late in _both(before, after)},
        **{name: (getattr(after, name) + getattr(before, name)) / 2 for name in _GAUGES},
    )
    _refuse_contradiction(window, max(1, after.replicas.counted) if after.replicas else 1)
    return window


def _both(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, float, float]]:
    """Each counter's name, and its two values."""
    return zip(_COUNTERS, _counted(before), _counted(after), strict=True)


def _risen(before: float, after: float, name: str = "") -> float:
    """By how much; a thousandth of an event is none, and seconds are what they are."""
    risen = after - before
    return risen if risen > LEAST_COUNT or name.endswith("_seconds") else 0.0


def advanced(
    total: Snapshot,
    windows: Iterable[Window],
    latest: Sequence[Snapshot],
    seconds: float,
    replicas: Replicas | None = None,
) -> Snapshot:
    """A running total after more windows of the engines that it adds up: `between` two totals is their sum.

    Args:
        total: Before.
        windows: Of any of its engines, each counted once.
        latest: The present scrape of each engine, whose gauges are averaged; empty to keep the old ones.
        seconds: What the windows lasted, the engines side by side.
        replicas: What is said of the engines.
    """
    counters, positions = [*_counted(total)], [*total.accepted_by_position]
    for window in windows:
        counters = [known + more for known, more in zip(counters, _counted(window), strict=True)]
        positions = [known + more for known, more in zip(positions, window.accepted_by_position, strict=True)]
    gauges = {name: sum(getattr(each, name) for each in latest) / len(latest) for name in _GAUGES} if latest else {}
    at_seconds = None if total.at_seconds is None else total.at_seconds + seconds
    return replace(
        total,
        at_seconds=at_seconds,
        accepted_by_position=tuple(positions),
        replicas=replicas,
        **dict(zip(_COUNTERS, counters, strict=True)),
        **gauges,
    )


def refuse_unread(snapshot: Snapshot) -> None:
    """Refuses a snapshot none of whose engines could be read, by the reason of most; raises `ObserveError`."""
    replicas = snapshot.replicas
    if replicas is not None and not replicas.counted and replicas.left_out:
        raise ObserveError(replicas.left_out[0][0], replicas.message)


def _refuse_restart(before: Snapshot, after: Snapshot) -> None:
    fell = [name for name, early, late in _both(before, after) if late < early]
    if before.k_max != after.k_max:
        what = f"k_max went from {before.k_max} to {after.k_max}"
    elif fell:
        what = f"{fell[0]} fell from {getattr(before, fell[0]):g} to {getattr(after, fell[0]):g}"
    elif any(late < early for early, late in zip(before.accepted_by_position, after.accepted_by_position, strict=True)):
        what = "accepted tokens fell at a draft position"
    elif None not in (before.created_seconds, after.created_seconds) and (
        before.created_seconds != after.created_seconds
    ):
        what = "its counters were created anew"
    else:
        return
    raise ObserveError(
        Reason.SERVER_RESTARTED,
        f"The server restarted inside the window ({what}), or the pages are of different servers or in the wrong "
        "order: this window is not used. Watch another one, or give the pages of one server in order of time.",
    )


def _seconds(before: Snapshot, after: Snapshot) -> float | None:
    if before.at_seconds is None or after.at_seconds is None:
        return None
    seconds = after.at_seconds - before.at_seconds
    if seconds <= 0:
        raise ObserveError(
            Reason.CLOCK_JUMPED,
            f"The clock moved by {seconds:g} s between two pages: this window is not used. "
            "If it repeats, look at the host's clock.",
        )
    return seconds


def _refuse_contradiction(window: Window, engines: int) -> None:
    """Facts that hold on every vLLM page, with room for a scrape that falls between two increments."""
    slack = 2.0 * (1.0 + window.running) * max(1, window.k_max or 1) * engines
    by_position = window.accepted_by_position
    if any(later > earlier + slack for earlier, later in pairwise(by_position)):
        what = "more drafts were accepted at a later position than at an earlier one"
    elif by_position and abs(sum(by_position) - window.accepted_tokens) > slack:
        what = f"accepted tokens are {window.accepted_tokens:g}, but {sum(by_position):g} when added over positions"
    elif window.accepted_tokens > window.draft_tokens + slack:
        what = f"{window.accepted_tokens:g} drafts were accepted of {window.draft_tokens:g} drafted"
    elif by_position and by_position[0] > window.drafts + slack:
        what = f"{by_position[0]:g} first drafts were accepted in {window.drafts:g} steps with a draft"
    elif by_position and window.draft_tokens > window.drafts * len(by_position) + slack:
        what = f"{window.draft_tokens:g} tokens were drafted in {window.drafts:g} drafts of at most {len(by_position)}"
    elif (impossible := _impossible(window)) is not None:
        what = impossible
    else:
        return
    raise ObserveError(
        Reason.COUNTERS_DISAGREE,
        f"The server's counters contradict each other ({what}): this window is not used. If it repeats, "
        "save two pages of /metrics and report them to adaptive-k.",
    )


def _impossible(window: Window) -> str | None:
    """What no server does, however its counters fit together; None when there is nothing."""
    counted = next((name for name, risen in zip(_COUNTERS, _counted(window), strict=True) if risen > COUNT_MAX), None)
    step_seconds, batch = window.step_seconds, window.decode_batch
    if counted is not None:
        return f"{counted} rose by {getattr(window, counted):g}"
    if batch is not None and max(batch, window.running, window.waiting) > BATCH_MAX:
        return f"{max(batch, window.running, window.waiting):g} requests at once"
    if step_seconds and not STEP_SECONDS[0] <= step_seconds <= STEP_SECONDS[1]:
        return f"a step took {step_seconds:g} s"
    if window.steps > 0 and window.prompt_tokens / window.steps > COUNT_MAX / BATCH_MAX:
        return f"a step read {window.prompt_tokens / window.steps:g} prompt tokens"
    return None


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > LEAST_COUNT else None
