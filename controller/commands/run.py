"""`controller run`: the loop for ever, its log and its port."""

import random
import signal
import threading
from types import FrameType

from controller.clock import SystemClock
from controller.commands.connection import http_source
from controller.commands.exit_codes import FAILED, OK
from controller.commands.wiring import controller, say
from controller.cycle import Cycle
from controller.observe.errors import cause
from controller.serve.log import configure, event, log_cycle
from controller.serve.server import Server
from controller.settings import RunOptions


def run(options: RunOptions) -> int:
    """Watch until SIGTERM or SIGINT, which let the pass in progress end; then exit with 0."""
    clock = SystemClock()
    try:
        server = Server(options.listen, clock, options.interval_seconds)
    except (OSError, ValueError) as error:
        say(f"controller run: cannot listen on {options.listen} ({cause(error)}): choose another with --listen.")
        return FAILED
    stop = threading.Event()
    _stop_on_signals(stop)
    configure()
    event("start", clock.unix_seconds(), server=options.url, listen=options.listen, mode="recommend")
    loop = controller(options, http_source(options, clock), clock)

    def publish(cycle: Cycle) -> None:
        server.publish(cycle)
        log_cycle(cycle)

    server.start()
    try:
        loop.run(stop, options.interval_seconds, publish, jitter=lambda: random.uniform(-1.0, 1.0))  # noqa: S311
    finally:
        server.close()
    event("stop", clock.unix_seconds())
    return OK


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, handle)
