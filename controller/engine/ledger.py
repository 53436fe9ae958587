"""What one engine did since it started: verified drafts by workload, and steps by batch size and k. No vLLM, no clock.

What happens often is one increment of a list; what is told is worked out only when somebody asks.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

OTHER = "other"
"""Takes what has no slot of its own."""
WORKLOADS_MAX = 64
HALF_LIFE_SECONDS = 600.0
"""A workload's traffic counts half after so long, so that the slot of a busy one outlives a pause."""
NEWCOMER_REQUESTS = 4.0
"""Less traffic takes nobody's slot, however quiet: a client that invents a label per request never gets so far."""
NEWCOMER_LEAD = 2.0
"""How many times busier than the quietest holder a newcomer must be, so that two do not take turns."""

Verified = list[list[int]]
"""How often d drafts were verified and n tokens came of it, one more than were accepted, as `verified[d][n]`.

Row d has n = 0..d+1, and 0 means that the request failed before it was verified.
"""


@dataclass(frozen=True)
class _Traffic:
    """Requests begun, each worth half after every `HALF_LIFE_SECONDS`."""

    requests: float
    at_seconds: float

    def now(self, seconds: float) -> float:
        return self.requests * math.pow(0.5, (seconds - self.at_seconds) / HALF_LIFE_SECONDS)

    def risen(self, seconds: float) -> "_Traffic":
        return _Traffic(self.now(seconds) + 1.0, seconds)


class Ledger:
    """The counts of one engine; they only grow. What it holds is bounded, whatever the requests call themselves.

    Attributes:
        verified_by_request: The counts that a running request adds to, by its id. `begin` fills it, `end` empties it.
        shared: Those that every running request adds to; None where they add to several.

    Args:
        k_max: The most drafts of one verification; 0 without speculation.
        largest_batch: The largest batch of one step.
        names: Workloads that keep a slot whether or not they are busy; those beyond the 64th do not.
    """

    def __init__(self, k_max: int, largest_batch: int, names: Iterable[str] = ()) -> None:
        self.verified_by_request: dict[str, Verified] = {}
        self.shared: Verified | None = None
        self._k_max = k_max
        self._reserved = frozenset(list(dict.fromkeys(names))[:WORKLOADS_MAX]) - {OTHER}
        self._slots = {name: _nothing(k_max) for name in self._reserved}
        self._other = _nothing(k_max)
        self._traffic: dict[str, _Traffic] = {}
        self._newcomers: dict[str, _Traffic] = {}
        self._tops = bucket_tops(largest_batch)
        self._bucket = [bisect_left(self._tops, batch) for batch in range(largest_batch + 1)]
        self._steps = [[_no_steps() for _ in range(k_max + 1)] for _ in self._tops]
        self._beside_prompts = [[_no_steps() for _ in range(k_max + 1)] for _ in self._tops]
        self._other_steps: list[float] = [0, 0.0, 0]

    def begin(self, request_id: str, workload: str, now_seconds: float) -> None:
        """From now on this request adds to the counts of this workload."""
        verified = self._of(workload, now_seconds)
        alone = not self.verified_by_request
        self.shared = verified if alone or verified is self.shared else None
        self.verified_by_request[request_id] = verified

    def end(self, request_ids: Iterable[str]) -> None:
        """Forget requests; those that never began are no matter."""
        for request_id in request_ids:
            self.verified_by_request.pop(request_id, None)
        if self.shared is None:
            self.shared = self._shared()

    def step(self, batch: int, k: int, seconds: float, tokens: int, prompt_tokens: int = 0) -> None:
        """A step in which `batch` requests decoded, with k as in the step before; those beside prompts are apart."""
        counts = (self._beside_prompts if prompt_tokens else self._steps)[self._bucket[batch]][k]
        counts[0] += 1
        counts[1] += batch
        counts[2] += seconds
        counts[3] += tokens
        counts[4] += prompt_tokens

    def other_step(self, seconds: float, tokens: int) -> None:
        """A step of prompts alone, or one whose drafts were proposed under another k."""
        counts = self._other_steps
        counts[0] += 1
        counts[1] += seconds
        counts[2] += tokens

    def document(self) -> dict[str, Any]:
        """What GET tells as `measured`; see docs/engine-plugin.md."""
        counted = [_told(name, verified) for name, verified in sorted(self._slots.items())]
        counted.append(_told(OTHER, self._other))
        steps, seconds, tokens = self._other_steps
        return {
            "workloads": [workload for workload in counted if workload["drafts"]],
            "steps": list(self._told_steps()),
            "other_steps": {"steps": steps, "seconds": seconds, "tokens": tokens},
        }

    def _shared(self) -> Verified | None:
        running = iter(self.verified_by_request.values())
        first = next(running, None)
        return first if all(each is first for each in running) else None

    def _told_steps(self) -> Iterator[dict[str, Any]]:
        """Steps by batch size and k, those beside prompts after the others."""
        for bucket, last in enumerate(self._tops):
            first = self._tops[bucket - 1] + 1 if bucket else 1
            for k, both in enumerate(zip(self._steps[bucket], self._beside_prompts[bucket], strict=True)):
                for steps, request_steps, seconds, tokens, prompt_tokens in both:
                    if steps:
                        yield {
                            "batch_min": first,
                            "batch_max": last,
                            "k": k,
                            "steps": steps,
                            "request_steps": request_steps,
                            "seconds": seconds,
                            "tokens": tokens,
                            "prompt_tokens": prompt_tokens,
                        }

    def _of(self, workload: str, now_seconds: float) -> Verified:
        """The counts of a workload: its own while it holds a slot, else those of `other`."""
        if workload == OTHER:
            return self._other
        if workload not in self._slots:
            if len(self._slots) >= WORKLOADS_MAX and not self._makes_room(workload, now_seconds):
                return self._other
            self._slots[workload] = _nothing(self._k_max)
            self._traffic[workload] = self._newcomers.pop(workload, _Traffic(0.0, now_seconds))
        if workload not in self._reserved:
            self._traffic[workload] = self._traffic[workload].risen(now_seconds)
        return self._slots[workload]

    def _makes_room(self, newcomer: str, now_seconds: float) -> bool:
        """Whether a slot was freed for a workload that has become busier than the quietest holder."""
        holders = self._slots.keys() - self._reserved
        if not holders:
            return False
        known = self._newcomers.pop(newcomer, _Traffic(0.0, now_seconds))
        if len(self._newcomers) >= WORKLOADS_MAX:
            del self._newcomers[min(self._newcomers, key=lambda name: self._newcomers[name].now(now_seconds))]
        quietest = min(holders, key=lambda name: self._traffic[name].now(now_seconds))
        busy_enough = max(NEWCOMER_REQUESTS, NEWCOMER_LEAD * self._traffic[quietest].now(now_seconds))
        makes_room = known.risen(now_seconds).requests >= busy_enough
        if makes_room:
            self._evict(quietest)
        self._newcomers[newcomer] = known if makes_room else known.risen(now_seconds)  # who gets in, counts it there
        return makes_room

    def _evict(self, workload: str) -> None:
        """What it counted, and what its running requests will count, belongs to `other` from now on."""
        del self._traffic[workload]
        evicted = self._slots.pop(workload)
        for total, row in zip(self._other, evicted, strict=True):
            for tokens, count in enumerate(row):
                total[tokens] += count
        for request_id, verified in self.verified_by_request.items():
            if verified is evicted:
                self.verified_by_request[request_id] = self._other


