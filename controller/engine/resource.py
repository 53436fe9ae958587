"""The entry point of the group `vllm.endpoint_plugins`: the resource, served by vLLM's own API server.

An ASGI application without a framework: what vLLM's web framework offers changes with vLLM.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .control import OK, UNPROCESSABLE, Answer
from .plugin import ENGINE_METHOD, GET_MEASURED, unavailable
from .schedule import Refused
from .scheduler import message_of
from .tokens import VARIABLE, NoTokensError, is_bearer, read_tokens
from .wanted import BODY_BYTES_MAX, read_wanted

PATH = "/adaptive-k/v1/speculation"
"""Outside /v1, which vLLM's API key guards with the same header, and which ingresses publish."""
METHODS = ("GET", "PUT", "DELETE")
ENGINE_SECONDS = 30.0
"""The engine answers between two steps; a step with a long prompt takes seconds."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def configured_token_file() -> str | None:
    """The path of the token file, as the environment names it at this moment."""
    return os.environ.get(VARIABLE)


class SpeculationEndpoint:
    """What vLLM makes of the entry point; see vLLM's `EndpointPlugin`."""

    name = "adaptive_k"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._resource = SpeculationResource()

    def attach_router(self, app: Any) -> None:
        """Serve the resource beside vLLM's own routes."""
        app.add_route(PATH, self._resource)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:  # noqa: ARG002  (vLLM's signature)
        """Learn how to reach the engine."""
        self._resource.connect(engine_client, lacking=unavailable())


class SpeculationResource:
    """GET, PUT and DELETE of the schedule in force, as an ASGI application."""

    def __init__(
        self,
        *,
        engine_seconds: float = ENGINE_SECONDS,
        token_file: Callable[[], str | None] = configured_token_file,
    ) -> None:
        self._engine_seconds = engine_seconds
        self._token_file = token_file
        self.__name__ = "adaptive_k_speculation"  # vLLM logs every route by the name of its function, and dies without
        self._engine: Any = None
        self._unavailable: str | None = "the server is still starting"

    def connect(self, engine_client: Any, *, lacking: str | None) -> None:
        """Speak to this engine from now on; or never, where this vLLM lacks something that the plugin needs."""
        self._engine = getattr(engine_client, "engine_core", None)
        parallel = getattr(getattr(engine_client, "vllm_config", None), "parallel_config", None)
        if lacking is None and not hasattr(self._engine, "call_utility_async"):
            lacking = "EngineClient.engine_core.call_utility_async"
        if lacking is not None:
            self._unavailable = f"the plugin is off, this vLLM lacks {lacking}"
        elif getattr(parallel, "data_parallel_size", 1) > 1:
            # one answer could not speak for all engines, and each has a boot_id of its own
            self._unavailable = (
                "the plugin is off: with data parallelism there are several engines, and k stays as launched"
            )
        else:
            self._unavailable = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        status, document = await self._answer(scope, receive)
        extra = {401: (b"www-authenticate", b"Bearer"), 405: (b"allow", ", ".join(METHODS).encode())}
        content = json.dumps(document).encode() + b"\n"
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
            *([extra[status]] if status in extra else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        verb, path = scope["method"], self._token_file()
        if verb not in METHODS:
            return 405, {"error": f"only {', '.join(METHODS)} are possible here"}
        headers = dict(scope["headers"])
        if verb == "GET":
            trusted = _has_token(headers, path)
            return _read_only_without_tokens(path, await self._ask(GET_MEASURED if trusted else verb))
        try:
            if not is_bearer(headers.get(b"authorization"), read_tokens(path)):
                return 401, {"error": "this needs `Authorization: Bearer TOKEN` with a token of the token file"}
        except NoTokensError as error:
            return 403, {"error": str(error)}
        return await (self._ask(verb) if verb == "DELETE" else self._put(headers, receive))

    async def _put(self, headers: dict[bytes, bytes], receive: Receive) -> Answer:
        body = await _body(headers.get(b"content-length", b""), receive)
        if body is None:
            return 413, {"error": f"the body is larger than {BODY_BYTES_MAX} bytes"}
        try:
            wanted = read_wanted(body)
        except Refused as refused:
            return UNPROCESSABLE, {"error": str(refused)}
        return await self._ask("PUT", message_of(wanted))

    async def _ask(self, *message: Any) -> Answer:
        """Ask the engine. It is not to be interrupted in mid-answer by a client that hangs up, hence the shield."""
        if self._unavailable is not None:
            return 503, {"error": self._unavailable}
        asked = asyncio.ensure_future(self._engine.call_utility_async(ENGINE_METHOD, *message))
        asked.add_done_callback(_retrieve)
        try:
            status, document = await asyncio.wait_for(asyncio.shield(asked), self._engine_seconds)
        except asyncio.TimeoutError:  # in Python 3.10 not yet the built-in one
            return 504, {
                "error": f"the engine did not answer within {self._engine_seconds:.0f} s; a change may still happen"
            }
        except Exception as error:  # noqa: BLE001  (vLLM raises its own kinds; whichever, the engine did not do it)
            return 503, {"error": f"the engine did not do it: {type(error).__name__}: {error}"[:500]}
        return status, document


def _has_token(headers: dict[bytes, bytes], path: str | None) -> bool:
    """Whether a GET may see what was measured, workloads by name; without a token it is answered all the same."""
    try:
        return is_bearer(headers.get(b"authorization"), read_tokens(path))
    except NoTokensError:
        return False


def _read_only_without_tokens(path: str | None, answer: Answer) -> Answer:
    """The engine does not know whether anybody could write; only here is the token file read."""
    status, document = answer
    if status != OK or not document["writable"]:
        return answer
    try:
        read_tokens(path)
    except NoTokensError as error:
        return status, {**document, "writable": False, "read_only_because": str(error)}
    return answer


async def _body(announced: bytes, receive: Receive) -> bytes | None:
    """The body; None as soon as it is known to be too large."""
    if announced.isdigit() and int(announced[:20]) > BODY_BYTES_MAX:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            return None
    return body


def _retrieve(asked: "asyncio.Future[Any]") -> None:
    """An answer that nobody waits for any more must not be reported as one that was forgotten."""
    if not asked.cancelled():
        asked.exception()
