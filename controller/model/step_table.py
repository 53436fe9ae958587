"""Measured steps by load and k: all that the step-time model remembers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

from controller.observe.speculation import StepCounts
from controller.observe.window import Window

WINDOW_NOISE: Final = 0.04
"""Standard deviation of ln t in one steady window: what is assumed at first."""
NOISE_WINDOWS: Final = 8.0
"""How many windows that assumption counts for, against the scatter that is then observed."""
NOISE_MEMORY: Final = 60.0
"""The scatter of about this many windows is remembered."""
NOISE_RATIOS: Final = (0.3, 6.0)
"""The observed noise is believed between these multiples of the assumed one."""
MEMORY_WEIGHT: Final = 30.0
"""A cell remembers about this many windows."""
CELLS_MAX: Final = 48
K0_CELL: Final = 0.05
"""Mean drafts per request-step below which a cell counts as a measurement of k=0."""
PROMPT_WEIGHT: Final = 0.5
"""Steps beside prompts weigh less: their length varies with the prompts, of which only the mean is known."""
NEAR: Final = 1.5
"""Loads within this factor of each other are alike."""
_OUTLIER_SIGMAS: Final = 4.0
"""A window further from its cell than this counts for less, the less the further: one stall is not a slower machine."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean step at about one (batch, drafts per request-step), with old windows faded.

    Attributes:
        batch: Mean decoding requests.
        drafts: Mean draft tokens per request-step.
        drafting: Share of request-steps that drafted.
        log_seconds: Mean of ln(step seconds).
        weight: Windows behind it, in units of a steady window.
        here: Whether this server was measured; False for a profile from elsewhere.
        prompt: Mean prompt tokens worked through beside the decoding, per step.
    """

    batch: float
    drafts: float
    drafting: float
    log_seconds: float
    weight: float
    here: bool = True
    prompt: float = 0.0


@dataclass(frozen=True, slots=True)
class StepTable:
    """Every cell in memory, the most recent last.

    Attributes:
        cells: Merged measurements.
        scatter: Sum of the squared distances of windows from their cells, in units of what is assumed.
        scatter_windows: How many windows that sum is over; old ones fade.
    """

    cells: tuple[Cell, ...] = ()
    scatter: float = 0.0
    scatter_windows: float = 0.0

    @property
    def noise(self) -> float:
        """Standard deviation of ln t in one steady window: the observed scatter, leaning on what is assumed."""
        ratio = math.sqrt((NOISE_WINDOWS + self.scatter) / (NOISE_WINDOWS + self.scatter_windows))
        return WINDOW_NOISE * min(max(ratio, NOISE_RATIOS[0]), NOISE_RATIOS[1])

    def with_window(self, window: Window) -> "StepTable":
        """The table after one more window; unchanged by an idle one.

        Windows of unsteady load weigh less: the mean latency is weighted by requests and the mean batch by steps,
        so they belong together only where the batch hardly moved. Prompts in the same steps stretch them, too.
        """
        fresh = cell_of(window)
        return self if fresh is None else self.with_cell(fresh)

    def with_cell(self, fresh: Cell) -> "StepTable":
        """The table with one more measurement, merged into the cell it falls into."""
        if fresh.weight <= 0:
            return self
        key = _cell_key(fresh)
        same: list[Cell] = []
        others: list[Cell] = []
        for cell in self.cells:
            (same if _cell_key(cell) == key else others).append(cell)
        cells = (*others, reduce(_merged, (*same, fresh)))[-CELLS_MAX:]
        if not same:
            return replace(self, cells=cells)
        fade = 1 - fresh.weight / NOISE_MEMORY
        surprise = min(_sigmas(same[-1], fresh), _OUTLIER_SIGMAS) ** 2  # a stall tells nothing of the usual noise
        return StepTable(
            cells, fade * self.scatter + fresh.weight * surprise, fade * self.scatter_windows + fresh.weight
        )

    def with_steps(self, steps: Sequence[StepCounts], drafts_per_k: float, coverage: float) -> "StepTable":
        """The table after the steps that the plugin counted in one window: exact in batch and k.

        Args:
            steps: By batch class and k.
            drafts_per_k: Draft tokens per request-step and k asked for: 1 for methods that always draft k.
            coverage: Share of request-steps that draft when asked to.
        """
        table = self
        for each in steps:
            if each.steps > 0 and each.seconds > 0 and each.request_steps >= each.steps:
                table = table.with_cell(
                    Cell(
                        batch=each.request_steps / each.steps,
                        drafts=each.k * drafts_per_k,
                        drafting=coverage if each.k > 0 else 0.0,
                        log_seconds=math.log(each.seconds / each.steps),
                        weight=_enough(each.request_steps) * (PROMPT_WEIGHT if each.prompt_tokens > 0 else 1.0),
                        prompt=each.prompt_tokens / each.steps,
                    )
                )
        return table

    def measured(self, batch: float, drafts: Sequence[float]) -> tuple[bool, ...]:
        """For each k, whether a step at this load was measured here rather than modelled.

        It was when a cell lies within 1.5x of the load, at the same drafts per request-step.
        """
        near = [cell.drafts for cell in self.cells if cell.here and 1 / NEAR <= cell.batch / batch <= NEAR]
        return tuple(any(abs(seen - each) <= K0_CELL for seen in near) for each in drafts)


def cell_of(window: Window) -> Cell | None:
    """What one window measured; None when nothing was decoded."""
    batch, seconds = window.decode_batch, window.step_seconds
    if not batch or not seconds or window.request_steps < 1:
        return None
    return Cell(
        batch=max(1.0, batch),
        drafts=window.draft_tokens / window.request_steps,
        drafting=window.drafting_share or 0.0,
        log_seconds=math.log(seconds),
        weight=_steadiness(window, batch),
        prompt=window.prompt_tokens / window.steps if window.steps > 0 else 0.0,
    )


def _steadiness(window: Window, batch: float) -> float:
    """Weight of a window, 1 for steady load: its noise grows with the move of the batch and with prompt tokens."""
    moved = abs(window.running - batch) / batch if window.running > 0 else 0.0
    prompt_share = window.prompt_tokens / (window.prompt_tokens + window.generated_tokens + window.draft_tokens + 1.0)
    preempted = window.preemptions / (window.steps + 1.0)
    noise = WINDOW_NOISE + 0.3 * min(1.0, moved) + 0.04 * prompt_share + preempted
    return _enough(window.request_steps) * (WINDOW_NOISE / noise) ** 2


def _enough(request_steps: float) -> float:
    """A window of few request-steps weighs less."""
    return request_steps / (request_steps + 50.0)


def _cell_key(cell: Cell) -> tuple[int, int, int]:
    """Cells are a quarter of a doubling wide in batch, half a draft in k, a doubling in prompts; k=0 has its own."""
    drafts = 0 if cell.drafts < K0_CELL else 1 + round(2 * cell.drafts)
    return (round(4 * math.log2(cell.batch)), drafts, round(math.log2(1 + cell.prompt / cell.batch)))


def _merged(old: Cell, fresh: Cell) -> Cell:
    trust = _trust(old, fresh)
    gained = fresh.weight * trust
    # an outlier makes the old mean doubtful, too: should it repeat, the machine has changed and is followed
    kept = min(old.weight * math.sqrt(trust), max(0.0, MEMORY_WEIGHT - gained))
    part = gained / (kept + gained)
    return Cell(
        batch=math.exp((1 - part) * math.log(old.batch) + part * math.log(fresh.batch)),
        drafts=(1 - part) * old.drafts + part * fresh.drafts,
        drafting=(1 - part) * old.drafting + part * fresh.drafting,
        log_seconds=(1 - part) * old.log_seconds + part * fresh.log_seconds,
        weight=kept + gained,
        here=old.here or fresh.here,
        prompt=(1 - part) * old.prompt + part * fresh.prompt,
    )


def _trust(old: Cell, fresh: Cell) -> float:
    """Huber's weight of a window against its cell: 1 within the noise, falling with the distance beyond it."""
    sigmas = _sigmas(old, fresh)
    return min(1.0, _OUTLIER_SIGMAS / sigmas) if sigmas > 0 else 1.0


def _sigmas(old: Cell, fresh: Cell) -> float:
    """How far a window lies from its cell, in standard deviations as assumed."""
    return abs(fresh.log_seconds - old.log_seconds) / (WINDOW_NOISE * math.sqrt(1 / old.weight + 1 / fresh.weight))
