"""The engine plugin's endpoint under writers at once, replays and bodies without end, over a port."""

import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from controller.engine.wanted import BODY_BYTES_MAX
from controller.observe.plugin import PATH, read_speculation
from controller.simulator.inprocess import InProcessAdapter
from controller.simulator.scenario import Event, Phase
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer

TOKEN: Final = "a-token-of-the-operators"
State = tuple[int, str | None, str]
"""Generation, owner and schedule."""
STEADY: Final = replace(SCENARIOS["steady-chat"], phases=(Phase(0, (("chat", 1.0),), concurrency=8),))
SENT_PIECES: Final = 1024
"""64 MiB, which no buffer between the two takes in."""
BEARER: Final = {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """The operators' file."""
    path = tmp_path / "tokens"
    path.write_text(TOKEN, "utf-8")
    return path


@pytest.fixture
def server(tokens: Path) -> Iterator[SimulatedServer]:
    """A server at work, twenty times as fast as life."""
    with SimulatedServer(STEADY, speed=20, token_file=tokens) as serving:
        yield serving


def told(url: str) -> dict[str, Any]:
    """The document of GET."""
    document: dict[str, Any] = requests.get(url, headers=BEARER, timeout=20).json()
    return document


def change(seen: dict[str, Any], k: int, owner: str = "me") -> dict[str, Any]:
    """One k at every batch size, on a state that was seen."""
    expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
    return {"schedule": [[1, 256, k]], "ttl_seconds": 3600, "owner": owner, "expected": expected}


def test_in_a_storm_of_writers_each_change_is_somebodys_and_nothing_else_changes(server: SimulatedServer) -> None:
    """Right and wrong tokens, old generations, garbage, resets: the generation counts exactly what was answered 200."""
    url = server.url + PATH

    def fire(number: int) -> tuple[str, int, State | None]:
        drawn = random.Random(number)
        seen = told(url)
        owner = f"writer-{number % 3}"
        what = drawn.choice(["put", "put", "put", "delete", "stranger", "garbage", "replay"])
        headers = {"Authorization": "Bearer a-token-of-somebody"} if what == "stranger" else BEARER
        if what == "delete":
            answer = requests.delete(url, headers=headers, timeout=20)
        else:
            body = change(seen, drawn.randrange(5), owner)
            if what == "replay":
                body["expected"]["generation"] = max(0, seen["generation"] - 1)
            data = json.dumps(body).encode() if what != "garbage" else drawn.randbytes(100)
            answer = requests.put(url, data=data, headers=headers, timeout=20)
        assert answer.status_code in {200, 401, 409, 422}
        if answer.status_code != 200:
            assert answer.json()["error"]
            assert TOKEN not in answer.text
            return what, answer.status_code, None
        found = read_speculation(answer.text, url)
        return what, 200, (found.generation, found.owner, str(found.schedule))

    before = server.engines[0].simulated_seconds
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(fire, range(120)))
    done = [(what, state) for what, _, state in answers if state is not None]
    assert {what for what, _ in done} <= {"put", "replay", "delete"}
    states = {state for _, state in done}
    assert len(states) == len({generation for generation, _, _ in states})  # one state of one owner for each
    # a renewal, and a reset of what nobody held, are answered with the state that there was
    assert {generation for generation, _, _ in states} - {0} == set(range(1, told(url)["generation"] + 1))
    assert server.engines[0].simulated_seconds > before


def test_a_change_that_was_overheard_cannot_be_made_again(server: SimulatedServer) -> None:
    """Every change, every reset and every end moves the generation on."""
    url = server.url + PATH
    overheard = change(told(url), 2)
    assert requests.put(url, json=overheard, headers=BEARER, timeout=20).status_code == 200
    assert requests.put(url, json=overheard, headers=BEARER, timeout=20).status_code == 409
    requests.delete(url, headers=BEARER, timeout=20)
    launched = told(url)
    for _ in range(5):
        answer = requests.put(url, json=overheard, headers=BEARER, timeout=20)
        assert answer.status_code == 409
        assert "GET anew" in answer.json()["error"]
    assert told(url)["schedule"] == launched["schedule"] == launched["launch_schedule"]


def test_a_change_that_was_meant_for_the_engine_before_a_restart_is_not_made(tokens: Path) -> None:
    """The generation is 0 again, but the engine another: its boot_id is drawn anew."""
    restarting = replace(STEADY, events=(Event(30.0, "restart", 5.0),))
    server = SimulatedServer(restarting, token_file=tokens)
    session = requests.Session()
    session.mount("http://simulated", InProcessAdapter(server.application))
    url = "http://simulated" + PATH
    overheard = change(session.get(url, headers=BEARER).json(), 2)
    server.advance_to(60)
    assert session.get(url, headers=BEARER).json()["generation"] == 0
    answer = session.put(url, json=overheard, headers=BEARER)
    assert (answer.status_code, "it was restarted" in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize("head", ["Content-Length: 900000000", "Transfer-Encoding: chunked"])
def test_a_body_without_end_is_refused_and_others_are_answered(server: SimulatedServer, head: str) -> None:
    """Whether its length is announced or not, and while it is being sent."""
    url = server.url + PATH
    port = int(server.url.rpartition(":")[2])
    lines = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{head}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(lines.encode())
        piece = b"x" * BODY_BYTES_MAX
        refused = False
        for _ in range(SENT_PIECES):
            try:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if "chunked" in head else piece)
            except ConnectionError:  # closed while we were still at it
                refused = True
                break
        if not refused:
            answer = connection.recv(65536)
            assert answer.split()[1] == b"413"
        assert requests.put(url, json=change(told(url), 1), headers=BEARER, timeout=20).status_code == 200
