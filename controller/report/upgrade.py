"""The business case of a new drafter: two saved recommendations, one short table and a sentence."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from controller.decide.decision import Bounded
from controller.plain import plain
from controller.report.saved import SavedServer

VERSION: Final = 1
"""Raised when a key changes its meaning or disappears; new keys do not raise it."""
LIKE_LOAD: Final = 1.25
"""Batches further apart than this factor are another load."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What changed from one recommendation to another.

    Attributes:
        before: The first.
        after: The second.
        common_k: The largest k that both know: lengths at different k do not compare.
        length_before: Tokens per step at `common_k`.
        length_after: Likewise.
        gain_ratio: Throughput at the best k after / at the best k before. Its bounds take the two as independent,
            which they are: two windows of two servers.
    """

    before: SavedServer
    after: SavedServer
    common_k: int
    length_before: Bounded
    length_after: Bounded
    gain_ratio: Bounded

    @property
    def certain(self) -> bool:
        """Whether the bounds leave no doubt about the sign."""
        return self.gain_ratio.low > 1 or self.gain_ratio.high < 1

    @property
    def like_load(self) -> bool:
        """Whether both were watched at about the same batch."""
        return max(self.before.batch, self.after.batch) <= LIKE_LOAD * min(self.before.batch, self.after.batch)


def upgrade(before: SavedServer, after: SavedServer) -> Upgrade:
    """Compare two recommendations, each at its own best k."""
    k = min(len(before.survival), len(after.survival))
    return Upgrade(
        before=before,
        after=after,
        common_k=k,
        length_before=before.tokens_per_step(k),
        length_after=after.tokens_per_step(k),
        gain_ratio=ratio(after.best.tokens_per_second, before.best.tokens_per_second),
    )


def ratio(value: Bounded, reference: Bounded) -> Bounded:
    """value / reference of two independent log-normal quantities: their log errors add in squares.

    >>> found = ratio(Bounded(120, 100, 144), Bounded(100, 100, 100))
    >>> round(found.low, 6), round(found.value, 6), round(found.high, 6)
    (1.0, 1.2, 1.44)
    """
    middle = value.value / reference.value
    low = math.hypot(math.log(value.value / value.low), math.log(reference.high / reference.value))
    high = math.hypot(math.log(value.high / value.value), math.log(reference.value / reference.low))
    return Bounded(middle, middle * math.exp(-low), middle * math.exp(high))


def upgrade_document(found: Upgrade) -> dict[str, Any]:
    """As plain values, ready for JSON."""
    return {
        "schema": VERSION,
        "before": _side(found.before, found.common_k, found.length_before),
        "after": _side(found.after, found.common_k, found.length_after),
        "gain_ratio": found.gain_ratio.value,
        "gain_low": found.gain_ratio.low,
        "gain_high": found.gain_ratio.high,
        "like_load": found.like_load,
        "sentence": sentence(found),
    }


def upgrade_text(found: Upgrade) -> str:
    """As people read it."""
    before, after = found.before, found.after
    rows = [
        ("", "before", "after"),
        ("model", plain(before.model_name, 30), plain(after.model_name, 30)),
        ("batch", f"{before.batch:.3g}", f"{after.batch:.3g}"),
        ("k in force", _k(before), _k(after)),
        ("its acceptance length", _observed(before), _observed(after)),
        (f"tokens/step at k={found.common_k}", _bounds(found.length_before), _bounds(found.length_after)),
        ("best k", str(before.best.k), str(after.best.k)),
        ("  its ms/step", f"{before.best.step_seconds * 1e3:.2f}", f"{after.best.step_seconds * 1e3:.2f}"),
        ("  its tokens/s", _bounds(before.best.tokens_per_second, 0), _bounds(after.best.tokens_per_second, 0)),
    ]
    width = max(len(row[1]) for row in rows)
    lines = [f"{name:24}{left:{width}}   {right}".rstrip() for name, left, right in rows]
    return "\n".join([*lines, "", sentence(found)])


def sentence(found: Upgrade) -> str:
    """The case in words, with its bounds, and what weakens it."""
    before, after, gain = found.before.best, found.after.best, found.gain_ratio
    moved = f"the best k stays {after.k}" if before.k == after.k else f"the best k moves from {before.k} to {after.k}"
    words = (
        f"Each at its best k, the second gives {gain.value - 1:+.1%} throughput ({gain.low - 1:+.1%} to "
        f"{gain.high - 1:+.1%}, 90% bounds); {moved}."
    )
    if not found.certain:
        words += " The bounds include no change at all: watch both for longer before you decide."
    if not found.like_load:
        words += (
            f" The loads differ (batch {found.before.batch:.3g} and {found.after.batch:.3g}), so the throughputs "
            "compare loads as well as drafters: save both at the same load."
        )
    return words


def _side(server: SavedServer, k: int, length: Bounded) -> dict[str, Any]:
    return {
        "model_name": server.model_name,
        "batch": server.batch,
        "k_effective": server.k_now,
        "mean_acceptance_length": server.mean_acceptance_length,
        "common_k": k,
        "tokens_per_step": asdict(length),
        "k_best": server.best.k,
        "step_seconds": server.best.step_seconds,
        "tokens_per_second": asdict(server.best.tokens_per_second),
    }


def _k(server: SavedServer) -> str:
    return "?" if server.k_now is None else f"{server.k_now:.3g}"


def _observed(server: SavedServer) -> str:
    return "-" if server.mean_acceptance_length is None else f"{server.mean_acceptance_length:.2f}"


def _bounds(value: Bounded, digits: int = 2) -> str:
    return f"{value.value:,.{digits}f} ({value.low:,.{digits}f} to {value.high:,.{digits}f})"
