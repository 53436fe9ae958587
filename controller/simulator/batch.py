"""The requests that decode together, in arrays, so that a step of all of them is a handful of numpy calls."""

from typing import Final

import numpy as np

from controller.simulator.counters import Counters
from controller.simulator.request import Request
from controller.simulator.scenario import Scenario

_ONE: Final = np.array(1)
"""As an array, and so are the ks: numpy takes twice as long over a plain number."""


class DecodeBatch:
    """Requests 0..size-1 in no order.

    Each owns a row of fates; its cursor is the place of its next token there.

    Attributes:
        size: Requests in the batch.
    """

    def __init__(self, scenario: Scenario, k_max: int) -> None:
        slots, width = scenario.max_num_seqs, max(w.output.most_tokens for w in scenario.workloads)
        self._width, self._k_max = width, k_max
        self._fate = np.zeros(slots * width, dtype=np.int64)
        always = all(workload.always_drafts for workload in scenario.workloads)
        self._reach = None if always else np.zeros(slots * width, dtype=np.int64)
        self._cursors, self._ends, self._keys, self._lengths = np.zeros((4, slots), dtype=np.int64)
        self._ks = [np.array(k) for k in range(k_max + 1)]
        self._workloads = len(scenario.workloads)
        self._kinds = self._workloads * (k_max + 1)
        self.clear()

    def clear(self) -> None:
        """Forget all requests."""
        self.requests: list[Request] = []
        self.by_workload = np.zeros(self._workloads, dtype=np.int64)
        self.context_tokens = 0
        self._free_rows = list(range(len(self._cursors)))[::-1]
        self._resize()

    def add(self, request: Request) -> None:
        """Take in a request that has emitted at least its first token."""
        index = len(self.requests)
        request.row = self._free_rows.pop()
        start = request.row * self._width
        self._fate[start : start + request.output_tokens] = request.fate
        if self._reach is not None:
            self._reach[start : start + request.output_tokens] = request.reach
        self._cursors[index] = start + request.emitted_tokens
        self._ends[index] = start + request.output_tokens
        self._keys[index] = request.workload * (self._k_max + 1)
        self.requests.append(request)
        self.by_workload[request.workload] += 1
        self.context_tokens += request.prompt_tokens + request.emitted_tokens
        self._resize()

    def remove(self, index: int) -> Request:
        """Let the request at `index` go; the last one takes its place."""
        request, last = self.requests[index], len(self.requests) - 1
        request.emitted_tokens = min(int(self._cursors[index]) - request.row * self._width, request.output_tokens)
        for array in (self._cursors, self._ends, self._keys):
            array[index] = array[last]
        self.requests[index] = self.requests[last]
        self.requests.pop()
        self._free_rows.append(request.row)
        self.by_workload[request.workload] -= 1
        self.context_tokens -= request.prompt_tokens + request.emitted_tokens
        self._resize()
        return request

    def step(self, k: int, counters: Counters) -> tuple[int, list[Request]]:
        """One decode step of all requests with up to k drafts each.

        Returns:
            Tokens emitted (drafts accepted beyond the end of an output left out), and the requests that
            finished.
        """
        emitted = self.size
        if k == 0:
            counters.verified[0, :, 0] += self.by_workload
        else:
            emitted += self._verify(k, counters)
        self._cursor += _ONE
        over = (self._cursor >= self._end).nonzero()[0].tolist()
        if over:
            beyond = sum(int(self._cursors[index] - self._ends[index]) for index in over)
            counters.truncated_tokens += beyond
            emitted -= beyond
        self.context_tokens += emitted
        return emitted, [self.remove(index) for index in reversed(over)]

    def _verify(self, k: int, counters: Counters) -> int:
        """Verify up to k drafts per request; move the cursors by those accepted, and return their number."""
        accepted, kinds = self._length, self._kinds
        self._fate.take(self._cursor, out=accepted, mode="clip")
        np.minimum(accepted, self._ks[k], out=accepted)
        if self._reach is None:
            verified, kind = counters.verified_by_length[k], self._key
        else:
            drafted = self._reach.take(self._cursor, mode="clip")
            np.minimum(drafted, self._ks[k], out=drafted)
            drafted *= kinds
            drafted += self._key
            verified, kind, kinds = counters.verified_flat, drafted, kinds * (self._k_max + 1)
        self._cursor += accepted
        sum_accepted = int(np.add.reduce(accepted))
        accepted += kind
        verified += np.bincount(accepted, minlength=kinds)
        return sum_accepted

    def _resize(self) -> None:
        size = self.size = len(self.requests)
        self._cursor, self._end = self._cursors[:size], self._ends[:size]
        self._key, self._length = self._keys[:size], self._lengths[:size]
