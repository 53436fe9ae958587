"""What was learnt, kept in a file across restarts: written whole or not at all, and believed only when it is sound."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from controller.clock import Clock
from controller.decide.course import Course
from controller.memory import Learnt
from controller.observe.errors import ObserveError, cause
from controller.observe.snapshot import Key
from controller.plain import plain
from controller.reason import Reason

VERSION: Final = 1
"""Raised when an older sidecar could misread the file."""
LIMIT_BYTES: Final = 4 * 1024 * 1024
ENGINES_MAX: Final = 256
STALE_SECONDS: Final = 24 * 3600.0
"""Older than this it is not believed: traffic and hardware have changed."""


@dataclass(frozen=True, slots=True)
class _Saved:
    """The file's content. Monotonic times in it are those of the process that wrote it, at `monotonic_seconds`."""

    version: int
    server: str
    unix_seconds: Annotated[float, Field(allow_inf_nan=False)]
    monotonic_seconds: Annotated[float, Field(allow_inf_nan=False)]
    engines: Annotated[tuple[tuple[str, str, Learnt], ...], Field(max_length=ENGINES_MAX)]


_FILE: Final = TypeAdapter(_Saved)


class Checkpoint:
    """The file, for one server."""

    def __init__(self, path: Path, server: str, clock: Clock) -> None:
        """Touches nothing yet; `server` is the address, so that the file of another server is not taken."""
        self._path = path
        self._server = server
        self._clock = clock
        self._written: Mapping[Key, Learnt] | None = None

    def read(self) -> dict[Key, Learnt]:
        """What was learnt before; empty when there is no file.

        Raises:
            ObserveError: There is one, and it cannot be used; it is left as it is until the next save.
        """
        try:
            with self._path.open("rb") as file:
                body = file.read(LIMIT_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(cause(error)) from error
        if len(body) > LIMIT_BYTES:
            raise self._unusable(f"it is larger than {LIMIT_BYTES} bytes")
        try:
            saved = _FILE.validate_json(body)
            json.dumps(_FILE.dump_python(saved), allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise self._unusable(_fault(error)) from error
        if saved.version != VERSION:
            raise self._unusable(f"it is of version {saved.version}, this sidecar reads {VERSION}")
        if saved.server != self._server:
            raise self._unusable(f"it is of another server, {plain(saved.server)}")
        passed = self._clock.unix_seconds() - saved.unix_seconds
        if not 0 <= passed <= STALE_SECONDS:
            raise self._unusable(f"it was saved {passed / 3600:.1f} hours ago")
        later = self._clock.monotonic_seconds() - passed - saved.monotonic_seconds
        found: dict[Key, Learnt] = {
            (model, engine, ()): _moved(learnt, later) for model, engine, learnt in saved.engines
        }
        if not all(map(_sound, found.values())):
            raise self._unusable("its numbers contradict each other")
        return found

    def save(self, learnt: Mapping[Key, Learnt]) -> None:
        """Replace the file by what is known now; a kill at any instant leaves the old file or the new one.

        Raises:
            ObserveError: It could not be written; the old file is as it was.
        """
        if learnt == self._written:
            return
        saved = _Saved(
            VERSION,
            self._server,
            self._clock.unix_seconds(),
            self._clock.monotonic_seconds(),
            tuple((model, engine, each) for (model, engine, _), each in learnt.items())[:ENGINES_MAX],
        )
        body = _FILE.dump_json(saved)
        if len(body) > LIMIT_BYTES:
            raise ObserveError(
                Reason.CHECKPOINT_NOT_SAVED,
                f"What was learnt takes {len(body)} bytes, more than the {LIMIT_BYTES} that are read back: the "
                "checkpoint stays as it is, and a restart would forget what came since.",
            )
        try:
            self._replace(body)
        except OSError as error:
            raise ObserveError(
                Reason.CHECKPOINT_NOT_SAVED,
                f"The checkpoint {self._path} cannot be written ({cause(error)}): a restart would forget what was "
                "learnt. Give a writable file with --checkpoint, or make room.",
            ) from error
        self._written = dict(learnt)

    def _replace(self, body: bytes) -> None:
        fresh = self._path.with_name(f".{self._path.name}.new")  # always this one: what kills leave does not pile up
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise

    def _unusable(self, why: str) -> ObserveError:
        return ObserveError(
            Reason.CHECKPOINT_UNUSABLE,
            f"The checkpoint {self._path} cannot be used ({why}): starting from nothing, as without one.",
        )


def _fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it holds a number that is none" if isinstance(error, ValueError) else "it is nested too deeply"
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{plain('.'.join(map(str, first['loc'])) or 'the file', 80)}: {plain(first['msg'], 120)}"


def _moved(learnt: Learnt, seconds: float) -> Learnt:
    """With times of this process's monotonic clock in place of the writer's."""
    course = learnt.course
    changed, refined = course.changed_at_seconds, course.refined_at_seconds
    moved = replace(
        course,
        changed_at_seconds=None if changed is None else changed + seconds,
        refined_at_seconds=None if refined is None else refined + seconds,
        account=replace(course.account, at_seconds=course.account.at_seconds + seconds),
        bars=tuple(replace(bar, until_seconds=bar.until_seconds + seconds) for bar in course.bars),
        change=None,  # what a change brought is compared window by window; the chain is broken
        probe=None,
        windows=(),
        latest=None,
    )
    return replace(learnt, course=moved)


def _sound(learnt: Learnt) -> bool:
    """Whether the numbers could be ours: a file edited by hand must not make the arithmetic fail."""
    counts = [learnt.evidence] if learnt.evidence else []
    counts += [each.evidence for each in learnt.workloads]
    positions = learnt.k_max or 0
    return (
        all(
            len(each.at_risk) == len(each.accepted) == positions
            and all(0 <= hits <= risk + 1e-6 < 1e15 for hits, risk in zip(each.accepted, each.at_risk, strict=True))
            and min(each.draft_squares, each.draft_tokens, each.request_steps, each.drafting_steps) >= 0
            and min(each.scatter, each.scatter_windows) >= 0
            for each in counts
        )
        and all(
            1 <= cell.batch < 1e7 and 0 <= cell.drafts < 1e4 and 0 <= cell.drafting <= 1 + 1e-6
            and abs(cell.log_seconds) < 50 and 0 < cell.weight < 1e6 and 0 <= cell.prompt < 1e7
            for cell in learnt.table.cells
        )
        and all(0 <= each.drafts < 1e15 for each in learnt.workloads)
        and min(learnt.table.scatter, learnt.table.scatter_windows) >= 0
        and _fits(learnt.course, positions)
    )  # fmt: skip


def _fits(course: Course, k_max: int) -> bool:
    ranges = course.home
    ordered = all(low <= high for low, high, _ in ranges) and all(
        after[0] > before[1] for before, after in pairwise(ranges)
    )
    bars = all(0 <= bar.k <= k_max and 0 < bar.batch < 1e7 and bar.seconds >= 0 for bar in course.bars)
    return bars and ordered and (not ranges or ranges[0][0] == 1) and all(0 <= k <= k_max for _, _, k in ranges)
