"""A transport without sockets, and the bridge between the two kinds of application: both leave a message as it is."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
import requests

from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.reason import Reason
from controller.simulator import asgi
from controller.simulator.inprocess import InProcessAdapter, InProcessPools
from controller.simulator.server import SimulatedServer

URL = "http://simulated"
RESOURCE = "/adaptive-k/v1/speculation"


def session(application: Any) -> requests.Session:
    """A session that calls an application."""
    session = requests.Session()
    session.mount(URL, InProcessAdapter(application))
    return session


def echo(environment: dict[str, Any], start: Any) -> list[bytes]:
    """Answers what it was asked."""
    body = environment["wsgi.input"].read(int(environment["CONTENT_LENGTH"]))
    start("418 I'm a Teapot", [("Content-Type", environment.get("CONTENT_TYPE", "none")), ("X-Twice", "a, b")])
    parts = (environment[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_X_ASKED"))
    return [" ".join(parts).encode("latin-1"), b"|", body]


def test_a_request_arrives_as_it_was_sent_and_the_answer_as_it_was_given() -> None:
    """Verb, path, query, headers and body; status, reason, headers and body."""
    answer = session(validator(echo)).put(
        f"{URL}/a%20b?x=1", data="tr\u00fce", headers={"X-Asked": "yes", "Content-Type": "text/plain"}
    )
    assert (answer.status_code, answer.reason, answer.headers["X-Twice"]) == (418, "I'm a Teapot", "a, b")
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.content == "PUT /a b x=1 yes|tr\u00fce".encode()


def test_pages_are_those_of_a_port_to_the_byte() -> None:
    """Of every route of a simulated server, found or not."""
    with SimulatedServer("mixed-workloads", speed=0, developer_mode=True) as server:
        server.advance_to(20)
        near = session(validator(server.application))
        paths = ("/metrics", "/metrics/", "/health", "/version", "/v1/models", "/server_info?config_format=json")
        for path in (*paths, "/simulator", RESOURCE, "/nowhere"):
            far, here = requests.get(server.url + path, timeout=20), near.get(URL + path)
            assert (here.status_code, here.reason, here.content) == (far.status_code, far.reason, far.content)
            assert here.headers["Content-Type"] == far.headers["Content-Type"]
        for verb in ("PUT", "DELETE", "POST", "HEAD"):
            far, here = requests.request(verb, server.url + RESOURCE, timeout=20), near.request(verb, URL + RESOURCE)
            assert (here.status_code, here.content) == (far.status_code, far.content)


def test_the_sidecar_reads_pages_through_it() -> None:
    """Chunk by chunk and time after time, with the limits that hold for a real server."""
    server = SimulatedServer("steady-code")
    server.advance_to(30)
    pools = InProcessPools(server.application)
    fetcher = Fetcher(pools=pools)
    assert fetcher.get(f"{URL}/metrics", "text/plain") == server.page()
    server.advance_to(40)
    assert fetcher.get("https://simulated/metrics", "text/plain") == server.page()
    with pytest.raises(ObserveError) as small:
        Fetcher(limit_bytes=1000, pools=pools).get(f"{URL}/metrics", "text/plain")
    with pytest.raises(ObserveError) as missing:
        fetcher.get(f"{URL}/nowhere", "text/plain")
    assert (small.value.reason, missing.value.reason) == (Reason.PAGE_TOO_LARGE, Reason.SERVER_ERROR)


def test_what_an_application_raises_is_not_hidden_in_a_status() -> None:
    """And its answer is closed also when it breaks off."""
    closed: list[bool] = []

    class Breaks:
        def __iter__(self) -> Any:
            yield b"some"
            raise RuntimeError("broken off")

        def close(self) -> None:
            closed.append(True)

    def application(_: Any, start: Any) -> Breaks:
        start("200 OK", [("Content-Type", "text/plain")])
        return Breaks()

    with pytest.raises(RuntimeError, match="broken off"):
        session(application).get(URL)
    assert closed == [True]


def test_a_stream_is_refused_by_name(tmp_path: Path) -> None:
    """Rather than sent empty."""
    with pytest.raises(TypeError, match="not a generator"):
        session(echo).post(URL, data=(part for part in [b"a"]))


@pytest.mark.parametrize("size", [0, 10, 64 * 1024, 200_000])
def test_an_asgi_application_sees_the_whole_request_and_answers_in_parts(size: int) -> None:
    """Whatever the size of the body, and no more of it than was announced."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    seen: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        whole, more = b"", True
        while more:
            message = await receive()
            whole, more = whole + message["body"], message["more_body"]
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": whole[:5], "more_body": True})
        await send({"type": "http.response.body", "body": whole[5:]})

    environment = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/p",
        "QUERY_STRING": "q=1",
        "CONTENT_LENGTH": str(size) if size else "",
        "HTTP_AUTHORIZATION": "Bearer abc",
        "wsgi.input": BytesIO(body + b"the next request"),
    }
    assert asgi.answer(application, environment) == ("201 Created", [("content-type", "text/plain")], body)
    assert (seen["type"], seen["method"], seen["path"], seen["query_string"]) == ("http", "PUT", "/p", b"q=1")
    assert (b"authorization", b"Bearer abc") in seen["headers"]
