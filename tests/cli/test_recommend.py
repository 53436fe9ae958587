"""`controller recommend`: one window of a server or of saved pages, one answer."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from calling import Command, Saved
from loopback import Loopback, answer
from pages import CAPTURES, NGRAM_WINDOW, after, page, snapshot

from controller.commands.exit_codes import CHANGE, FAILED, NO_EVIDENCE, OK, USAGE
from controller.decide.launch import refuse_bad_schedule
from controller.model.drafter import FIXED_K

DULL: dict[str, Any] = {"survival": (0.02, 0.0, 0.0, 0.0), "batch": 64.0, "request_steps": 640_000}


def dull(saved: Saved) -> tuple[Path, Path]:
    """A full batch whose drafts are hardly ever accepted: speculation loses, whatever it costs."""
    start = after(snapshot(), **DULL)
    return saved(page(start), "1.txt"), saved(page(after(start, **DULL)), "2.txt")


def document(command: Command, *arguments: object) -> Any:
    """The JSON document, valid by the published schema."""
    said = command("recommend", *arguments, "-o", "json")
    found = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.Draft202012Validator(json.loads(command("schema").out)).validate(found)
    return found


def test_the_table_shows_every_k_the_answer_and_the_reason(command: Command) -> None:
    """Two pages of a real server, one screen."""
    said = command("recommend", "--source", *NGRAM_WINDOW)
    assert (said.code, said.err) == (OK, "")
    assert re.findall(r"(?m)^ {4}(\d) ", said.out) == ["0", "1", "2", "3", "4"]
    for word in ("answer", "why", "now", "margin", "tokens/step", "ms/step", "tokens/s", "--speculative-config"):
        assert word in said.out
    assert re.search(r"\[[a-z_]+\]", said.out)


def test_the_table_has_no_colour_and_keeps_to_the_terminal(command: Command) -> None:
    """Plain characters; no line of the table proper is wider than 100."""
    said = command("recommend", "--source", *NGRAM_WINDOW)
    assert said.out.isascii()
    rows = [line for line in said.out.splitlines() if line.startswith("    ")]
    assert max(map(len, rows)) <= 100


def test_the_document_is_valid_and_complete(command: Command) -> None:
    """Every key of the published schema, for a real window."""
    found = document(command, "--source", *NGRAM_WINDOW, "--seconds", 30)
    (server,) = found["servers"]
    assert (found["schema"], found["errors"]) == (1, [])
    assert (server["model_name"], server["engine"], server["k_max"]) == ("tiny", "0", 4)
    assert server["mean_acceptance_length"] == pytest.approx(1 + 653 / 939)
    assert server["step_seconds"] == pytest.approx(12.539037395 / 1444)
    assert server["decode_batch"] == pytest.approx(1444 / 447)
    assert server["k_effective"] is None
    assert server["window"]["seconds"] == 30
    assert server["window"]["generated_tokens_per_second"] == pytest.approx(2112 / 30)
    assert [score["k"] for score in server["scores"]] == [0, 1, 2, 3, 4]
    assert server["margin_low"] < server["margin"] < server["margin_high"]
    assert server["workloads"] == []


def test_without_an_interval_only_the_rates_are_unknown(command: Command) -> None:
    """Null, never 0, and the same answer."""
    timed, untimed = (document(command, "--source", *NGRAM_WINDOW, *more) for more in (("--seconds", 30), ()))
    (one,), (other,) = timed["servers"], untimed["servers"]
    for rate in ("decoded", "gain", "gain_low", "gain_high", "lost", "lost_low", "lost_high"):
        name = f"{rate.partition('_')[0]}_tokens_per_second{rate.removeprefix(rate.partition('_')[0])}"
        assert (one.pop(name) is None, other.pop(name)) == (False, None)
    assert other["window"].pop("seconds") is None
    assert other["window"].pop("generated_tokens_per_second") is None
    del one["window"]["seconds"], one["window"]["generated_tokens_per_second"]
    assert one == other


@pytest.mark.parametrize(
    "path", [path for path in CAPTURES if path.stem.endswith("after")], ids=lambda path: path.stem.split("-")[2]
)
def test_every_real_page_gives_a_valid_document_against_an_empty_start(
    path: Path, command: Command, saved: Saved
) -> None:
    """All methods that were captured: n-gram, draft model, EAGLE, suffix, a schedule, two API servers."""
    start = re.sub(r"(?m)^((?!#)\S*(?<!_created)\{.*\}) \S+$", r"\1 0.0", path.read_text())
    (server,) = document(command, "--source", saved(start, "start.txt"), path)["servers"]
    assert server["recommendation"]["schedule"]
    assert server["recommendation"]["sentence"].endswith(".")


def test_unknown_values_are_null_in_every_kind_of_answer(command: Command, saved: Saved) -> None:
    """Warming up, idle, without speculation, refused: all are valid documents."""
    idle = document(command, "--source", saved.after, saved.after)["servers"][0]
    assert (idle["step_seconds"], idle["recommendation"]["schedule"], idle["margin"]) == (None, None, None)
    plain = saved(page(snapshot(None)), "plain.txt")
    none = document(command, "--source", plain, plain)["servers"][0]
    assert (none["k_max"], none["window"], none["acceptance_by_position"]) == (None, None, None)
    broken = document(command, "--source", saved.after, saved.before)
    assert [error["reason"] for error in broken["errors"]] == ["server_restarted"]
    assert document(command, "--source", plain, saved("", "empty.txt"))["servers"][0]["k_max"] is None


def test_yaml_says_what_json_says(command: Command) -> None:
    """One document in two forms."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "-o", "yaml")
    assert yaml.safe_load(said.out) == document(command, "--source", *NGRAM_WINDOW)


