"""An HTTP port in a thread of its own, that closes without a trace."""

import threading
from typing import Any, Self, cast
from wsgiref.types import WSGIApplication

from waitress.server import create_server


class Listener:
    """Serves a WSGI application on `host` and `port` (0: any free one) until closed."""

    def __init__(self, application: WSGIApplication, host: str, port: int) -> None:
        http = create_server(application, host=host, port=port, ipv6=":" in host, threads=4)
        self._http = cast("Any", http)  # the stubs take its trigger for a number, and lack its port
        self._thread = threading.Thread(target=self._http.run, name="simulated-server", daemon=True)
        self.host, self.port = host, int(self._http.effective_port)

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering; connections that are open are cut."""
        self._http.trigger.pull_trigger(self._close_in_loop)
        self._thread.join(timeout=5)
        self._http.task_dispatcher.shutdown(timeout=1)

    def _close_in_loop(self) -> None:
        """Runs in the loop's own thread: nobody else may close sockets that it polls."""
        for channel in list(self._http.active_channels.values()):
            channel.handle_close()
        self._http.close()
