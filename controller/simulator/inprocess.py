"""HTTP without sockets: transports that call a WSGI application in the same process.

For benchmarks and tests that drive a simulated server faster than a port would, through `requests` or a `Fetcher`:

    session.mount("http://simulated", InProcessAdapter(server.application))
    Fetcher(pools=InProcessPools(server.application))
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse, PoolManager


class InProcessAdapter(HTTPAdapter):
    """Answers requests by calling `application` in the caller's thread.

    What the application raises reaches the caller. There is no connection, so no timeout, proxy or certificate
    plays a part, and closing a session that it is mounted in leaves it usable.
    """

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self._application = application

    def send(self, request: PreparedRequest, *_ignored: Any, **_more: Any) -> Response:
        """The application's answer.

        Raises:
            TypeError: The body is a stream; only bytes and text are carried.
        """
        method, url = request.method or "GET", request.url or ""
        return self.build_response(request, _answer(self._application, method, url, request.headers, request.body))


class InProcessPools(PoolManager):
    """The same for whoever asks urllib3."""

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self._application = application

    def urlopen(  # type: ignore[override]  # as urllib3 itself says of its own
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: ARG002
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        **_more: Any,
    ) -> HTTPResponse:
        """The application's answer."""
        return _answer(self._application, method, url, headers, body)


def _answer(application: WSGIApplication, method: str, url: str, headers: Mapping[str, str], body: Any) -> HTTPResponse:
    status, answered, content = _call(application, _environment(method, url, headers, body or b""))
    code, _, reason = status.partition(" ")
    return HTTPResponse(
        BytesIO(b"" if method == "HEAD" else content),
        HTTPHeaderDict(answered),
        int(code),
        reason=reason,
        request_method=method,
        preload_content=False,
    )


def _call(application: WSGIApplication, environment: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status, headers and body of one answer."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    body: list[bytes] = []

    def start(status: str, headers: list[tuple[str, str]], _: Any = None, /) -> Callable[[bytes], None]:
        begun.append((status, headers))
        return body.append

    answer = application(environment, start)
    try:
        body.extend(answer)
    finally:
        getattr(answer, "close", lambda: None)()
    status, headers = begun[-1]
    return status, headers, b"".join(body)


def _environment(method: str, url: str, sent: Mapping[str, str], body: Any) -> WSGIEnvironment:
    parts = urlsplit(url)
    if not isinstance(body, bytes | str):
        raise TypeError(f"an in-process request carries bytes or text, not a {type(body).__name__}")
    content = body.encode() if isinstance(body, str) else body
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in sent.items()}
    kind = headers.pop("HTTP_CONTENT_TYPE", None)
    headers.pop("HTTP_CONTENT_LENGTH", None)
    environment: WSGIEnvironment = {
        **headers,
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "HTTP_HOST": parts.netloc,
        "SERVER_NAME": parts.hostname or "",
        "SERVER_PORT": str(parts.port or {"https": 443}.get(parts.scheme, 80)),
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": BytesIO(content),
    }
    if kind is not None:
        environment["CONTENT_TYPE"] = kind
    setup_testing_defaults(environment)  # what is left of what WSGI asks for
    return environment
