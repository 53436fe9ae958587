"""`controller run`: a process that watches for ever, tells what it sees, and ends when it is told to."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from typing import Any

import pytest
from calling import Command
from loopback import Loopback, answer, hang, unused_port
from pages import after, page, snapshot
from prometheus_client.parser import text_string_to_metric_families
from running import PATIENCE_SECONDS, Running, running

from controller.commands.exit_codes import FAILED, OK, USAGE
from controller.simulator.server import SimulatedServer


def decided(line: dict[str, Any]) -> bool:
    """A decision that rests on a window."""
    return line["event"] == "decision" and line["batch"] is not None


def test_it_serves_what_it_decides_and_ends_with_0() -> None:
    """The whole life: warming up, decisions, its port, SIGTERM."""
    with (
        SimulatedServer("steady-code", speed=50) as server,
        running(server.url) as sidecar,
        # a client that keeps its connection open must not hold up the end
        connected(sidecar) as client,
    ):
        url = server.url
        sidecar.wait_for(decided)
        client.request("GET", "/livez")
        assert client.getresponse().read() == b"The loop makes progress.\n"
        assert sidecar.get("/livez")[0] == sidecar.get("/readyz")[0] == 200
        status, body = sidecar.get("/recommendation")
        (engine,) = json.loads(body)["servers"]
        assert (status, engine["k_max"], engine["recommendation"]["schedule"] is not None) == (200, 5, True)
        families = {family.name for family in text_string_to_metric_families(sidecar.get("/metrics")[1])}
        assert {"adaptive_k_cycles", "adaptive_k_max_k", "adaptive_k_recommended_k"} <= families
        assert sidecar.get("/nothing")[0] == 404
        assert sidecar.end() == OK
    assert sidecar.log[0] | {"time": ""} == {
        "time": "",
        "event": "start",
        "server": url,
        "listen": sidecar.address,
        "mode": "recommend",
    }
    assert sidecar.log[1]["reason"] == "warming_up"
    assert sidecar.log[-1]["event"] == "stop"
    assert all(line["time"].endswith("Z") for line in sidecar.log)


@contextmanager
def connected(sidecar: Running) -> Iterator[Any]:
    """A client whose connection stays open until after the sidecar's end."""
    sidecar.wait_for(lambda line: line["event"] == "start")
    client = HTTPConnection(sidecar.address, timeout=PATIENCE_SECONDS)
    try:
        yield client
    finally:
        client.close()


def test_it_stays_up_while_the_server_is_down_and_when_it_comes_back() -> None:
    """Ready and alive throughout; each failure is told; decisions follow when there is something to decide on."""
    port = unused_port()
    pages = [answer(page(after(snapshot()))), answer(page(after(after(snapshot()))))]
    anew = [answer(page(snapshot())), answer(page(after(snapshot())))]
    with running(f"http://127.0.0.1:{port}") as sidecar:
        failed = sidecar.wait_for(lambda line: line.get("reason") == "server_unreachable")
        assert sidecar.get("/readyz")[0] == sidecar.get("/livez")[0] == 200
        assert [error["reason"] for error in json.loads(sidecar.get("/recommendation")[1])["errors"]] == [
            "server_unreachable"
        ]
        with Loopback(*pages, port=port):
            up = sidecar.wait_for(decided, failed)
        down = sidecar.wait_for(lambda line: line.get("reason") == "server_unreachable", up)
        document = json.loads(sidecar.get("/recommendation")[1])
        assert document["servers"][0]["recommendation"]["schedule"] is not None  # the last good state
        with Loopback(*anew, port=port):
            restarted = sidecar.wait_for(lambda line: line.get("reason") == "server_restarted", down)
            sidecar.wait_for(decided, restarted)
        assert sidecar.end() == OK


def test_a_signal_during_a_pass_lets_the_pass_end() -> None:
    """SIGTERM while the server hangs: the pass ends by its timeout, is told, and then comes the stop."""
    with Loopback(hang) as server, running(server.url, "--timeout-seconds", "0.5") as sidecar:
        sidecar.wait_for(lambda line: line["event"] == "start")
        assert sidecar.end() == OK
    assert [line["event"] for line in sidecar.log][-1] == "stop"
    assert all(line["reason"] == "server_timeout" for line in sidecar.log if line["event"] == "failure")


def test_an_interrupt_from_the_keyboard_ends_it_like_a_signal() -> None:
    """Ctrl-C in a terminal: no traceback, exit code 0."""
    with Loopback(answer(page(after(snapshot())))) as server, running(server.url) as sidecar:
        sidecar.wait_for(lambda line: line["event"] == "decision")
        assert sidecar.end(signal.SIGINT) == OK


def test_a_port_in_use_is_told_with_the_option(command: Command) -> None:
    """At once, before anything is watched."""
    with Loopback(answer("")) as server:
        taken = server.url.removeprefix("http://")
        said = command("run", "--listen", taken)
    assert said.code == FAILED
    assert (
        said.err
        == f"controller run: cannot listen on {taken} (Address already in use): choose another with --listen.\n"
    )


@pytest.mark.parametrize("listen", ["9460", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", ":9460"])
def test_an_impossible_address_to_listen_on_is_a_usage_error(listen: str, command: Command) -> None:
    """host:port is wanted."""
    said = command("run", "--listen", listen)
    assert said.code == USAGE
    assert "host:port is expected" in said.err


def test_an_unknown_host_to_listen_on_is_told(command: Command) -> None:
    """A name that nobody knows cannot be listened on."""
    said = command("run", "--listen", "no-such-host.invalid:9460")
    assert said.code == FAILED
    assert "cannot listen on no-such-host.invalid:9460" in said.err


def test_a_thousand_clients_that_hold_on_stop_neither_the_loop_nor_the_probes() -> None:
    """Half of them silent, half of them byte by byte, for as long as ten passes take."""
    with (
        SimulatedServer("steady-code", speed=20) as server,
        running(server.url) as sidecar,
        ExitStack() as held,
    ):
        passed = sidecar.wait_for(decided)
        host, _, port = sidecar.address.rpartition(":")
        clients = [held.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(1000)]
        for number in range(10):
            for client in clients[::2]:
                with suppress(OSError):  # it had to make room
                    client.send(b"GET /metrics HTTP/1.1\r\nX-Slow: "[number * 3 : number * 3 + 3])
            passed = sidecar.wait_for(decided, passed)
            assert sidecar.get("/livez")[0] == sidecar.get("/readyz")[0] == 200
        assert "adaptive_k_cycles_total" in sidecar.get("/metrics")[1]
        assert sidecar.end() == OK
    assert not [line for line in sidecar.log if line["event"] == "failure"]
