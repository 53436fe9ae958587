"""A process beside this one, which ends with it."""

import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

Serve = Callable[[Connection], None]
"""Answers what comes through a pipe, until there is no more: EOFError is its end."""


class Beside:
    """Serves at its end of a pipe; `pipe` is ours.

    It begins as a copy of this process: what this one holds goes along as it is, and is copied page by page as either
    touches it.
    """

    def __init__(self, serve: Serve) -> None:
        """Starts the process."""
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(serve, theirs, self.pipe), daemon=True)
        self._process.start()
        theirs.close()

    def ended(self) -> int | None:
        """Its exit code, once it has ended; negative for a signal."""
        self._process.join()
        return self._process.exitcode


def _run(serve: Serve, pipe: Connection, others_end: Connection) -> None:
    """Serve until the other process wants no more; an interrupt is its business."""
    others_end.close()  # or the end of that process would not be noticed here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):  # it ended, perhaps in the middle
        serve(pipe)
