"""What the engine plugin measures beyond `/metrics`, from the counters of a simulated engine."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller.simulator.counters import Counters, StepTally
from controller.simulator.workload import IntArray


def measured(counters: Counters, labels: Sequence[str], batch_tops: Sequence[int]) -> dict[str, Any]:
    """`measured` of the plugin's document: cumulative since the engine started.

    Args:
        counters: Of one engine.
        labels: What each workload is told as; those with the same label are told as one.
        batch_tops: The largest batch size of each class that steps are told by, rising to `max_num_seqs`.
    """
    return {
        "workloads": [_workload(name, verified) for name, verified in _by_label(counters, labels) if verified.any()],
        "steps": [
            *_steps(counters.settled, batch_tops),
            *_steps(counters.beside_prompts, batch_tops),
        ],
        "other_steps": _told(counters.unsettled.values()),
    }


def _steps(by_batch: Mapping[tuple[int, int], StepTally], batch_tops: Sequence[int]) -> Iterator[dict[str, Any]]:
    classes: dict[tuple[int, int], list[tuple[int, StepTally]]] = {}
    for (batch, k), tally in by_batch.items():
        classes.setdefault((bisect_left(batch_tops, batch), k), []).append((batch, tally))
    for (index, k), tallies in sorted(classes.items()):
        yield {
            "batch_min": batch_tops[index - 1] + 1 if index else 1,
            "batch_max": batch_tops[index],
            "k": k,
            "request_steps": sum(batch * tally.steps for batch, tally in tallies),
            "prompt_tokens": sum(tally.prefill_tokens for _, tally in tallies),
            **_told(tally for _, tally in tallies),
        }


def _by_label(counters: Counters, labels: Sequence[str]) -> Iterable[tuple[str, IntArray]]:
    """Request-steps by drafts verified (at least one) and accepted."""
    verified: dict[str, IntArray] = {}
    for index, label in enumerate(labels):
        verified[label] = verified.get(label, 0) + counters.verified[1:, index]
    return verified.items()


def _workload(name: str, verified: IntArray) -> dict[str, Any]:
    """From `verified[d - 1, a]`. A position is judged when it was drafted and all before it were accepted."""
    onward = verified[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]  # [i, j]: sum of verified[i:, j:]
    return {
        "name": name,
        "drafts": int(onward[0, 0]),
        "drafted": onward[:, 0].tolist(),
        "judged": onward.diagonal().tolist(),
        "accepted": onward[0, 1:].tolist(),
    }


def _told(tallies: Iterable[StepTally]) -> dict[str, Any]:
    together = StepTally()
    for tally in tallies:
        together.add(tally)
    return {"steps": together.steps, "seconds": together.seconds, "tokens": together.tokens}
