"""`controller doctor`: what a server is, what can be done with it, and the exact fix."""

import json
from typing import Any

import pytest
from calling import Command, Said, Saved
from loopback import Answer, Loopback, answer, hang, self_signed, unused_port
from pages import after, page, snapshot
from simulated import TOKEN

from controller.commands.exit_codes import FAILED, OK
from controller.observe.plugin import PATH
from controller.simulator.server import SimulatedServer

MODELS = answer(json.dumps({"object": "list", "data": [{"id": "tiny", "object": "model"}]}))
METRICS = answer(page(after(snapshot())))


def version(number: str = "0.32.0") -> bytes:
    """vLLM's answer on /version."""
    return answer(json.dumps({"version": number}))


def server_info(speculative: dict[str, Any] | None = None, **sections: dict[str, Any]) -> bytes:
    """vLLM 0.32's answer on /server_info, cut down to what tells the server."""
    config: dict[str, Any] = {
        "speculative_config": {
            "method": "ngram",
            "model": "ngram",
            "num_speculative_tokens": 4,
            "num_speculative_tokens_per_batch_size": None,
            "enable_adaptive_verification": False,
        }
        | (speculative or {}),
        "parallel_config": {"data_parallel_size": 1, "tensor_parallel_size": 1},
        "scheduler_config": {"max_num_seqs": 64, "max_num_batched_tokens": 8192},
        "compilation_config": {"cudagraph_capture_sizes": [1, 512], "max_cudagraph_capture_size": 512},
        "model_config": {"enforce_eager": False},
    }
    return answer(json.dumps({"vllm_config": config | sections, "vllm_env": {}, "system_env": {}}))


NO_PLUGIN = answer('{"detail":"Not Found"}', "404 Not Found")


def examined(command: Command, *answers: bytes, plugin: Answer = NO_PLUGIN, patience_seconds: int = 5) -> Said:
    """The doctor's words on a server with these answers on /version, /v1/models, /server_info, /metrics, the plugin."""
    with Loopback(*answers, plugin) as server:
        said = command("doctor", "--url", server.url, "--timeout-seconds", patience_seconds)
    paths = [request.split()[1] for request in server.requests]
    assert paths == ["/version", "/v1/models", "/server_info?config_format=json", "/metrics", PATH]
    return said


def test_a_server_in_order_is_described(command: Command) -> None:
    """Version, models, speculation, engines, method, batch: all as the simulated server has them."""
    with SimulatedServer("steady-code", developer_mode=True) as server:
        said = command("doctor", "--url", server.url)
    assert (said.code, said.err) == (OK, "")
    assert "ok       version: vLLM 0.32.0" in said.out
    assert "ok       models: simulated-8b" in said.out
    assert "ok       speculation: k is at most 5, method eagle" in said.out
    assert "pass --max-num-seqs 256." in said.out
    assert "problem" not in said.out


def test_the_metrics_address_serves_as_well(command: Command) -> None:
    """A person pastes what they have."""
    with SimulatedServer("steady-code") as server:
        assert command("doctor", "--url", f"{server.url}/metrics").code == OK


def test_without_developer_mode_the_launch_settings_are_asked_for(command: Command) -> None:
    """The flags to give, and why the development mode is not for every server."""
    with SimulatedServer("steady-code") as server:
        said = command("doctor", "--url", server.url)
    assert said.code == OK
    assert "give --method and --max-num-seqs to `recommend` and `run`" in said.out
    assert "dangerous" in said.out


def test_a_dead_server_is_one_problem_told_once(command: Command) -> None:
    """Not one for each path."""
    said = command("doctor", "--url", f"http://127.0.0.1:{unused_port()}")
    assert said.code == FAILED
    (line,) = said.out.splitlines()
    assert line.startswith("problem  server: No connection to ")
    assert "connection refused" in line


def test_a_server_without_speculation_is_told_from_a_dead_one(command: Command) -> None:
    """A problem with its own fix."""
    with SimulatedServer("no-speculation", developer_mode=True) as server:
        said = command("doctor", "--url", server.url)
    assert said.code == FAILED
    assert "problem  speculation: the server shows no speculative-decoding counters" in said.out
    assert "-> launch it with --speculative-config; `controller launch-config` prints one." in said.out


