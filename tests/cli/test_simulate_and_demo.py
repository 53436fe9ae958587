"""`controller simulate` and `controller demo`: the embedded server."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from calling import Command
from loopback import Loopback, answer, unused_port

from controller.commands.exit_codes import FAILED, OK, USAGE
from controller.simulator.scenarios import SCENARIOS


def test_the_scenarios_are_listed(command: Command) -> None:
    """One line each: the name, and what happens in it."""
    said = command("simulate", "--scenario", "list")
    assert (said.code, said.err) == (OK, "")
    assert [line.split()[0] for line in said.out.splitlines()] == list(SCENARIOS)
    assert all(line.endswith(".") for line in said.out.splitlines())


@pytest.mark.parametrize("verb", ["simulate", "demo"])
def test_an_unknown_scenario_is_refused_with_those_there_are(verb: str, command: Command) -> None:
    """Exit code 2, as for any wrong option."""
    said = command(verb, "--scenario", "rush-hour")
    assert said.code == USAGE
    assert "rush-hour" in said.err
    assert "code-to-prose" in said.err


@pytest.mark.parametrize("arguments", [("--k", "0"), ("--scenario", "no-speculation", "--k", "3")])
def test_a_k_that_the_scenario_cannot_have_is_refused(arguments: tuple[str, ...], command: Command) -> None:
    """In a sentence."""
    said = command("simulate", *arguments)
    assert said.code == USAGE
    assert re.search(r"\bk\b", said.err)


def test_a_port_in_use_is_told(command: Command) -> None:
    """With the option that names another."""
    with Loopback(answer("")) as server:
        taken = server.url.removeprefix("http://")
        said = command("simulate", "--listen", taken)
    assert said.code == FAILED
    assert (
        said.err
        == f"controller simulate: cannot listen on {taken} (Address already in use): choose another with --listen.\n"
    )


def test_it_serves_until_it_is_told_to_end(command: Command) -> None:
    """A process of its own, watched by `recommend`, ended by SIGTERM with exit code 0."""
    listen = f"127.0.0.1:{unused_port()}"
    arguments = ["simulate", "--listen", listen, "--speed", "100", "--scenario", "steady-code"]
    with subprocess.Popen(
        [sys.executable, "-m", "controller", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert f"http://{listen}" in process.stderr.readline()
            said = command("recommend", "--url", f"http://{listen}", "--window-seconds", "0.3")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == OK
            assert process.stderr.read() == ""
        finally:
            process.kill()
    assert said.code == OK
    assert "simulated-8b (engine 0)" in said.out


def test_with_a_token_file_it_takes_part_in_live_control(tmp_path: Path) -> None:
    """Over its port, as a vLLM server with the plugin does."""
    listen, tokens = f"127.0.0.1:{unused_port()}", tmp_path / "tokens"
    tokens.write_text("a-token-of-the-operators", "utf-8")
    arguments = ["simulate", "--listen", listen, "--scenario", "steady-code", "--plugin-token-file", str(tokens)]
    with subprocess.Popen(
        [sys.executable, "-m", "controller", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            process.stderr.readline()
            url = f"http://{listen}/adaptive-k/v1/speculation"
            seen = requests.get(url, timeout=20).json()
            expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
            body = {"schedule": [[1, 256, 1]], "ttl_seconds": 60, "owner": "a", "expected": expected}
            bearer = {"Authorization": "Bearer a-token-of-the-operators"}
            assert requests.put(url, json=body, timeout=20).status_code == 401
            assert requests.put(url, json=body, headers=bearer, timeout=20).status_code == 200
            assert requests.get(url, timeout=20).json()["schedule"] == [[1, 256, 1]]
        finally:
            process.kill()


def test_the_demo_shows_a_line_a_window_and_the_last_table(command: Command) -> None:
    """Fast, few and whole."""
    said = command("demo", "--passes", 3, "--speed", 100, "--window-seconds", 5)
    assert said.code == OK
    assert re.findall(r"(?m)^ +(\d+) s   batch", said.out) == ["5", "10", "15"]
    assert "tokens/step" in said.out
    assert "simulated vLLM server at http://127.0.0.1:" in said.err


def test_the_demo_of_a_server_without_speculation_says_so(command: Command) -> None:
    """Nothing to decide is no failure."""
    said = command("demo", "--passes", 2, "--speed", 100, "--window-seconds", 2, "--scenario", "no-speculation")
    assert said.code == OK
    assert "no_speculation" in said.out


def test_the_demo_tells_a_restart_and_goes_on(command: Command) -> None:
    """Every 120 s the server is down for 5 s; the lines before and after are decisions."""
    said = command("demo", "--passes", 30, "--speed", 200, "--window-seconds", 10, "--scenario", "restarts")
    lines = re.findall(r"(?m)^ +\d+ s   (.*)$", said.out)
    down = [index for index, line in enumerate(lines) if "restart" in line or "status 503" in line]
    assert len(lines) == 30
    assert lines[0].startswith("batch")
    assert any(line.startswith("batch") for line in lines[down[0] :])
