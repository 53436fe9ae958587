"""What a backtest found, in values: by workload, by hour, and each change that would have been made."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Final

from controller.cycle import Failure
from controller.decide.decision import Action, Bounded
from controller.observe.snapshot import Key
from controller.reason import Reason

NOTHING: Final = Bounded(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Yield:
    """Tokens that a contender makes, or would have made, in the busy time of what ran.

    Attributes:
        tokens: With 90% bounds; those of single windows are added as if all erred together.
        measured_tokens: Of the expected ones those whose price was measured: this k ran there at this load, and every
            position of its drafts was seen. The rest is modelled.
        unpriced_tokens: Those of windows in which nothing could be priced: they count as they ran.
    """

    tokens: Bounded = NOTHING
    measured_tokens: float = 0.0
    unpriced_tokens: float = 0.0

    def __add__(self, other: "Yield") -> "Yield":
        """Both together."""
        mine, more = self.tokens, other.tokens
        return Yield(
            Bounded(mine.value + more.value, mine.low + more.low, mine.high + more.high),
            self.measured_tokens + other.measured_tokens,
            self.unpriced_tokens + other.unpriced_tokens,
        )

    @property
    def measured_share(self) -> float:
        """Share of the priced tokens whose price was measured, 0 to 1."""
        return _ratio(self.measured_tokens, self.tokens.value - self.unpriced_tokens) or 0.0

    def against(self, ran_tokens: float) -> Bounded | None:
        """The gain over what ran, as a ratio minus 1; None where nothing ran."""
        if ran_tokens <= 0:
            return None
        return Bounded(*(each / ran_tokens - 1 for each in (self.tokens.value, self.tokens.low, self.tokens.high)))


@dataclass(frozen=True, slots=True)
class Span:
    """Some time of one workload: an hour, or all of it.

    Attributes:
        start_unix_seconds: When it began.
        windows: Passes with a usable window.
        busy_windows: Those of them in which something could be decided.
        tokens: Tokens generated: measured.
        k_tokens: k that ran, times tokens, over the busy windows in which it was known.
        k_known_tokens: Those tokens.
        would_k_tokens: k that the loop would have run, times those tokens.
        best_k_tokens: k of the highest expected throughput, times the tokens of busy windows.
        batch_tokens: Batch, times the tokens of busy windows.
        busy_tokens: Those tokens.
        would: What the loop would have made.
        fixed: What each fixed k would have made, k = 0, 1, ...; as far as all windows had that k.
    """

    start_unix_seconds: float
    windows: int = 0
    busy_windows: int = 0
    tokens: float = 0.0
    k_tokens: float = 0.0
    k_known_tokens: float = 0.0
    would_k_tokens: float = 0.0
    best_k_tokens: float = 0.0
    batch_tokens: float = 0.0
    busy_tokens: float = 0.0
    would: Yield = Yield()
    fixed: tuple[Yield, ...] | None = None

    def __add__(self, other: "Span") -> "Span":
        """Both together; it begins where the first one does."""
        return Span(
            self.start_unix_seconds,
            self.windows + other.windows,
            self.busy_windows + other.busy_windows,
            self.tokens + other.tokens,
            self.k_tokens + other.k_tokens,
            self.k_known_tokens + other.k_known_tokens,
            self.would_k_tokens + other.would_k_tokens,
            self.best_k_tokens + other.best_k_tokens,
            self.batch_tokens + other.batch_tokens,
            self.busy_tokens + other.busy_tokens,
            self.would + other.would,
            _fixed(self, other),
        )

    @property
    def k_ran(self) -> float | None:
        """Mean k in force, weighed by tokens; None where it was never known."""
        return _ratio(self.k_tokens, self.k_known_tokens)

    @property
    def k_would(self) -> float | None:
        """Mean k that the loop would have run."""
        return _ratio(self.would_k_tokens, self.k_known_tokens)

    @property
    def k_best(self) -> float | None:
        """Mean k of the highest expected throughput."""
        return _ratio(self.best_k_tokens, self.busy_tokens)

    @property
    def batch(self) -> float | None:
        """Mean decoding requests of an engine."""
        return _ratio(self.batch_tokens, self.busy_tokens)

    @property
    def best_fixed_k(self) -> int | None:
        """The fixed k that would have made most, in hindsight and as priced; the smaller one of equals."""
        made = self.fixed or ()
        return max(range(len(made)), key=lambda k: (made[k].tokens.value, -k)) if made else None


@dataclass(frozen=True, slots=True)
class Change:
    """A moment at which the k that would have run became another one.

    Attributes:
        at_unix_seconds: When.
        k_from: Before; None for what ran, where that is not known.
        k_to: From then on; None for what ran.
        batch: Decoding requests of an engine.
        gain: Throughput at `k_to` over what ran, as a ratio, as the loop saw it then; None when it goes back to that.
        action: What the loop decided.
        reason: Why, by name.
        sentence: Why, in words.
    """

    at_unix_seconds: float
    k_from: float | None
    k_to: float | None
    batch: float | None
    gain: Bounded | None
    action: Action
    reason: Reason
    sentence: str


@dataclass(frozen=True, slots=True)
class Untold:
    """What the history of a workload cannot tell, however long it is.

    Attributes:
        k_max: The launch value.
        positions_seen: Draft positions that were ever drafted; what lies beyond is extrapolated.
        ks_never_run: ks whose step was never measured at a load that was met: their step times are modelled.
    """

    k_max: int
    positions_seen: int
    ks_never_run: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """One workload.

    Attributes:
        key: Model name, engine and labels.
        hours: By the hour, in order; hours without any window are left out.
        changes: What would have been changed, in order.
        reasons: How many passes ended with each reason, the most frequent first.
        engine_hours: Hours of engines that were counted.
        left_out: Windows of single engines that could not be used, by reason, as engine-passes.
        notes: What the source said of the answers it had, each once, and the first few of each reason.
        untold: What its history cannot tell; None where nothing could be decided.
    """

    key: Key
    hours: tuple[Span, ...]
    changes: tuple[Change, ...]
    reasons: tuple[tuple[Reason, int], ...]
    engine_hours: float = 0.0
    left_out: tuple[tuple[Reason, int], ...] = ()
    notes: tuple[tuple[Reason, str], ...] = ()
    untold: Untold | None = None

    @cached_property
    def total(self) -> Span:
        """All hours together."""
        return together(self.hours)


@dataclass(frozen=True)
class Backtest:
    """All workloads, and how far the replay came.

    Attributes:
        since_unix_seconds: Where history was asked for from.
        until_unix_seconds: And to.
        step_seconds: Between two passes.
        reached_unix_seconds: How far it was replayed; `until_unix_seconds` unless something failed.
        first_unix_seconds: The first pass that saw a server; None when none did.
        last_unix_seconds: The last one.
        outcomes: By workload, the largest gain first.
        failure: Why it ended early; None when it did not.
        warnings: What makes the answer less than it seems, in words.
        passes: Of the loop, those of all workloads counted once.
        queries: Asked of the store.
        size_bytes: Of its answers.
    """

    since_unix_seconds: float
    until_unix_seconds: float
    step_seconds: float
    reached_unix_seconds: float
    first_unix_seconds: float | None
    last_unix_seconds: float | None
    outcomes: tuple[Outcome, ...]
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    passes: int = 0
    queries: int = 0
    size_bytes: int = 0

    @property
    def seconds(self) -> float:
        """From the first pass that saw a server to the last one."""
        if self.first_unix_seconds is None or self.last_unix_seconds is None:
            return 0.0
        return self.last_unix_seconds - self.first_unix_seconds

    @property
    def engine_hours(self) -> float:
        """Of all workloads."""
        return sum(each.engine_hours for each in self.outcomes)


def together(spans: Iterable[Span]) -> Span:
    """Several spans as one that begins where the first does; an empty one of none."""
    first, *others = [*spans] or [Span(0.0)]
    return reduce(lambda sum_, each: sum_ + each, others, first)


def _fixed(one: Span, other: Span) -> tuple[Yield, ...] | None:
    """By k, as far as both go; a span in which no k could be priced counts as it ran, whatever k."""
    if one.fixed is not None and other.fixed is not None:
        return tuple(mine + more for mine, more in zip(one.fixed, other.fixed, strict=False))
    priced, rest = (one.fixed, other) if one.fixed is not None else (other.fixed, one)
    ran = Yield(Bounded(rest.tokens, rest.tokens, rest.tokens), 0.0, rest.tokens)
    return None if priced is None else tuple(each + ran for each in priced)


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None
