"""The HTTP side: who may do what, and what the engine is asked."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgi import answered
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.control import Control, Launched
from controller.engine.plugin import GET_MEASURED
from controller.engine.resource import SpeculationEndpoint, SpeculationResource
from controller.engine.tokens import VARIABLE
from controller.engine.wanted import Wanted

TOKEN = "a-token-of-the-operators"
MEASURED = {"workloads": [], "steps": [], "other_steps": {"steps": 0, "seconds": 0.0, "tokens": 0}}
BODY = {
    "schedule": [[1, 8, 2]],
    "ttl_seconds": 60,
    "owner": "a",
    "expected": {"boot_id": "ab12", "generation": 0},
}


class Engine:
    """vLLM's channel to an engine, with our state machine at its end; messages travel as they would, by value."""

    def __init__(self) -> None:
        self.control = Control(Launched("ngram", 4, 8, (4,) * 9), "ab12")
        self.asked: list[str] = []

    async def call_utility_async(self, method: str, verb: str, wanted: dict[str, Any] | None = None) -> list[Any]:
        """Answers as EngineCore would."""
        assert method == "adaptive_k_speculation"
        self.asked.append(verb)
        if wanted is not None:
            return list(json.loads(json.dumps(self.control.put(Wanted(**json.loads(json.dumps(wanted))), 0.0))))
        if verb == "DELETE":
            return list(self.control.reset(0.0))
        measured = {"measured": MEASURED} if verb == GET_MEASURED else {}
        return [200, {**self.control.document(0.0), **measured}]


class Broken:
    """An engine that died."""

    async def call_utility_async(self, *_: Any) -> None:
        """Raises as vLLM does."""
        raise RuntimeError("EngineCore encountered an issue")


def connected(
    engine: Any, *, ranks: int = 1, lacking: str | None = None, engine_seconds: float = 30.0
) -> SpeculationResource:
    """The resource in front of an engine."""
    served = SpeculationResource(engine_seconds=engine_seconds)
    config = SimpleNamespace(parallel_config=SimpleNamespace(data_parallel_size=ranks))
    served.connect(SimpleNamespace(engine_core=engine, vllm_config=config), lacking=lacking)
    return served


def request(
    served: SpeculationResource, verb: str, body: bytes = b"", token: str | None = None, pieces: int = 1
) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
    """One HTTP request: status, document, headers."""
    headers = [(b"content-length", str(len(body)).encode())] if pieces == 1 else []
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    status, content, fields = asyncio.run(answered(served, verb, headers, body, pieces))
    return status, json.loads(content), fields


