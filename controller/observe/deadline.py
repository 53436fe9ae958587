"""Connections whose answers are whole by a deadline, however slowly the bytes come.

A socket's timeout bounds each read. A server that sends its headers byte by byte would be read for as long as it likes.
"""

import http.client
import io
import socket
from typing import Any, Final

from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from controller.clock import SystemClock

_CLOCK: Final = SystemClock()
"""Sockets wait in the machine's time, whatever the loop's clock is."""


class _Punctual(io.RawIOBase):
    """What a socket receives until the deadline; from then on TimeoutError."""

    def __init__(self, received: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._received = received
        self._sock = sock
        timeout_seconds = sock.gettimeout()
        assert timeout_seconds is not None
        self._deadline_seconds = _CLOCK.monotonic_seconds() + timeout_seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_seconds = self._deadline_seconds - _CLOCK.monotonic_seconds()
        if left_seconds <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left_seconds)
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that begins when its request has been sent."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Punctual(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS: Final = {"http": _Pool, "https": _TlsPool}
"""By scheme, for a `PoolManager`."""


class DeadlinePools(PoolManager):
    """Carries requests whose timeout is for the connection, and again for the whole answer: headers and body."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = POOLS
