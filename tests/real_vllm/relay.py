"""A relay between a sidecar and a server: it can be pointed at another server, and act in mid-change."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import requests

FORWARDED: Final = ("Accept", "Authorization", "Content-Type")
TIMEOUT_SECONDS: Final = 30


@dataclass(slots=True)
class Relay:
    """An address that stays while the server behind it changes, as a Kubernetes Service does.

    Attributes:
        url: Where it listens.
        server: Where it sends what comes in.
        after_put: Called once a PUT was carried out by the server and before its answer is passed on.
    """

    url: str
    server: str
    after_put: Callable[[], None] | None = None


@contextmanager
def relay(server: str) -> Iterator[Relay]:
    """Run one on loopback while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listener:
        made = Relay(f"http://127.0.0.1:{listener.server_port}", server)
        listener.RequestHandlerClass = _handler(made)
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown()
            thread.join()


def _handler(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: self.headers[name] for name in FORWARDED if name in self.headers}
            try:
                answer = requests.request(
                    self.command, relay.server + self.path, data=body, headers=headers, timeout=TIMEOUT_SECONDS
                )
            except requests.RequestException:
                self.close_connection = True  # the server is gone, and so is the connection to it
                return
            if self.command == "PUT" and relay.after_put is not None:
                relay.after_put()
            try:
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)
            except OSError:
                self.close_connection = True  # who asked did not wait for the answer

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the method overridden
            del format, args

    return Handler