@pytest.fixture(autouse=True)
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one token, named by the environment."""
    path = tmp_path / "tokens"
    path.write_text(TOKEN, "utf-8")
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def put(served: SpeculationResource, *, token: str | None = TOKEN, **changes: Any) -> tuple[int, dict[str, Any]]:
    """A PUT: status and document."""
    return request(served, "PUT", json.dumps(BODY | changes).encode(), token)[:2]


def test_get_needs_no_token_put_and_delete_do() -> None:
    """And only the right one."""
    engine = Engine()
    served = connected(engine)
    assert request(served, "GET")[0] == 200
    for token in (None, "", "wrong", TOKEN + "x"):
        assert put(served, token=token)[0] == 401
        status, _, headers = request(served, "DELETE", token=token)
        assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert engine.asked == ["GET"]
    assert put(served)[0] == 200
    assert request(served, "DELETE", token=TOKEN)[0] == 200


def test_what_was_measured_is_told_to_who_has_the_token_and_the_rest_to_everybody() -> None:
    """The names of workloads come from clients. A wrong token is no reason to refuse what needs none."""
    engine = Engine()
    served = connected(engine)
    status, told, _ = request(served, "GET", token=TOKEN)
    assert (status, told.pop("measured")) == (200, MEASURED)
    for token in (None, "", "wrong", TOKEN + "x"):
        status, untold, _ = request(served, "GET", token=token)
        assert (status, untold) == (200, told)
    assert engine.asked == [GET_MEASURED] + 4 * ["GET"]


@pytest.mark.parametrize("content", [None, "", "short"])
def test_without_a_usable_token_file_nothing_measured_is_told(token_file: Path, content: str | None) -> None:
    """No header could be right."""
    token_file.unlink() if content is None else token_file.write_text(content, "utf-8")
    engine = Engine()
    status, told, _ = request(connected(engine), "GET", token=content or "")
    assert (status, "measured" in told, engine.asked) == (200, False, ["GET"])


@pytest.mark.parametrize("content", [None, ""])
def test_without_a_token_nobody_writes_and_get_says_why(token_file: Path, content: str | None) -> None:
    """403, for no header could help."""
    token_file.unlink() if content is None else token_file.write_text(content, "utf-8")
    served = connected(Engine())
    status, refused = put(served)
    assert (status, request(served, "DELETE", token=TOKEN)[0]) == (403, 403)
    told = request(served, "GET")[1]
    assert told["writable"] is False
    assert told["read_only_because"] == refused["error"]
    assert VARIABLE in refused["error"]


def test_what_the_engine_refuses_keeps_its_status_and_reason() -> None:
    """409 and 422 are the engine's to say."""
    served = connected(Engine())
    assert put(served, schedule=[[1, 8, 9]])[0] == 422
    status, told = put(served, expected={"boot_id": "ab12", "generation": 7})
    assert (status, told["current"]["generation"]) == (409, 0)


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_body_above_64_kib_is_not_read(pieces: int) -> None:
    """Whether its length is announced or found out; one of exactly 64 KiB is."""
    engine = Engine()
    served = connected(engine)
    body = json.dumps(BODY).encode()
    assert request(served, "PUT", body.ljust(65_537), TOKEN, pieces)[0] == 413
    assert engine.asked == []
    assert request(served, "PUT", body.ljust(65_536), TOKEN, pieces)[0] == 200


@given(st.binary(max_size=200) | st.just(json.dumps(BODY).encode()).map(lambda body: body[:-1]))
def test_any_body_has_an_answer(body: bytes) -> None:
    """A status and a reason, and the engine is not troubled with it."""
    engine = Engine()
    status, told, _ = request(connected(engine), "PUT", body, TOKEN)
    assert (status, engine.asked) == (422, [])
    assert told["error"]


def test_other_verbs_are_told_which_there_are() -> None:
    """As HTTP wants it."""
    status, _, headers = request(connected(Engine()), "POST")
    assert (status, headers[b"allow"]) == (405, b"GET, PUT, DELETE")


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (SpeculationResource(), "still starting"),
        (connected(Engine(), lacking="Scheduler.schedule"), "this vLLM lacks Scheduler.schedule"),
        (connected(object()), "this vLLM lacks EngineClient.engine_core.call_utility_async"),
        (connected(Engine(), ranks=2), "data parallelism"),
        (connected(Broken()), "EngineCore encountered an issue"),
    ],
)
def test_without_an_engine_to_ask_every_answer_says_why(served: SpeculationResource, reason: str) -> None:
    """503: nothing was changed."""
    for status, told in (request(served, "GET")[:2], put(served), request(served, "DELETE", token=TOKEN)[:2]):
        assert status == 503
        assert reason in told["error"]


def test_an_engine_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    """504, with the warning that the change may still come."""

    class Busy:
        async def call_utility_async(self, *_: Any) -> None:
            await asyncio.Event().wait()

    status, told = put(connected(Busy(), engine_seconds=0.01))
    assert status == 504
    assert "may still happen" in told["error"]


def test_vllm_finds_what_it_expects_of_an_endpoint_plugin() -> None:
    """A name, tasks, a route with a name; and without an engine, as on a render server, an answer."""
    endpoint = SpeculationEndpoint()
    routes: dict[str, Any] = {}
    endpoint.attach_router(SimpleNamespace(add_route=routes.__setitem__))
    (served,) = routes.values()
    assert list(routes) == ["/adaptive-k/v1/speculation"]
    assert served.__name__ == "adaptive_k_speculation"
    assert (endpoint.name, endpoint.required_tasks) == ("adaptive_k", ("generate",))
    asyncio.run(endpoint.init_state(None, None, None))
    assert request(served, "GET")[0] == 503