def bucket_tops(largest_batch: int) -> tuple[int, ...]:
    """The largest batch size of each bucket: 1 to 16 on their own, then four buckets per doubling.

    Above 16 a batch B is in bucket ceil(4 log2 B), worked out in whole numbers so that 32 is in that of 27 to 32.

    >>> bucket_tops(64)[15:]
    (16, 19, 22, 26, 32, 38, 45, 53, 64)
    >>> bucket_tops(20)[15:]
    (16, 19, 20)
    """
    tops, quarter = list(range(1, min(largest_batch, 16) + 1)), 17
    while tops and tops[-1] < largest_batch:
        tops.append(min(math.isqrt(math.isqrt(2**quarter)), largest_batch))
        quarter += 1
    return tuple(tops)


def _no_steps() -> list[float]:
    return [0, 0, 0.0, 0, 0]


def _nothing(k_max: int) -> Verified:
    return [[0] * (drafted + 2) for drafted in range(k_max + 1)]


def _told(name: str, by_tokens: Verified) -> dict[str, Any]:
    """The counts of one workload by position, first draft first.

    With `v[d][a]`, d drafted and a <= d accepted: position j was drafted in all with d >= j, accepted in all with
    a >= j, and judged, that is drafted with all before it accepted, in all with a >= j - 1 but those that drafted no
    more than j - 1.
    """
    verified = [row[1:] for row in by_tokens]
    by_drafted = [sum(row) for row in verified]
    by_accepted = [sum(row[accepted] for row in verified[accepted:]) for accepted in range(len(verified))]
    drafted, accepted = _or_more(by_drafted), _or_more(by_accepted)
    return {
        "name": name,
        "drafts": sum(by_drafted[1:]),
        "drafted": drafted[1:],
        "judged": [reached - verified[j][j] for j, reached in enumerate(accepted[:-1])],
        "accepted": accepted[1:],
    }


def _or_more(counts: list[int]) -> list[int]:
    """Counts of exactly 0, 1, ... as counts of so many or more.

    >>> _or_more([5, 2, 1])
    [8, 3, 1]
    """
    return list(accumulate(reversed(counts)))[::-1]
