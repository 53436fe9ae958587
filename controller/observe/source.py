"""Where snapshots come from, and the source that replays saved pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from controller.observe.errors import ObserveError, cause
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation
from controller.observe.vllm_metrics import read_page
from controller.reason import Reason


class MetricsSource(Protocol):
    """Something that can be read again and again for the present state of every engine."""

    def read(self) -> tuple[Snapshot, ...]:
        """The snapshots of all engines now; raises `ObserveError`."""


class SpeculationSource(Protocol):
    """Something that can be read again and again for the schedule in force, and what the engine's plugin counted."""

    def read(self) -> Speculation:
        """The plugin's document now; raises `ObserveError`."""


class ReplaySource:
    """Saved pages, read in order through the same path as live ones, so that a bug report is reproducible."""

    def __init__(
        self,
        paths: Sequence[Path],
        interval_seconds: float | None = None,
        limit_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        """Reads nothing yet.

        Args:
            paths: Saved pages in order of time.
            interval_seconds: Between one page and the next; None when it is not known.
            limit_bytes: A larger page is refused.
        """
        self._paths = tuple(paths)
        self._interval_seconds = interval_seconds
        self._limit_bytes = limit_bytes
        self._next = 0

    def read(self) -> tuple[Snapshot, ...]:
        """The next page; the last one again when there are no more."""
        index = min(self._next, len(self._paths) - 1)
        self._next += 1
        at_seconds = None if self._interval_seconds is None else index * self._interval_seconds
        path = self._paths[index]
        try:
            return read_page(self._text(path), at_seconds)
        except ObserveError as error:
            raise ObserveError(error.reason, f"{path}: {error.message}") from error

    def _text(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                body = file.read(self._limit_bytes + 1)
            if len(body) > self._limit_bytes:
                raise ObserveError(
                    Reason.PAGE_TOO_LARGE,
                    f"the saved page is larger than {self._limit_bytes} bytes. Check that it is vLLM's, or raise "
                    "--page-limit-bytes.",
                )
            return body.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ObserveError(
                Reason.FILE_UNREADABLE,
                f"the saved page cannot be read ({cause(error)}). Save one with "
                "`curl -s http://HOST:PORT/metrics > page.txt`.",
            ) from error
