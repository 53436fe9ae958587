"""`controller reset`: back to the launch schedule, at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import Command
from loopback import Loopback, answer, unused_port
from running import running
from simulated import TOKEN, Simulated, simulated

from controller.commands.exit_codes import FAILED, OK, USAGE
from controller.observe.plugin import PATH


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Simulated]:
    """With text that no drafter can guess, so that a sidecar has something to change."""
    with simulated(tmp_path, "zero-and-back") as server:
        yield server


def test_it_takes_back_what_anybody_holds_and_says_what_runs(server: Simulated, command: Command) -> None:
    """Also when nobody holds anything: at three in the morning it may be typed twice."""
    server.hold(1, "somebody")
    for _ in range(2):
        said = command("reset", "--url", server.url, "--plugin-token-file", server.tokens)
        assert (said.code, said.err) == (OK, "")
        assert said.out.startswith("The engine runs its launch schedule: batch 1-256: k=5. ")
        told = server.told
        assert (told["owner"], told["schedule"]) == (None, told["launch_schedule"])


def test_a_sidecar_that_runs_keeps_out_afterwards(server: Simulated, command: Command) -> None:
    """It says so in its log, and holds nothing."""
    options = ("--mode", "apply", "--plugin-token-file", str(server.tokens), "--ttl-seconds", "3600")
    with running(server.url, *options) as sidecar:
        held = sidecar.wait_for(lambda line: line.get("outcome") == "held")
        assert command("reset", "--url", server.url, "--plugin-token-file", server.tokens).code == OK
        out = sidecar.wait_for(lambda line: line.get("reason") == "stood_down", held)
        sidecar.wait_for(lambda line: line.get("reason") == "stood_down", out)
        told = server.told
        assert (told["owner"], told["schedule"]) == (None, told["launch_schedule"])
        assert sidecar.end() == OK


def test_a_wrong_token_is_told_and_nothing_is_taken_back(server: Simulated, command: Command, tmp_path: Path) -> None:
    """Exit code 1, the reason, and never the token."""
    wrong = tmp_path / "wrong"
    wrong.write_text("a-secret-of-somebody-else", "utf-8")
    server.hold(1, "somebody")
    said = command("reset", "--url", server.url, "--plugin-token-file", wrong)
    assert (said.code, said.out) == (FAILED, "")
    assert said.err.startswith("controller reset: The plugin refuses the token (status 401: ")
    assert "secret" not in said.err
    assert server.told["owner"] == "somebody"


def test_a_token_file_that_is_not_there_is_named(command: Command, tmp_path: Path) -> None:
    """Before anything is sent."""
    said = command("reset", "--url", "http://127.0.0.1:1", "--plugin-token-file", tmp_path / "none")
    assert said.code == FAILED
    assert f"The token file {tmp_path / 'none'} cannot be read" in said.err
    assert said.err.endswith("give a readable file with --plugin-token-file.\n")


def test_it_needs_a_token(command: Command) -> None:
    """An error of usage, with the option."""
    said = command("reset")
    assert said.code == USAGE
    assert "--plugin-token-file" in said.err


def test_a_server_without_the_plugin_or_no_server_is_told(command: Command, tmp_path: Path) -> None:
    """What to install, or what to check."""
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN, "utf-8")
    with Loopback(answer('{"detail":"Not Found"}', "404 Not Found")) as server:
        said = command("reset", "--url", server.url, "--plugin-token-file", tokens)
    assert said.code == FAILED
    assert "adaptive-k-vllm" in said.err
    assert server.requests[0].startswith(f"DELETE {PATH} HTTP/1.1\r\n")
    said = command("reset", "--url", f"http://127.0.0.1:{unused_port()}", "--plugin-token-file", tokens)
    assert said.code == FAILED
    assert "connection refused" in said.err