def test_the_config_is_one_json_object_to_paste(command: Command) -> None:
    """What vLLM accepts as --speculative-config, and nothing else on stdout."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "-o", "config", "--method", "ngram")
    config = json.loads(said.out)
    assert (said.code, said.err) == (OK, "")
    assert (config["method"], config["num_speculative_tokens"]) == ("ngram", 4)
    schedule = tuple(map(tuple, config["num_speculative_tokens_per_batch_size"]))
    refuse_bad_schedule(schedule, 4)
    assert schedule[-1][1] == 256


def test_the_schedule_reaches_to_max_num_seqs(command: Command) -> None:
    """The largest batch of the server."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "-o", "config", "--max-num-seqs", 32)
    assert json.loads(said.out)["num_speculative_tokens_per_batch_size"][-1][1] == 32


def test_a_method_that_cannot_follow_a_schedule_gets_one_k(command: Command) -> None:
    """A schedule would stop a server with suffix decoding."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "-o", "config", "--method", "suffix")
    assert set(json.loads(said.out)) == {"method", "num_speculative_tokens"}


@pytest.mark.parametrize(("method", "live"), [("ngram", True), ("suffix", False)])
def test_the_table_says_what_its_configuration_is_for(method: str, live: bool, command: Command) -> None:
    """To be merged; `launch-config` prints one for live control, but none for a method of one k."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "--method", method)
    title = said.out.splitlines()[-2]
    assert title.startswith("merge into your --speculative-config, method and model kept")
    assert ("`controller launch-config --recommendation FILE`" in title) is live


def test_without_a_method_the_config_comes_with_a_warning(command: Command, saved: Saved) -> None:
    """A schedule stops the methods whose k is fixed: on stderr, for stdout is what is pasted."""
    told, untold = (
        command("recommend", "--source", *NGRAM_WINDOW, "-o", "config", *more) for more in (("--method", "ngram"), ())
    )
    assert json.loads(told.out) == {"method": "ngram"} | json.loads(untold.out)
    assert told.err == ""
    (line,) = untold.err.splitlines()
    assert "without --method this is not safe" in line
    assert all(method in line for method in FIXED_K)
    nothing = command("recommend", "--source", saved.after, saved.after, "-o", "config")
    assert "--method" not in nothing.err, "there is nothing to paste"


@pytest.mark.parametrize(
    ("output", "method", "is_told"),
    [("config", "eagle", True), ("table", "eagle", True), ("config", "ngram", False), ("json", "eagle", False)],
)
def test_a_schedule_that_ends_some_vllm_comes_with_a_warning(
    output: str, method: str, is_told: bool, command: Command, saved: Saved
) -> None:
    """One with a k just below the launch value, where a model drafts; what is kept for a program has no use for it."""
    dull_at_one = {**DULL, "survival": (0.02,)}
    start = after(snapshot(k_max=1), **dull_at_one)
    pages = saved(page(start), "1.txt"), saved(page(after(start, **dull_at_one)), "2.txt")
    said = command("recommend", "--source", *pages, "-o", output, "--method", method)
    assert said.out
    assert ("VLLM_USE_V2_MODEL_RUNNER=0" in said.err) is is_told


def test_without_evidence_the_config_is_explained_not_printed(command: Command, saved: Saved) -> None:
    """Empty stdout, a sentence on stderr, exit code 3."""
    said = command("recommend", "--source", saved.after, saved.after, "-o", "config")
    assert (said.code, said.out) == (NO_EVIDENCE, "")
    assert "m (engine 0): No tokens were decoded" in said.err


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (page(after(after(snapshot()), request_steps=40)), "not_enough_evidence"),
        (page(after(snapshot())), "idle"),
    ],
)
def test_too_little_evidence_is_exit_code_3(last: str, reason: str, command: Command, saved: Saved) -> None:
    """Everything works, but nothing can be said yet."""
    said = command("recommend", "--source", saved.before, saved(last, "last.txt"))
    assert said.code == NO_EVIDENCE
    assert f"[{reason}]" in said.out


def test_a_server_without_speculation_is_told_at_once(command: Command) -> None:
    """No window is waited for; exit code 3, and the way to launch it."""
    with Loopback(answer(page(after(snapshot(None))))) as server:
        said = command("recommend", "--url", server.url, "--window-seconds", 600)
    assert said.code == NO_EVIDENCE
    assert "--speculative-config" in said.out