def test_a_hanging_server_is_told(command: Command) -> None:
    """Within the timeout."""
    with Loopback(hang) as server:
        said = command("doctor", "--url", server.url, "--timeout-seconds", 0.2)
    assert said.code == FAILED
    assert "did not answer within 0.2 s" in said.out


def test_an_untrusted_certificate_is_told_with_the_option(command: Command, saved: Saved) -> None:
    """Before anything is sent."""
    with Loopback(METRICS, certificate=self_signed(saved.folder)) as server:
        said = command("doctor", "--url", server.url)
    assert said.code == FAILED
    assert "--ca-file" in said.out


def test_an_api_key_on_the_model_list_is_no_problem(command: Command) -> None:
    """vLLM guards /v1 and leaves /metrics open."""
    refused = answer('{"error":"Unauthorized"}', "401 Unauthorized")
    said = examined(command, version(), refused, answer("", "404 Not Found"), METRICS)
    assert said.code == OK
    assert "note     models: the list of models wants vLLM's API key" in said.out


def test_metrics_that_cannot_be_read_are_a_problem_of_a_server_that_lives(command: Command) -> None:
    """It is vLLM, but its statistics are off."""
    said = examined(command, version(), MODELS, server_info(), answer("# HELP python_gc x\npython_gc 1\n"))
    assert said.code == FAILED
    assert "problem  metrics: A metrics page, but without any vllm: series" in said.out


def test_another_program_on_the_port_is_told(command: Command) -> None:
    """HTML everywhere."""
    html = answer("<html>Sign in</html>\n")
    said = examined(command, html, html, html, html)
    assert said.code == FAILED
    assert "warning  version: the server does not answer /version" in said.out
    assert "not a metrics page" in said.out


