"""The way from a sidecar to its server: a real port on loopback, and what can go wrong on it."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from loopback import Answer, Loopback

PUT: Final = "PUT "


class Network:
    """Passes each request on to the server of this moment, or lets it fail.

    Attributes:
        faults: What is answered in the server's place, by the end of the path.
        before: Called with each request before the server gets it.
        after: Called with the document of a PUT that the server carried out, before its answer is passed on.
    """

    def __init__(self, server: Callable[[], str], certificate: Path | None = None) -> None:
        self.faults: dict[str, Answer] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[Any], None] = lambda _: None
        self._server = server
        self._certificate = certificate
        self._ends = Loopback(self._deal, certificate=certificate).__enter__()
        self.url = self._ends.url

    def refuse(self) -> None:
        """Nothing listens any more."""
        self._ends.__exit__(None, None, None)

    def listen(self, certificate: Path | None = None) -> None:
        """Listen again on the same port, with another certificate if one is given."""
        port = urlsplit(self.url).port
        assert port is not None
        self._ends = Loopback(self._deal, port=port, certificate=certificate or self._certificate).__enter__()

    def _deal(self, loopback: Loopback, connection: socket.socket) -> None:
        request = _whole(loopback.requests[-1], connection)
        if request is None:  # whoever asked was killed while it did: a server hears nothing of that
            return
        self.before(request)
        path = request.split(" ", 2)[1]
        fault = next((fault for end, fault in self.faults.items() if path.endswith(end)), None)
        if fault is None:
            connection.sendall(self._forwarded(request))
        elif callable(fault):
            fault(loopback, connection)
        else:
            connection.sendall(fault)

    def _forwarded(self, request: str) -> bytes:
        parts = urlsplit(self._server())
        with socket.create_connection((parts.hostname, parts.port)) as server:
            server.sendall(request.encode("latin-1"))
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        if request.startswith(PUT) and answer.startswith(b"HTTP/1.1 200 "):
            self.after(json.loads(request.partition("\r\n\r\n")[2]))
        return answer


def _whole(request: str, connection: socket.socket) -> str | None:
    """With its body, which comes in a piece of its own; None when it ends before it is whole."""
    head, ended, body = request.partition("\r\n\r\n")
    if not ended:
        return None
    lines = head.lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    while len(body) < length:
        piece = connection.recv(65536).decode("latin-1")
        if not piece:
            return None
        body += piece
    return f"{head}\r\n\r\n{body}"
