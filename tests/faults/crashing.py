"""A sidecar that is killed in its second pass, wherever it is told to: a program of its own.

Arguments: the options of `controller run` as JSON, and which statements count (`own`: ours but for what only tells of
the pass, `all`: those and every library's). Each line of standard input is a number of statements and the time; for
each, the process forks after its first pass, and the fork is killed (SIGKILL) before that many statements of acting and
of all that comes after. It says where on standard output, or `finished` when the pass ended before.
"""

import json
import os
import re
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final

from controller.act.live import LiveActuator
from controller.commands.run import watch
from controller.options.run import RunOptions

BEGINS: Final = LiveActuator.act.__code__
OURS: Final = re.compile(r"/controller/(?!serve/|plain)")


class Clock:
    """Shows the time that it is told."""

    def __init__(self, unix_seconds: float) -> None:
        self._now = unix_seconds

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return self._now

    def unix_seconds(self) -> float:
        """See `Clock`."""
        return self._now

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """See `Clock`: after the first pass come the forks, and each of them ends after the second."""
        del seconds
        self.wait = _finished  # type: ignore[method-assign,assignment]
        os.write(1, b"ready\n")
        for line in sys.stdin:
            statements, now = line.split()
            child = os.fork()
            if child == 0:
                self._now = float(now)
                sys.settrace(_Countdown(int(statements), everywhere=sys.argv[2] == "all").begin)
                return False
            os.waitpid(child, 0)
        stop.set()
        return True


def _finished(*_: Any) -> bool:
    os.write(1, b"finished\n")
    os._exit(0)


class _Countdown:
    """Kills this process when so many statements have been reached."""

    def __init__(self, statements: int, *, everywhere: bool) -> None:
        self._left = statements
        self._everywhere = everywhere

    def begin(self, frame: FrameType, _: str, __: Any) -> Any:
        """Count from the function on that acts; in those that called it, too."""
        if frame.f_code is not BEGINS:
            return None
        sys.settrace(self.count)
        above: FrameType | None = frame
        while above is not None:
            above.f_trace = self.count
            above = above.f_back
        return self.count

    def count(self, frame: FrameType, event: str, _: Any) -> Any:
        """One event of one frame."""
        if not self._everywhere and OURS.search(frame.f_code.co_filename) is None:
            return None
        self._left -= event in ("line", "return")
        if self._left <= 0:
            os.write(1, f"{frame.f_code.co_filename}:{frame.f_lineno}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        return self.count


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.exit(watch(RunOptions(**given["options"]), Clock(given["unix_seconds"]), threading.Event()))