@pytest.mark.parametrize(
    ("launch", "level", "words"),
    [
        ({"speculative": {"method": "suffix"}}, "warning", "use one fixed num_speculative_tokens"),
        ({"speculative": {"method": "ngram"}}, "ok", "pass --method ngram and --k."),
        ({"speculative": {"method": "eagle3"}}, "ok", "pass --method eagle3."),
        ({"speculative": {"method": "telepathy"}}, "note", "telepathy is not known to adaptive-k"),
        ({"speculative": {"enable_adaptive_verification": True}}, "warning", "leave k to vLLM"),
        (
            {"speculative": {"num_speculative_tokens_per_batch_size": [[1, 4, 4], [5, 8, 2]]}},
            "ok",
            "launched with [[1, 4, 4], [5, 8, 2]]",
        ),
        ({"parallel_config": {"data_parallel_size": 2}}, "warning", "under data parallelism vLLM ignores a schedule"),
        ({"scheduler_config": {"max_num_seqs": 256}}, "warning", "raise --max-cudagraph-capture-size to 1280"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_the_launch_settings_tell_is_passed_on(
    launch: dict[str, Any], level: str, words: str, command: Command
) -> None:
    """Each finding with its level, and what to do."""
    said = examined(command, version(), MODELS, server_info(**launch), METRICS)
    assert said.code == OK
    shown = [line for line in said.out.splitlines() if words in line]
    assert shown, said.out
    index = said.out.splitlines().index(shown[0])
    above = said.out.splitlines()[: index + 1]
    assert next(line for line in reversed(above) if not line.startswith(" ")).startswith(level)


@pytest.mark.parametrize(
    "info",
    [
        '{"vllm_config": "VllmConfig(model=...)"}',
        '{"vllm_config": {"speculative_config": null, "parallel_config": [], "scheduler_config": 5}}',
        '{"vllm_config": {"speculative_config": {"num_speculative_tokens_per_batch_size": [[1, 2], 3]}}}',
        "[" * 100_000,
        "null",
        "{",
    ],
    ids=["text", "other types", "bad schedule", "deep", "null", "cut"],
)
def test_odd_launch_settings_are_read_as_unknown(info: str, command: Command) -> None:
    """Another version may write them in another way."""
    assert examined(command, version(), MODELS, answer(info), METRICS).code == OK


def test_an_old_version_is_told_what_it_lacks(command: Command) -> None:
    """Schedules came with 0.24."""
    said = examined(command, version("0.11.2"), MODELS, server_info(), METRICS)
    assert "warning  version: vLLM 0.11.2: no schedule of k by batch size (that came with 0.24)" in said.out


def test_several_engines_are_named(command: Command) -> None:
    """With what that means for a schedule."""
    engines = answer(page(*(after(snapshot(engine=name)) for name in "01")))
    said = examined(command, version(), MODELS, server_info(), engines)
    assert "warning  engines: m engine 0, m engine 1: under data parallelism" in said.out


def test_hostile_answers_reach_the_terminal_harmless(command: Command) -> None:
    """The fixture refuses control codes anywhere."""
    evil = "\x1b[2J\r\n" + "x" * 5000
    said = examined(
        command,
        version(evil),
        answer(json.dumps({"data": [{"id": evil}]})),
        server_info({"method": evil}),
        answer(page(after(snapshot(model_name=evil)))),
    )
    assert said.code == OK
    assert len(said.out) < 6000


def test_a_plugin_that_takes_orders_is_told(command: Command, saved: Saved) -> None:
    """With the command that gives them; it is asked without a token."""
    with SimulatedServer("steady-code", token_file=saved(TOKEN, "token")) as server:
        said = command("doctor", "--url", server.url)
    assert said.code == OK
    assert "ok       live control: the engine plugin answers: k can be changed while the server runs." in said.out
    assert said.out.endswith("-> controller run --mode apply --plugin-token-file FILE\n")


def test_a_plugin_that_takes_no_orders_says_why(command: Command) -> None:
    """Here nobody gave it a token file."""
    with SimulatedServer("steady-code") as server:
        said = command("doctor", "--url", server.url)
    assert said.code == OK
    assert "note     live control: the engine plugin answers, but k cannot be changed: " in said.out
    assert "AK_VLLM_TOKEN_FILE" in said.out


PLUGINS = {
    "none": (NO_PLUGIN, "the engine plugin is not installed"),
    "off": (answer('{"error": "the plugin is off, this vLLM lacks X"}', "503 S"), "503: the plugin is off, this vLLM"),
    "a guard": (answer('{"error": "Unauthorized"}', "401 Unauthorized"), "something stands in front of the server"),
    "HTML": (answer("<html>\x1b[2J</html>"), "does not answer as the adaptive-k plugin does"),
    "a list": (answer("[1]"), "does not answer as the adaptive-k plugin does"),
    "no text": (answer(b"\xff\xfe"), "is not text"),
    "nothing": (hang, "did not answer within 1 s"),
    "a redirect": (answer("", "302 Found", "Location: http://else"), "answered with status 302"),
}


@pytest.mark.parametrize(("plugin", "words"), PLUGINS.values(), ids=PLUGINS)
def test_a_plugin_without_a_good_answer_is_one_note(plugin: Answer, words: str, command: Command) -> None:
    """Recommending needs none, so nothing has failed."""
    patience_seconds = 1 if plugin is hang else 5
    said = examined(
        command, version(), MODELS, server_info(), METRICS, plugin=plugin, patience_seconds=patience_seconds
    )
    assert said.code == OK
    (line,) = (line for line in said.out.splitlines() if "live control:" in line)
    assert line.startswith("note")
    assert words in line


@pytest.mark.parametrize(
    ("number", "level"),
    [("999" + "1" * 5000 + ".1", "warning"), ("0." + "3" * 5000, "ok     "), ("v" * 5000, "warning")],
)
def test_a_version_of_thousands_of_digits_is_no_trouble(number: str, level: str, command: Command) -> None:
    """Whoever answers there may be anybody; as a number, only its beginning counts."""
    said = examined(command, version(number), MODELS, server_info(), METRICS)
    assert said.code == OK
    assert f"{level}  version: vLLM {number[:5]}" in said.out
    assert len(said.out) < 4000


def test_the_findings_come_as_json_too(command: Command) -> None:
    """For a script: level, topic, text, fix."""
    with SimulatedServer("no-speculation") as server:
        said = command("doctor", "--url", server.url, "-o", "json")
    found = json.loads(said.out)
    assert said.code == FAILED
    assert found["schema"] == 1
    assert {frozenset(finding) for finding in found["findings"]} == {frozenset(("level", "topic", "text", "fix"))}
    assert "problem" in {finding["level"] for finding in found["findings"]}
