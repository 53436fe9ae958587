"""An ASGI application inside a WSGI one: one request, one answer."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

Message: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
WsgiAnswer: TypeAlias = tuple[str, list[tuple[str, str]], bytes]
"""Status line, headers and body."""
_CHUNK_BYTES: Final = 64 * 1024


def answer(
    application: Application, environment: "WSGIEnvironment", loop: asyncio.AbstractEventLoop | None = None
) -> WsgiAnswer:
    """What an ASGI application answers to a WSGI request. It reads as much of the body as it wants to.

    It runs in `loop`, whose owner sees to it that nobody else does at the same time; without one, in a loop of its own.
    """
    sent: list[Message] = []
    left = int(environment.get("CONTENT_LENGTH") or 0)

    async def receive() -> Message:
        nonlocal left
        body = environment["wsgi.input"].read(min(left, _CHUNK_BYTES))
        left = left - len(body) if body else 0
        return {"type": "http.request", "body": body, "more_body": left > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    async def respond() -> None:
        await application(_scope(environment), receive, send)

    if loop is None:
        asyncio.run(respond())
    else:
        loop.run_until_complete(respond())
    start, *parts = sent
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    status = HTTPStatus(start["status"])
    return f"{status} {status.phrase}", headers, b"".join(part.get("body", b"") for part in parts)


def _scope(environment: "WSGIEnvironment") -> Message:
    headers = {name[5:]: value for name, value in environment.items() if name.startswith("HTTP_")}
    headers |= {name: environment[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environment.get(name)}
    return {
        "type": "http",
        "method": environment["REQUEST_METHOD"],
        "path": environment["PATH_INFO"],
        "query_string": environment.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [
            (name.lower().replace("_", "-").encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.items()
        ],
    }
