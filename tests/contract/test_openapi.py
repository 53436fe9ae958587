"""The OpenAPI documents say what our two HTTP surfaces do: no path, method, status or field more, and none less."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from fakes import ManualClock, RecordingActuator, ScriptedSource
from openapi_spec_validator import validate
from pages import after, snapshot

from controller.decide.policy_settings import PolicySettings
from controller.engine.control import CONFLICT, OK, UNPROCESSABLE
from controller.engine.resource import METHODS, PATH
from controller.engine.wanted import BODY_BYTES_MAX, read_wanted
from controller.loop import Controller
from controller.serve.server import Server
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer

FOLDER: Final = Path(__file__).parents[2] / "docs" / "openapi"
SIDECAR, PLUGIN = (yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8")) for name in ("sidecar", "plugin"))
VERBS: Final = ("get", "put", "post", "delete", "patch", "options")
TOKEN: Final = "a-token-of-the-operators"


@dataclass(frozen=True)
class Answer:
    """What a surface answered."""

    status: int
    headers: Message
    text: str


def ask(url: str, verb: str = "GET", body: bytes | None = None, token: str | None = None) -> Answer:
    """One request over HTTP."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, method=verb.upper(), data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return Answer(response.status, response.headers, response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read().decode())


def told(document: dict[str, Any], path: str, verb: str, status: int) -> dict[str, Any]:
    """What a document says of one answer."""
    found: dict[str, Any] = document["paths"][path][verb]["responses"][str(status)]
    if "$ref" in found:
        found = document["components"]["responses"][found["$ref"].rpartition("/")[2]]
    return found


def refuse_untrue(document: dict[str, Any], path: str, verb: str, answer: Answer) -> None:
    """Fail unless an answer is as the document says."""
    response = told(document, path, verb, answer.status)
    kind = answer.headers.get_content_type()
    assert list(response["content"]) == [kind]
    schema = response["content"][kind]["schema"]
    if kind == "application/json":
        if schema.get("$ref", "").endswith(".schema.json"):
            schema = json.loads((FOLDER / schema["$ref"]).read_text("utf-8"))
        jsonschema.validate(json.loads(answer.text), {"components": document["components"], **schema})


@pytest.mark.parametrize("name", ["sidecar", "plugin"])
def test_the_document_is_valid_openapi(name: str) -> None:
    """By the specification's own schema."""
    path = FOLDER / f"{name}.yaml"
    validate(yaml.safe_load(path.read_text("utf-8")), base_uri=path.as_uri())


@pytest.fixture
def sidecar() -> Iterator[tuple[Server, ManualClock]]:
    """A port of its own, before the first pass."""
    clock = ManualClock()
    serving = Server("127.0.0.1:0", clock, interval_seconds=10.0)
    serving.start()
    yield serving, clock
    serving.close()


def test_every_path_of_the_sidecar_answers_as_documented(sidecar: tuple[Server, ManualClock]) -> None:
    """Before the first pass, after it, and when the loop hangs: all statuses that are documented, and no other."""
    server, clock = sidecar
    url = f"http://127.0.0.1:{server.port}"
    first = snapshot()
    loop = Controller(ScriptedSource(clock, [first], [after(first)]), clock, RecordingActuator(), PolicySettings())
    seen: dict[str, set[int]] = {path: set() for path in SIDECAR["paths"]}

    def look() -> None:
        for path, verbs in seen.items():
            for verb in VERBS:
                answer = ask(url + path, verb, None if verb in {"get", "delete", "options"} else b"{}")
                assert (answer.status == 405) is (verb != "get") is (answer.headers["Allow"] == "GET")
                refuse_untrue(SIDECAR, path, "get", answer)
                verbs.add(answer.status)

    look()
    for _ in range(2):
        server.publish(loop.step())
    look()
    clock.advance(100.0)
    look()
    assert seen == {
        path: {int(each) for each in methods["get"]["responses"]} for path, methods in SIDECAR["paths"].items()
    }


def test_the_sidecar_has_no_other_path(sidecar: tuple[Server, ManualClock]) -> None:
    """By what it says itself of those there are."""
    answer = ask(f"http://127.0.0.1:{sidecar[0].port}/openapi")
    assert answer.status == 404
    assert set(re.findall(r"/\w*", answer.text)) == set(SIDECAR["paths"])


