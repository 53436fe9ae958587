"""Where snapshots come from, and the source that replays saved pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from controller.observe.errors import ObserveError, cause
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page
from controller.reason import Reason


class MetricsSource(Protocol):
    """Something that can be read again and again for the present state of every engine."""

    def read(self) -> tuple[Snapshot, ...]:
        """The snapshots of all engines now; raises `ObserveError`."""


class ReplaySource:
    """Saved pages, read in order through the same path as live ones, so that a bug report is reproducible."""

    def __init__(self, paths: Sequence[Path], interval_seconds: float | None = None) -> None:
        """`interval_seconds` lies between one page and the next; None when it is not known."""
        self._paths = tuple(paths)
        self._interval_seconds = interval_seconds
        self._next = 0

    def read(self) -> tuple[Snapshot, ...]:
        """The next page; the last one again when there are no more."""
        index = min(self._next, len(self._paths) - 1)
        self._next += 1
        at_seconds = None if self._interval_seconds is None else index * self._interval_seconds
        path = self._paths[index]
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ObserveError(
                Reason.FILE_UNREADABLE,
                f"The saved page {path} cannot be read ({cause(error)}): save one with "
                "`curl -s http://HOST:PORT/metrics > page.txt`.",
            ) from error
        try:
            return read_page(text, at_seconds)
        except ObserveError as error:
            raise ObserveError(error.reason, f"{path}: {error.message}") from error
