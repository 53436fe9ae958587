"""An HTTP port in threads of its own, that nobody can hold up, and that closes without a trace."""

import logging
import socket
import threading
from typing import Any, Final, Self, cast
from wsgiref.types import WSGIApplication

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import WSGITask

CONNECTIONS: Final = 100
SPARE: Final = 16
"""Connections beyond `CONNECTIONS`, while every one of them has a request in work."""
HEADER_BYTES_MAX: Final = 16 * 1024


class _Task(WSGITask):
    """Answers one request. Who asks for more before the answer is there gets no more: it would fill the memory."""

    def __init__(self, channel: Any, request: Any) -> None:
        super().__init__(channel, request)
        if len(channel.requests) > 1:
            request.headers["CONNECTION"] = "close"


class _Channel(HTTPChannel):
    """A connection that takes the place of the oldest idle one when there are too many.

    Whoever holds connections open, silent or byte by byte, holds up nobody: a probe gets in, and is answered long
    before its own turn to go comes.
    """

    task_class = _Task

    def __init__(self, server: Any, *arguments: Any, **more: Any) -> None:
        super().__init__(server, *arguments, **more)
        if len(server.active_channels) > CONNECTIONS:  # in the order of their coming
            idle = (each for each in server.active_channels.values() if not each.requests and each is not self)
            if (oldest := next(idle, None)) is not None:
                oldest.handle_close()


class Listener:
    """Serves a WSGI application on `host` and `port` (0: any free one) until closed.

    It binds at once, so that a port in use is an error at the start: OSError. `adjustments` are waitress's own.
    """

    def __init__(self, application: WSGIApplication, host: str, port: int, **adjustments: Any) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue of one is no news
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        self._polled: dict[int, Any] = {}
        bounds: dict[str, Any] = {
            "threads": 4,
            "connection_limit": CONNECTIONS + SPARE,
            "max_request_header_size": HEADER_BYTES_MAX,
            "asyncore_use_poll": True,  # select knows no file numbered above 1023
        }
        self._http: Any = cast(  # the stubs take its trigger for a number, and know no channels
            "Any", create_server(application, map=self._polled, sockets=[listening], **{**bounds, **adjustments})
        )
        self._http.channel_class = _Channel
        self._thread = threading.Thread(target=self._http.run, name="http", daemon=True)
        self.host, self.port = host, int(listening.getsockname()[1])

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering; connections that are open are cut, so that none of them holds up the end.

        First the loop ends, for it polls the sockets; then the workers, for they wake it through a pipe; only then
        is anything closed, since the number of a closed file may be another file's at once.
        """
        self._http.trigger.pull_trigger(self._polled.clear)
        self._thread.join()
        self._http.task_dispatcher.shutdown(timeout=1)
        for channel in list(self._http.active_channels.values()):
            channel.handle_close()
        self._http.close()
