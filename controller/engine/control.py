"""Which schedule is in force, by whom and until when: the state of one engine, without vLLM and without a clock."""

import math
from dataclasses import dataclass
from typing import Any

from .schedule import ranges_of, table
from .wanted import Wanted

PROTOCOL = 1
OK, CONFLICT, UNPROCESSABLE = 200, 409, 422

Answer = tuple[int, dict[str, Any]]
"""An HTTP status and the document that goes with it."""


@dataclass(frozen=True)
class Launched:
    """What the engine was launched with; never changes while it runs.

    Attributes:
        method: The drafting method; None without speculation.
        k_max: `num_speculative_tokens`; 0 without speculation.
        max_num_seqs: The largest batch.
        ks: k by batch size, index 0 unused.
        graphs: The ks that full CUDA graphs exist for; None when that does not matter here.
        refusal: Why k cannot be changed on this server; None when it can.
    """

    method: str | None
    k_max: int
    max_num_seqs: int
    ks: tuple[int, ...]
    graphs: frozenset[int] | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class _Hold:
    """A schedule that somebody holds in force."""

    ks: tuple[int, ...]
    owner: str


class Control:
    """The schedule in force. All times are seconds of one monotonic clock.

    `generation` counts changes: every PUT that is not a renewal, every return to the launch schedule. Whoever wants a
    change names the generation it has seen, so that two writers cannot both believe that they won.

    Attributes:
        deadline_seconds: When what is held ends; infinite while nothing is. Only read from outside, once per step.
    """

    def __init__(self, launched: Launched, boot_id: str) -> None:
        self.launched = launched
        self.boot_id = boot_id
        self.generation = 0
        self.deadline_seconds = math.inf
        self._hold: _Hold | None = None

    @property
    def held(self) -> tuple[int, ...] | None:
        """k by batch size while somebody holds a schedule; None means: as launched."""
        return self._hold.ks if self._hold else None

    @property
    def owner(self) -> str | None:
        """Who holds the schedule in force; None as launched."""
        return self._hold.owner if self._hold else None

    def expire(self, now_seconds: float) -> bool:
        """Return to the launch schedule when the time to live is over; whether it did."""
        if now_seconds < self.deadline_seconds:
            return False
        self._release()
        return True

    def put(self, wanted: Wanted, now_seconds: float) -> Answer:
        """Put a schedule in force whole, or change nothing and say why."""
        self.expire(now_seconds)
        refusal = self._conflict(wanted, now_seconds)
        if refusal:
            return CONFLICT, {"error": refusal, "current": self.document(now_seconds)}
        ks = table(wanted.ranges, self.launched.max_num_seqs)
        refusal = self._impossible(wanted, ks)
        if refusal:
            return UNPROCESSABLE, {"error": refusal}
        renewed = self._hold is not None and (self._hold.ks, self._hold.owner) == (ks, wanted.owner)
        self._hold, self.deadline_seconds = _Hold(ks, wanted.owner), now_seconds + wanted.ttl_seconds
        self.generation += not renewed
        return OK, self.document(now_seconds)

    def reset(self, now_seconds: float) -> Answer:
        """Return to the launch schedule at once, whoever holds another; nothing happens when nobody does."""
        self.expire(now_seconds)
        if self._hold is not None:
            self._release()
        return OK, self.document(now_seconds)

    def document(self, now_seconds: float) -> dict[str, Any]:
        """What GET tells."""
        launched, hold = self.launched, self._hold
        launch_ranges = ranges_of(launched.ks)
        return {
            "protocol": PROTOCOL,
            "boot_id": self.boot_id,
            "generation": self.generation,
            "owner": self.owner,
            "method": launched.method,
            "k_max": launched.k_max or None,
            "max_num_seqs": launched.max_num_seqs,
            "launch_schedule": launch_ranges,
            "schedule": ranges_of(hold.ks) if hold else launch_ranges,
            "expires_in_seconds": round(max(0.0, self.deadline_seconds - now_seconds), 3) if hold else None,
            "k_with_graph": None if launched.graphs is None else sorted(launched.graphs),
            "writable": launched.refusal is None,
            "read_only_because": launched.refusal,
        }

    def _release(self) -> None:
        self._hold, self.deadline_seconds = None, math.inf
        self.generation += 1

    def _conflict(self, wanted: Wanted, now_seconds: float) -> str | None:
        """Why the server, as it is now, does not take the change; the remedy depends on which it is."""
        if self.launched.refusal:
            return self.launched.refusal
        if wanted.boot_id != self.boot_id:
            return f"expected.boot_id is {wanted.boot_id}, this engine is {self.boot_id}: it was restarted; GET anew"
        if self._hold and self._hold.owner != wanted.owner:
            left = self.deadline_seconds - now_seconds
            return f"{self._hold.owner} holds a schedule for {left:.0f} more seconds; wait for its end, or DELETE it"
        if wanted.generation != self.generation:
            return f"expected.generation is {wanted.generation}, the engine is at {self.generation}; GET anew"
        return None

    def _impossible(self, wanted: Wanted, ks: tuple[int, ...]) -> str | None:
        """Why this engine can never run such a schedule."""
        asked = {k for _, _, k in wanted.ranges}
        if max(asked) > self.launched.k_max:
            return f"k {max(asked)} is above {self.launched.k_max}, the num_speculative_tokens of the launch"
        without = sorted(set(ks[1:]) - self.launched.graphs) if self.launched.graphs is not None else []
        if without and not wanted.allow_k_without_graph:
            return (
                f"vLLM captured no full CUDA graph for k {', '.join(map(str, without))}: name each k in the launch "
                "schedule, or set allow_k_without_graph to accept slower steps"
            )
        return None
