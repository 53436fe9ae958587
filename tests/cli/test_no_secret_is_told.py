"""No token or password is ever told: not by a command, not in the log, not on the port, not in a file that is written.

The servers here are the worst there are: whatever they are asked, they repeat every header of the request.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from calling import Command, Said
from loopback import Answer, Loopback, answer
from pages import after, page, snapshot
from running import running

from controller.act.rollout.api import SERVICE_ACCOUNT
from controller.settings import VERBS

CANARIES: Final = ("canary-of-the-token", "canary-of-the-plugin", "canary-of-the-user", "canary-of-the-password")
STATUSES: Final = (
    "200 OK", "302 Found", "400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "409 Conflict",
    "413 Content Too Large", "422 Unprocessable Content", "429 Too Many Requests", "500 Internal Server Error",
)  # fmt: skip


def echo(status: str) -> Answer:
    """Repeat the request in a plain body, in JSON's `error`, in a header, and as another address."""

    def act(server: Loopback, connection: socket.socket) -> None:
        said = " ".join(server.requests[-1].split())
        body = json.dumps({"error": said, "message": said, "data": said, "version": said})
        connection.sendall(answer(body, status, f"Location: http://elsewhere/{said}", f"Content-Language: {said}"))

    return act


def label(server: Loopback, connection: socket.socket) -> None:
    """A page whose model is called as the request was."""
    said = server.requests[-1]
    called = next((line for line in said.splitlines() if line.startswith("Authorization")), "nothing")
    connection.sendall(answer(page(after(snapshot(model_name=called)))))


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    """A file for each canary."""
    found = {}
    for name, secret in zip(("token", "plugin", "user", "password"), CANARIES, strict=True):
        found[name] = tmp_path / name
        found[name].write_text(f"{secret}\n", "utf-8")
    return found


def silent(*texts: str) -> None:
    """Fail where a canary sings."""
    for text in texts:
        assert not [canary for canary in CANARIES if canary in text], text


def verbs(url: str, secrets: dict[str, Path]) -> Iterator[tuple[object, ...]]:
    """Every command that sends a secret."""
    token, plugin = ("--token-file", secrets["token"]), ("--plugin-token-file", secrets["plugin"])
    store = ("--prometheus-url", url, "--username-file", secrets["user"], "--password-file", secrets["password"])
    yield ("recommend", "--url", url, *token, "--window-seconds", "0.01")
    yield ("recommend", "--url", url, *token, "--window-seconds", "0.01", "-o", "json", "--explain")
    yield ("recommend", "--prometheus-url", url, *token)
    yield ("recommend", *store)
    yield ("doctor", "--url", url, *token)
    yield ("doctor", "--url", url, *token, "--output", "json")
    yield ("reset", "--url", url, *plugin)


@pytest.mark.parametrize("status", STATUSES)
def test_no_command_tells_what_a_server_repeats(status: str, secrets: dict[str, Path], command: Command) -> None:
    """Neither as data nor as words."""
    with Loopback(echo(status)) as server:
        for arguments in verbs(server.url, secrets):
            said: Said = command(*arguments)
            silent(said.out, said.err)
        assert sum("Authorization: B" in each for each in server.requests) >= len(list(verbs("", secrets)))


def test_a_model_that_is_called_like_the_token_is_not_named(secrets: dict[str, Path], command: Command) -> None:
    """The page is read, and its label told without it."""
    with Loopback(label) as server:
        said = command("recommend", "--url", server.url, "--token-file", secrets["token"], "--window-seconds", "0.01")
        assert "Bearer [hidden]" in said.out + said.err
        silent(said.out, said.err)


def test_neither_log_nor_port_nor_checkpoint_tells_them(secrets: dict[str, Path], tmp_path: Path) -> None:
    """While it applies, through every status that there is, for page and plugin alike."""
    kept = tmp_path / "state.json"
    options = ("--token-file", str(secrets["token"]), "--mode", "apply", "--plugin-token-file", str(secrets["plugin"]))
    good = answer(page(after(snapshot())))
    answers = [part for status in STATUSES for part in (good, echo(status), echo(status))]
    with (
        Loopback(label, label, *answers) as server,
        running(server.url, *options, "--checkpoint", str(kept)) as sidecar,
    ):
        told = sidecar.wait_for(lambda line: line["event"] == "decision")
        for _ in STATUSES:
            told = sidecar.wait_for(lambda line: line["event"] == "failure", told)
            silent(*(sidecar.get(path)[1] for path in ("/", "/metrics", "/recommendation")))
        silent(Path(f"/proc/{sidecar.process.pid}/cmdline").read_text("utf-8"))
        sidecar.end()
        assert any(CANARIES[0] in each for each in server.requests)
        assert any(CANARIES[1] in each for each in server.requests)
    silent(*map(json.dumps, sidecar.log), *sidecar.rest, *(each.read_text("utf-8") for each in tmp_path.glob("state*")))


def test_a_secret_is_only_ever_given_as_a_file() -> None:
    """So that none stands in argv, in the environment or in a settings file."""
    options = {name for each in VERBS.values() for name in each.model_fields} - {"capture_limit_tokens"}
    secret = {name for name in options if any(word in name for word in ("token", "password", "secret", "credential"))}
    assert secret == {"token_file", "plugin_token_file", "password_file"}
    assert SERVICE_ACCOUNT.is_absolute()
