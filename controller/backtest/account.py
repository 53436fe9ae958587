"""One workload's account, pass by pass: what ran, what the loop would have run instead, and what each would have made.

What ran is measured. What another k would have made in the same busy time is that times the ratio of throughputs at
which the loop, having learnt from all windows up to this one, prices it, with its bounds. A decision counts from the
next window on.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from controller.backtest.outcome import Change, Outcome, Span, Untold, Yield
from controller.cycle import EngineCycle
from controller.decide.decision import Action, Bounded, Decision
from controller.model.economics import Score
from controller.observe.snapshot import Key
from controller.observe.window import Window
from controller.reason import Reason

HOUR_SECONDS = 3600.0
NOTES_KEPT = 3
"""Of each reason: they quote the store, which may say another thing each time."""
AS_RAN = Score(-1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, tokens_observed=True, step_measured=True)
"""The price of what ran, relative to itself: known exactly."""
_SAME_K = 0.02
"""A mean k within this of a whole one is that one."""


class Account:
    """Adds up the passes of one workload."""

    def __init__(self, key: Key) -> None:
        """Nothing has passed yet."""
        self._key = key
        self._hours: list[_Hour] = []
        self._changes: list[Change] = []
        self._reasons: Counter[Reason] = Counter()
        self._left_out: Counter[Reason] = Counter()
        self._notes: dict[Reason, dict[str, None]] = {}
        self._engine_seconds = 0.0
        self._standing: int | None = None
        self._k_max, self._positions, self._ran = 0, 0, frozenset[int]()

    def add(self, at_unix_seconds: float, step_seconds: float, cycle: EngineCycle) -> None:
        """One more pass, which ended `step_seconds` after the one before."""
        self._take_replicas(cycle, step_seconds)
        if cycle.failure is not None:
            self._reasons[cycle.failure.reason] += 1
            return
        self._reasons[cycle.decision.reason] += 1
        if cycle.window is None:
            return
        hour = self._hour(at_unix_seconds - step_seconds / 2)
        if not cycle.decision.scores:
            hour.passed(cycle.window)
            return
        hour.priced(cycle.window, cycle.decision, self._standing)
        self._learn(cycle)
        self._follow(at_unix_seconds, cycle.decision)

    def outcome(self) -> Outcome:
        """All of it so far."""
        never = tuple(k for k in range(self._k_max + 1) if k not in self._ran)
        return Outcome(
            self._key,
            tuple(each.span() for each in self._hours),
            tuple(self._changes),
            tuple(self._reasons.most_common()),
            self._engine_seconds / 3600.0,
            tuple(self._left_out.most_common()),
            tuple((reason, text) for reason, texts in self._notes.items() for text in texts),
            Untold(self._k_max, self._positions, never) if self._k_max else None,
        )

    def _take_replicas(self, cycle: EngineCycle, step_seconds: float) -> None:
        replicas = cycle.replicas
        self._engine_seconds += step_seconds * (replicas.counted if replicas is not None else 1)
        if replicas is not None:
            self._left_out.update(dict(replicas.left_out))
            for reason, text in replicas.notes:
                known = self._notes.setdefault(reason, {})
                if len(known) < NOTES_KEPT:
                    known[text] = None

    def _hour(self, at_unix_seconds: float) -> "_Hour":
        start = at_unix_seconds // HOUR_SECONDS * HOUR_SECONDS
        if not self._hours or self._hours[-1].start_unix_seconds < start:
            self._hours.append(_Hour(start))
        return self._hours[-1]

    def _learn(self, cycle: EngineCycle) -> None:
        scores = cycle.decision.scores
        if len(scores) - 1 != self._k_max:  # another launch value: what is asked of history begins anew
            self._k_max, self._positions, self._ran = len(scores) - 1, 0, frozenset()
        if cycle.acceptance is not None:
            self._positions = max(self._positions, cycle.acceptance.positions_observed)
        self._ran |= {score.k for score in scores if score.step_measured}

    def _follow(self, at_unix_seconds: float, decision: Decision) -> None:
        after = followed(self._standing, decision)
        if after == self._standing:
            return
        before = decision.k_now if self._standing is None else float(self._standing)
        gain = None if after is None else _gain(decision.scores[after])
        to = decision.k_now if after is None else float(after)
        self._changes.append(
            Change(
                at_unix_seconds, before, to, decision.batch, gain, decision.action, decision.reason, decision.sentence
            )
        )
        self._standing = after


def followed(standing: int | None, decision: Decision) -> int | None:
    """The k that would run after a decision, by one who follows the loop; None for what runs anyway.

    A change is made. Where the loop finds what runs to be the best, it runs. In any other case the last answer stands
    for as long as it is expected to be no slower than what runs: to go back to what is measured needs no proof.
    """
    if decision.action is not Action.HOLD:
        here = decision.k_now is not None and decision.k is not None and abs(decision.k_now - decision.k) <= _SAME_K
        return None if here else decision.k
    if standing is None or decision.reason is Reason.BEST_ALREADY:
        return None
    if standing >= len(decision.scores) or decision.scores[standing].gain_ratio < 1.0:
        return None
    return standing


class _Hour:
    """An hour, in numbers that add up quickly."""

    def __init__(self, start_unix_seconds: float) -> None:
        self.start_unix_seconds = start_unix_seconds
        self._windows = self._busy = 0
        self._tokens = 0.0
        self._means = np.zeros(6)
        self._would = np.zeros(5)
        self._fixed: NDArray[np.float64] | None = None

    def passed(self, window: Window) -> None:
        """A window in which nothing could be priced: whatever k, its tokens count as they ran."""
        self._windows += 1
        self._tokens += window.generated_tokens

    def priced(self, window: Window, decision: Decision, standing: int | None) -> None:
        """A window in which every k has a price."""
        tokens, scores = window.generated_tokens, decision.scores
        self._windows, self._busy, self._tokens = self._windows + 1, self._busy + 1, self._tokens + tokens
        has = standing is not None and standing < len(scores)
        would = scores[standing] if has and standing is not None else AS_RAN
        k_ran = decision.k_now
        known = k_ran is not None
        k = k_ran or 0.0
        self._means += tokens * np.array(
            [k, known, (would.k if has else k) if known else 0.0, decision.k_best or 0, decision.batch or 0.0, 1.0]
        )
        self._would += tokens * np.array(_row(would, k_ran))
        fixed = tokens * np.array([_row(score, k_ran) for score in scores])
        if self._fixed is not None:
            length = min(len(self._fixed), len(fixed))
            fixed = fixed[:length] + self._fixed[:length]
        self._fixed = fixed

    def span(self) -> Span:
        """As a value."""
        fixed = None if self._fixed is None else tuple(self._yield(each) for each in self._fixed)
        k, known, k_would, k_best, batch, busy = self._means.tolist()
        return Span(
            self.start_unix_seconds,
            self._windows,
            self._busy,
            self._tokens,
            k_tokens=k,
            k_known_tokens=known,
            would_k_tokens=k_would,
            best_k_tokens=k_best,
            batch_tokens=batch,
            busy_tokens=busy,
            would=self._yield(self._would),
            fixed=fixed,
        )

    def _yield(self, row: NDArray[np.float64]) -> Yield:
        value, low, high, measured, priced = row.tolist()
        rest = self._tokens - priced
        return Yield(Bounded(value + rest, low + rest, high + rest), measured, rest)


def _row(score: Score, k_ran: float | None) -> tuple[float, float, float, float, float]:
    """Ratio, its bounds, its measured part, and 1: what a token that ran counts for."""
    ran = score.k < 0 or (k_ran is not None and abs(score.k - k_ran) <= _SAME_K)
    measured = ran or (score.step_measured and score.tokens_observed)
    return score.gain_ratio, score.gain_low, score.gain_high, score.gain_ratio if measured else 0.0, 1.0


def _gain(score: Score) -> Bounded:
    return Bounded(score.gain_ratio, score.gain_low, score.gain_high)
