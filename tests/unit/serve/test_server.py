"""The sidecar's own port: read-only, always ready, alive while the loop is."""

import json
import resource
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace

import jsonschema
import pytest
from fakes import ManualClock, RecordingActuator, ScriptedSource
from pages import after, snapshot
from prometheus_client.parser import text_string_to_metric_families

from controller.cycle import Cycle
from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.report.document import schema
from controller.serve.server import Server

EVIL = 'm"\\\n\x1b[2J\u2028' + "x" * 4096


@pytest.fixture
def clock() -> ManualClock:
    """The server's clock."""
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> Iterator[Server]:
    """A port of its own."""
    serving = Server("127.0.0.1:0", clock, interval_seconds=10.0)
    serving.start()
    yield serving
    serving.close()


def cycles(model_name: str = "m") -> list[Cycle]:
    """A first pass, and one with a decision."""
    clock = ManualClock()
    first = snapshot(model_name=model_name)
    loop = Controller(ScriptedSource(clock, [first], [after(first)]), clock, RecordingActuator(), PolicySettings())
    return [loop.step(), loop.step()]


def ask(server: Server, path: str, method: str = "GET", data: bytes | None = None) -> tuple[int, str]:
    """Status and body."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status), response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_before_the_first_pass_there_is_no_recommendation(server: Server) -> None:
    """Alive and ready all the same."""
    assert ask(server, "/recommendation")[0] == 503
    assert [ask(server, path)[0] for path in ("/livez", "/readyz", "/metrics", "/")] == [200] * 4


def test_the_recommendation_is_the_published_document(server: Server) -> None:
    """Valid by the schema, and that of the latest pass."""
    for cycle in cycles():
        server.publish(cycle)
    status, body = ask(server, "/recommendation")
    document = json.loads(body)
    jsonschema.validate(document, schema())
    assert status == 200
    assert document["servers"][0]["recommendation"]["schedule"]


def test_hostile_model_names_are_valid_everywhere(server: Server) -> None:
    """Escaped in JSON and on the metrics page."""
    server.publish(cycles(EVIL)[1])
    assert json.loads(ask(server, "/recommendation")[1])["servers"][0]["model_name"] == EVIL
    names = {
        sample.labels.get("model_name", EVIL)
        for family in text_string_to_metric_families(ask(server, "/metrics")[1])
        for sample in family.samples
    }
    assert names == {EVIL}


def test_liveness_is_progress_of_the_loop(server: Server, clock: ManualClock) -> None:
    """A minute without a pass is death at short intervals; a pass is life again."""
    clock.advance(59.0)
    assert ask(server, "/livez")[0] == 200
    clock.advance(2.0)
    status, body = ask(server, "/livez")
    assert (status, body) == (503, "The loop has made no pass for 61 s.\n")
    server.publish(cycles()[0])
    assert ask(server, "/livez")[0] == 200


def test_a_long_interval_gives_more_time_to_live(clock: ManualClock) -> None:
    """Five intervals."""
    serving = Server("127.0.0.1:0", clock, interval_seconds=60.0)
    serving.start()
    clock.advance(299.0)
    assert ask(serving, "/livez")[0] == 200
    clock.advance(2.0)
    assert ask(serving, "/livez")[0] == 503
    serving.close()


def test_a_failing_pass_is_progress(server: Server, clock: ManualClock) -> None:
    """A server that is down must not get its sidecar killed, nor the model taken out of its Service."""
    clock.advance(100.0)
    server.publish(Cycle(number=1, at_unix_seconds=0.0))
    assert ask(server, "/livez")[0] == ask(server, "/readyz")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/metrics", "/recommendation", "/readyz", "/nothing"])
def test_nothing_can_be_changed(server: Server, method: str, path: str) -> None:
    """Only GET is answered."""
    assert ask(server, path, method, b"{}")[0] == 405


def test_the_answer_to_head_has_no_body(server: Server) -> None:
    """So that the connection goes on with the next answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = b"".join(iter(lambda: connection.recv(65536), b""))
    assert head.startswith(b"HTTP/1.1 405 ")
    assert rest.startswith(b"HTTP/1.1 404 ")


def test_an_unknown_path_names_those_there_are(server: Server) -> None:
    """Whatever the path holds."""
    for path in ("/nothing", "/..%2f..%2fetc/passwd", "/recommendation/", "/%ff"):
        status, body = ask(server, path)
        assert status == 404
        assert "/recommendation" in body