def test_a_change_is_exit_code_10_only_when_asked_for(command: Command, saved: Saved) -> None:
    """A gate in CI asks; a person at the terminal does not."""
    pages = dull(saved)
    plain, gated = (command("recommend", "--source", *pages, *more) for more in ((), ("--exit-code",)))
    assert (plain.code, gated.code) == (OK, CHANGE)
    assert plain.out == gated.out
    assert "k=0" in plain.out


def test_a_hold_is_exit_code_0_also_when_changes_are_asked_for(command: Command) -> None:
    """Nothing to do is success."""
    assert command("recommend", "--source", *NGRAM_WINDOW, "--exit-code").code == OK


def test_several_windows_are_used_together(command: Command, saved: Saved) -> None:
    """Three pages are two windows; the evidence of both counts."""
    third = saved(page(after(after(after(snapshot())))), "third.txt")
    two = document(command, "--source", saved.before, saved.after)["servers"][0]
    three = document(command, "--source", saved.before, saved.after, third)["servers"][0]
    assert (two["evidence_drafts"], three["evidence_drafts"]) == (4000, 8000)


def test_a_running_server_is_watched_for_a_window(command: Command) -> None:
    """Two scrapes, one answer."""
    pages = (page(after(snapshot())), page(after(after(snapshot()))))
    with Loopback(*map(answer, pages)) as server:
        found = document(command, "--url", server.url, "--window-seconds", 0.05)
    assert len(server.requests) == 2
    assert found["servers"][0]["window"]["seconds"] >= 0.05


def test_a_stated_k_is_used_where_the_counters_cannot_tell(command: Command) -> None:
    """n-gram hides its k; --k states it."""
    (server,) = document(command, "--source", *NGRAM_WINDOW, "--method", "ngram", "--k", 4)["servers"]
    assert server["k_effective"] == 4


USAGE_ERRORS = {
    "no server": ((), "give --url of a running server, --prometheus-url of many, or --source with saved pages"),
    "both": (("--url", "http://x", "--source", "a", "b"), "give --url of a running server"),
    "one page": (("--source", "a"), "at least two pages"),
    "no scheme": (("--url", "localhost:8000"), "an address like http://127.0.0.1:8000"),
    "blank in the address": (("--url", "http://a b"), "an address like http://127.0.0.1:8000"),
    "impossible port": (("--url", "http://a:99999"), "--url: Port out of range"),
    "no number": (
        ("--url", "http://x", "--window-seconds", "soon"),
        "--window-seconds: Input should be a valid number",
    ),
    "negative": (("--url", "http://x", "--window-seconds", "-1"), "--window-seconds: Input should be greater than 0"),
    "not finite": (("--url", "http://x", "--window-seconds", "inf"), "--window-seconds: Input should be a finite"),
    "unknown method": (("--url", "http://x", "--method", "eagel"), "eagle"),
    "unknown output": (("--url", "http://x", "-o", "xml"), "table"),
    "unknown flag": (("--ulr", "http://x"), "--ulr"),
}


@pytest.mark.parametrize(("arguments", "words"), USAGE_ERRORS.values(), ids=USAGE_ERRORS)
def test_a_wrong_option_is_exit_code_2_with_the_option_named(
    arguments: tuple[str, ...], words: str, command: Command
) -> None:
    """Before anything is read."""
    said = command("recommend", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert words in said.err


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`controller schema | head -1` ends quietly."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; from controller.cli import main; sys.exit(main(['schema']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, b"")


def test_the_schema_is_a_schema(command: Command) -> None:
    """By its own rules, and it tells good documents from bad ones."""
    schema = json.loads(command("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 2, "servers": [], "errors": []}, schema)


def test_help_and_version_are_success(command: Command) -> None:
    """On stdout."""
    helped, version = command("recommend", "--help"), command("--version")
    assert (helped.code, version.code) == (OK, OK)
    assert "ADAPTIVE_K_WINDOW_SECONDS" in helped.out
    assert version.out.startswith("adaptive-k ")


def test_no_verb_is_a_usage_error(command: Command) -> None:
    """Exit code 2, as for any wrong option."""
    said = command()
    assert said.code == USAGE
    assert said.code != FAILED


def test_a_stated_k_beyond_what_the_server_can_draft_is_refused(command: Command) -> None:
    """The n-gram page was launched with k_max=4: 9 cannot be in force."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "--k", 9)
    assert said.code == FAILED
    assert "--k 9 is beyond k_max=4" in said.err


def test_where_k_is_not_known_it_is_said_how_to_tell_it(command: Command) -> None:
    """Drafts of a lookup fall short of k, so that the counters do not show it."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "--method", "ngram")
    assert "now      k not known, at most 4 (drafts may fall short of it: --k tells it), batch " in said.out
    assert "what runs now" in said.out
    known = command("recommend", "--source", *NGRAM_WINDOW, "--method", "ngram", "--k", 4)
    assert "now      k 4 of at most 4, batch " in known.out
