"""An ASGI application, asked without a server."""

from collections.abc import Iterable
from typing import Any


async def answered(
    application: Any, verb: str, headers: Iterable[tuple[bytes, bytes]], body: bytes, pieces: int = 1
) -> tuple[int, bytes, dict[bytes, bytes]]:
    """One request, whose body arrives in so many pieces: status, body and headers of the answer."""
    size = -(-len(body) // pieces) or 1
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": "http", "method": verb, "headers": list(headers)}, receive, send)
    start, content = sent
    return start["status"], content["body"], dict(start["headers"])