def test_a_large_body_is_refused(server: Server) -> None:
    """Nobody has anything to send here."""
    assert ask(server, "/metrics", "POST", b"x" * 100_000)[0] in {405, 413}


def test_many_may_scrape_at_once_and_each_page_is_of_one_pass(server: Server) -> None:
    """While the loop goes on publishing."""
    template = Cycle(number=0, at_unix_seconds=0.0)
    server.publish(template)

    def scrape(_: int) -> bool:
        values = dict(line.rsplit(" ", 1) for line in ask(server, "/metrics")[1].splitlines() if line[0] != "#")
        passes = float(values["adaptive_k_cycles_total"])
        return passes == float(values["adaptive_k_last_success_timestamp_seconds"])

    with ThreadPoolExecutor(10) as pool:
        scrapes = [pool.submit(scrape, index) for index in range(64)]
        for number in range(1, 200):
            server.publish(replace(template, number=number, at_unix_seconds=float(number)))
        assert all(each.result() for each in scrapes)


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /metrics HTTP/1.1\r\nX-Slow: ", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /live"],
    ids=["silent", "slow headers", "slow to read", "slow request line"],
)
def test_a_thousand_open_connections_hold_nobody_up(server: Server, said: bytes) -> None:
    """However they hold on, and while they go on dripping: probes are answered, passes are published."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as held:
        connections = [held.enter_context(_connected(server.port, said)) for _ in range(1000)]
        for number in range(1, 6):
            server.publish(Cycle(number=number, at_unix_seconds=float(number)))
            for connection in connections[:: 1 if said else 1000]:
                with suppress(OSError):  # it had to make room for others
                    connection.send(b"a")
            assert [ask(server, path)[0] for path in ("/livez", "/readyz")] == [200, 200]
        assert "adaptive_k_cycles_total 5.0" in ask(server, "/metrics")[1]
        assert threading.active_count() < 20


def _connected(port: int, said: bytes) -> socket.socket:
    """A connection that says so much; those before it may have to go."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    with suppress(OSError):
        connection.sendall(said)
    return connection


def test_a_connection_in_use_outlives_a_thousand_idle_ones(server: Server) -> None:
    """Prometheus keeps its own: it may have to come anew, and never finds the port closed."""
    with ExitStack() as held:
        for _ in range(10):
            for _ in range(100):
                held.enter_context(_connected(server.port, b""))
            assert ask(server, "/metrics")[0] == 200


def test_headers_without_end_are_refused(server: Server) -> None:
    """16 KiB are more than any client of this port has to say."""
    with _connected(server.port, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.0 431 ")


def test_a_client_that_asks_and_asks_and_reads_nothing_gets_one_answer(server: Server) -> None:
    """Hundreds of answers in memory, on more connections than there are threads, would hold everybody up."""
    hung = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(6)]
    for connection in hung:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 400)
    assert ask(server, "/livez")[0] == 200
    for connection in hung:
        with connection, connection.makefile("rb") as answers:
            found = answers.read().count(b"HTTP/1.1 200 OK")
        assert 1 <= found <= 2  # the second request may not be there yet when the first is answered


def test_a_port_in_use_is_an_error_at_once(server: Server, clock: ManualClock) -> None:
    """Not a thread that dies later."""
    with pytest.raises(OSError, match="in use"):
        Server(f"127.0.0.1:{server.port}", clock, interval_seconds=10.0)


def test_it_closes_with_connections_open_and_frees_its_port(clock: ManualClock) -> None:
    """At once, and another can listen there."""
    first = Server("127.0.0.1:0", clock, interval_seconds=10.0)
    first.start()
    port = first.port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        first.close()
    second = Server(f"127.0.0.1:{port}", clock, interval_seconds=10.0)
    second.start()
    assert ask(second, "/livez")[0] == 200
    second.close()


def test_it_serves_ipv6(clock: ManualClock) -> None:
    """`[::1]:port`, where the machine has it."""
    try:
        serving = Server("[::1]:0", clock, interval_seconds=10.0)
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    serving.start()
    with urllib.request.urlopen(f"http://[::1]:{serving.port}/livez", timeout=20) as response:
        assert response.status == 200
    serving.close()