CHANGE: Final = {
    "schedule": [[1, 8, 2], [9, 256, 0]],
    "ttl_seconds": 60,
    "owner": "me",
    "expected": {"boot_id": "ab12", "generation": 0},
}
WRONG: Final[dict[str, dict[str, Any]]] = {
    "no range": {"schedule": []},
    "too many ranges": {"schedule": [[each, each, 1] for each in range(1, 66)]},
    "a range of two": {"schedule": [[1, 2]]},
    "a batch of none": {"schedule": [[0, 2, 1]]},
    "a batch of too many": {"schedule": [[1, 1_000_001, 1]]},
    "a negative k": {"schedule": [[1, 2, -1]]},
    "half a k": {"schedule": [[1, 2, 0.5]]},
    "a short life": {"ttl_seconds": 9},
    "a long life": {"ttl_seconds": 3601},
    "a broken life": {"ttl_seconds": 60.5},
    "an owner with a blank": {"owner": "two words"},
    "no owner": {"owner": ""},
    "nothing expected": {"expected": {}},
    "too much expected": {"expected": {"boot_id": "ab", "generation": 0, "else": 1}},
    "another boot": {"expected": {"boot_id": "XY", "generation": 0}},
    "a negative generation": {"expected": {"boot_id": "ab", "generation": -1}},
    "an unknown key": {"shedule": []},
    "a word for yes": {"allow_k_without_graph": "yes"},
}


@pytest.mark.parametrize("change", [{}, {"allow_k_without_graph": True}, {"ttl_seconds": 10}, {"ttl_seconds": 3600}])
def test_a_body_that_the_document_allows_is_taken(change: dict[str, Any]) -> None:
    """By schema and by the plugin."""
    jsonschema.validate(CHANGE | change, _schema("Change"))
    assert read_wanted(json.dumps(CHANGE | change).encode())


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_body_that_the_document_forbids_is_refused(change: dict[str, Any]) -> None:
    """By both; what a schema cannot say, such as ranges apart, the plugin says alone."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(CHANGE | change, _schema("Change"))
    with pytest.raises(ValueError, match=r"must be|has|lacks|starts|ends"):
        read_wanted(json.dumps(CHANGE | change).encode())


def _schema(name: str) -> dict[str, Any]:
    return {"components": PLUGIN["components"], "$ref": f"#/components/schemas/{name}"}


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The real plugin in a simulated server, and its token file."""
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN, "utf-8")
    with SimulatedServer(SCENARIOS["steady-chat"], speed=20, token_file=tokens) as server:
        yield server.url + PATH, tokens


def test_every_answer_of_the_plugin_is_as_documented(plugin: tuple[str, Path]) -> None:
    """All but 503 and 504, which are of an engine that is gone: see tests/unit/engine/test_resource.py."""
    url, tokens = plugin
    seen: dict[str, set[int]] = {"get": set(), "put": set(), "delete": set()}

    def look(verb: str, body: bytes | None = None, token: str | None = TOKEN) -> dict[str, Any]:
        answer = ask(url, verb, body, token)
        refuse_untrue(PLUGIN, PATH, verb, answer)
        seen[verb].add(answer.status)
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        document: dict[str, Any] = json.loads(answer.text)
        return document

    assert "measured" in look("get")
    state = look("get", token=None)
    assert "measured" not in state
    expected = {"boot_id": state["boot_id"], "generation": state["generation"]}
    body = json.dumps(CHANGE | {"expected": expected}).encode()
    look("put", body)
    look("get")
    look("put", body)
    look("put", b"{}")
    look("put", b" " * (BODY_BYTES_MAX + 1))
    look("delete")
    for verb in ("put", "delete"):
        look(verb, body if verb == "put" else None, token="wrong")
    tokens.unlink()
    for verb in ("put", "delete"):
        look(verb, body if verb == "put" else None)
    documented = {verb: {int(each) for each in said["responses"]} for verb, said in PLUGIN["paths"][PATH].items()}
    assert {verb: statuses | {503, 504} for verb, statuses in seen.items()} == documented
    assert {OK, CONFLICT, UNPROCESSABLE} <= seen["put"]


def test_the_plugin_has_no_other_method() -> None:
    """What else is tried is answered with 405."""
    assert {verb.upper() for verb in PLUGIN["paths"][PATH]} == set(METHODS)
