"""A server on the loopback that answers as it is told to, byte by byte, and remembers what it was asked."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

Answer = bytes | Callable[["Loopback", socket.socket], None]
"""Bytes to send, or what to do with the connection."""


class Loopback:
    """Answers one connection after the other with its answers in turn, the last one for ever; then closes each."""

    def __init__(self, *answers: Answer, port: int = 0, certificate: Path | None = None) -> None:
        self.requests: list[str] = []
        self.stopped = threading.Event()
        self._answers = list(answers)
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", port))
        port = self._listener.getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        self._threads = [threading.Thread(target=self._serve)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            thread = threading.Thread(target=self._answer, args=(connection, answer))
            self._threads.append(thread)
            thread.start()

    def _answer(self, plain: socket.socket, answer: Answer) -> None:
        try:
            with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
                self.requests.append(connection.recv(65536).decode("latin-1"))
                if callable(answer):
                    answer(self, connection)
                else:
                    connection.sendall(answer)
        except OSError:
            pass  # the client has gone
        finally:
            plain.close()


def answer(body: str | bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP answer."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def hang(server: Loopback, connection: socket.socket) -> None:
    """Say nothing until the test is over."""
    server.stopped.wait()


def hang_after(start: bytes) -> Answer:
    """Say so much, and no more until the test is over."""

    def act(server: Loopback, connection: socket.socket) -> None:
        connection.sendall(start)
        server.stopped.wait()

    return act


def drip(server: Loopback, connection: socket.socket) -> None:
    """A body that comes byte by byte, each well within any timeout, for as long as the client listens."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not server.stopped.wait(0.02):
        connection.sendall(b"#")


def drip_headers(server: Loopback, connection: socket.socket) -> None:
    """Headers that come byte by byte, each well within any timeout, for as long as the client listens."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not server.stopped.wait(0.02):
        connection.sendall(b"a")


def flood(server: Loopback, connection: socket.socket) -> None:
    """A page of 100 MB."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"# HELP a b\n" * 9090 + b"#\n" * 5)


def unused_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def self_signed(folder: Path, host: str = "IP:127.0.0.1") -> Path:
    """A certificate and its key in one PEM file, signed by nobody else."""
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=loopback",
            "-addext", f"subjectAltName={host}",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
