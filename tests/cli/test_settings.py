"""Settings: flag > environment > YAML > default, and mistakes told by name."""

import json
import re
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from calling import Command, Saved
from loopback import Loopback, answer
from pages import NGRAM_WINDOW, after, page, snapshot

from controller.commands.exit_codes import FAILED, OK, USAGE
from controller.flags import default_text, describe, parse
from controller.options.base import SettingsError
from controller.settings import VERBS, known_fields, load

PAGES = (NGRAM_WINDOW[0], NGRAM_WINDOW[1])


def top_batch(command: Command, *arguments: object) -> int:
    """The --max-num-seqs that was in force, as the schedule shows it."""
    said = command("recommend", "--source", *PAGES, "-o", "config", *arguments)
    assert said.code == OK, said.err
    return int(json.loads(said.out)["num_speculative_tokens_per_batch_size"][-1][1])


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    command: Command, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one is put over the one before."""
    assert top_batch(command) == 256
    config = ("--config", saved("max-num-seqs: 32\n", "settings.yaml"))
    assert top_batch(command, *config) == 32
    monkeypatch.setenv("ADAPTIVE_K_MAX_NUM_SEQS", "64")
    assert top_batch(command, *config) == 64
    assert top_batch(command, *config, "--max-num-seqs", 128) == 128


def test_the_file_may_be_named_by_the_environment(
    command: Command, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a container without arguments; the flag names another."""
    monkeypatch.setenv("ADAPTIVE_K_CONFIG", str(saved("max_num_seqs: 48\n", "one.yaml")))
    assert top_batch(command) == 48
    assert top_batch(command, "--config", saved("max_num_seqs: 24\n", "other.yaml")) == 24


def test_a_file_may_hold_options_of_other_verbs(command: Command, saved: Saved) -> None:
    """One file serves `run` and `recommend`."""
    both = saved("interval_seconds: 5\nlisten: '[::1]:9460'\nmax_num_seqs: 16\n", "settings.yaml")
    assert top_batch(command, "--config", both) == 16


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ADAPTIVE_K_MAX_NUM_SEQ", "did you mean ADAPTIVE_K_MAX_NUM_SEQS?"),
        ("ADAPTIVE_K_INTERVALL_SECONDS", "did you mean ADAPTIVE_K_INTERVAL_SECONDS?"),
        ("ADAPTIVE_K_XYZZY", "ADAPTIVE_K_XYZZY is not an option."),
    ],
)
def test_an_unknown_variable_is_refused_with_a_guess(
    name: str, words: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing mistake must not be a silent default; the value is not repeated."""
    monkeypatch.setenv(name, "v4lue")
    said = command("recommend", "--source", *PAGES)
    assert said.code == USAGE
    assert words in said.err
    assert "v4lue" not in said.err


@pytest.mark.parametrize(
    "name",
    [
        "ADAPTIVE_K_SERVICE_HOST",
        "ADAPTIVE_K_SERVICE_PORT",
        "ADAPTIVE_K_SERVICE_PORT_HTTP",
        "ADAPTIVE_K_PORT",
        "ADAPTIVE_K_PORT_9460_TCP",
        "ADAPTIVE_K_PORT_9460_TCP_ADDR",
        "ADAPTIVE_K_METRICS_SERVICE_HOST",
        "ADAPTIVE_K_METRICS_PORT_9460_TCP_PROTO",
    ],
)
def test_the_variables_of_a_kubernetes_service_are_no_options(
    name: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes sets them in every pod beside a Service of that name."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:9460")
    assert command("recommend", "--source", *PAGES).code == OK


BAD_FILES = {
    "no YAML": ("k: 3\nurl: [\n", "is not YAML at line 3"),
    "steering": ("k: [\u202e\n", "is not YAML"),
    "a list": ("- url\n", "must hold `option: value` lines"),
    "a word": ("url\n", "must hold `option: value` lines"),
    "unknown option": ("windw_seconds: 3\n", "'windw-seconds', which is not an option; did you mean window-seconds?"),
    "bad value": ("window_seconds: soon\n", "--window-seconds: Input should be a valid number"),
    "no date": ("url: 2026-13-45\n", "cannot be read: month must be in 1..12"),
    "control code": ("url: \x00\n", "cannot be read"),
    "code": ("url: !!python/object/apply:os.system ['true']\n", "is not YAML at line 1"),
    "endless nesting": ("[" * 100_000, "cannot be read"),
}


@pytest.mark.parametrize(("text", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_settings_file_is_named(text: str, words: str, command: Command, saved: Saved) -> None:
    """The file, and what is wrong in it."""
    path = saved(text, "settings.yaml")
    said = command("recommend", "--source", *PAGES, "--config", path)
    assert (said.code, said.out) == (USAGE, "")
    assert words in said.err
    assert len(said.err) < 600
    assert said.err.replace("\n", "").isprintable()


def test_a_file_that_would_unfold_to_any_size_is_refused(command: Command, saved: Saved) -> None:
    """A billion laughs: twelve lines that each name the one before ten times."""
    lines = [f"- &a{each} [{', '.join([f'*a{each - 1}'] * 10)}]" for each in range(1, 12)]
    laughs = "\n".join(["source:", "- &a0 [x, x, x]", *lines, "method: *a11", "k: *a11"])
    tracemalloc.start()
    said = command("recommend", "--config", saved(laughs, "laughs.yaml"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said.code == USAGE
    assert "an alias (`*name`) is not taken" in said.err
    assert peak < 40_000_000


def test_a_missing_settings_file_is_named(command: Command, tmp_path: Path) -> None:
    """Rather than the defaults taken."""
    said = command("recommend", "--source", *PAGES, "--config", tmp_path / "none.yaml")
    assert said.code == USAGE
    assert "none.yaml" in said.err


def test_an_empty_settings_file_changes_nothing(command: Command, saved: Saved) -> None:
    """All lines commented out."""
    assert top_batch(command, "--config", saved("# url: http://x\n", "settings.yaml")) == 256


def test_bad_environment_values_name_the_option(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a flag's would."""
    monkeypatch.setenv("ADAPTIVE_K_MINIMUM_GAIN", "a lot")
    said = command("recommend", "--source", *PAGES)
    assert said.code == USAGE
    assert "--minimum-gain: Input should be a valid number" in said.err


def test_pages_may_come_from_the_environment_as_a_json_list(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a mistake in it is told in words."""
    monkeypatch.setenv("ADAPTIVE_K_SOURCE", json.dumps([str(path) for path in PAGES]))
    assert command("recommend").code == OK
    monkeypatch.setenv("ADAPTIVE_K_SOURCE", "before.txt after.txt")
    said = command("recommend")
    assert said.code == USAGE
    assert "ADAPTIVE_K_SOURCE must be a JSON list" in said.err


def test_a_flag_for_the_source_beats_an_address_in_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saved page is replayed inside a container whose environment names the server."""
    monkeypatch.setenv("ADAPTIVE_K_URL", "http://127.0.0.1:8000")
    assert command("recommend", "--source", *PAGES).code == OK


@pytest.mark.parametrize("address", ["http://me:s3cret@127.0.0.1:8000", "http://s3cret@127.0.0.1:8000"])
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str, command: Command) -> None:
    """They would end up in logs and process lists."""
    said = command("recommend", "--url", address)
    assert said.code == USAGE
    assert "--token-file" in said.err
    assert "s3cret" not in said.err


def test_a_token_is_never_printed(command: Command, saved: Saved) -> None:
    """Neither with a refusal nor with an answer."""
    token = saved("s3cret", "token")
    for reply in (answer("", "401 Unauthorized"), answer("s3cret"), answer(page(after(snapshot(None))))):
        with Loopback(reply) as server:
            said = command("recommend", "--url", server.url, "--token-file", token)
        assert "Bearer s3cret" in server.requests[0]
        assert "s3cret" not in re.sub(r"begins '.*?'", "", said.out + said.err)


def test_two_loads_share_nothing(saved: Saved) -> None:
    """The values of one file do not leak into the next load."""
    flags: dict[str, Any] = {"source": tuple(map(str, PAGES))}
    config = saved("max_num_seqs: 2\n", "settings.yaml")
    assert load("recommend", {**flags, "config": str(config)}, {}).model_dump()["max_num_seqs"] == 2
    assert load("recommend", flags, {}).model_dump()["max_num_seqs"] == 256


def test_every_option_has_a_flag_with_help_and_a_type_in_words() -> None:
    """Declared once, documented everywhere."""
    for options in VERBS.values():
        for field in options.model_fields.values():
            assert field.description
            assert field.description.endswith(".")
            assert describe(field)
            assert isinstance(default_text(field), str)


def test_flags_left_out_are_absent_so_that_other_sources_count() -> None:
    """argparse sets no default of its own."""
    assert parse(["run"], "0") == ("run", {})


def test_a_known_variable_of_any_verb_is_allowed_for_all() -> None:
    """One environment for a pod that runs several verbs."""
    for name in known_fields():
        try:
            load("schema", {}, {f"ADAPTIVE_K_{name.upper()}": ""})
        except SettingsError as error:
            pytest.fail(str(error))


def test_a_missing_required_option_is_named(command: Command) -> None:
    """`launch-config` needs a method."""
    said = command("launch-config")
    assert said.code == USAGE
    assert said.code != FAILED
    assert "--method" in said.err


def test_an_empty_variable_is_as_none(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests often have such; a freeze file of no name would freeze for ever, a checkpoint end the first pass."""
    for name in ("CHECKPOINT", "FREEZE_FILE", "MAX_NUM_SEQS", "METHOD", "CONFIG"):
        monkeypatch.setenv(f"ADAPTIVE_K_{name}", "")
    assert top_batch(command) == 256
    found = load("run", {})
    assert (found.checkpoint, found.freeze_file) == (None, None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a/.."])
@pytest.mark.parametrize("option", ["checkpoint", "freeze-file", "token-file"])
def test_a_file_that_has_no_name_is_refused(path: str, option: str, command: Command, saved: Saved) -> None:
    """By flag and by file."""
    config = saved(f"{option}: '{path}'\n", "settings.yaml")
    for given in ((f"--{option}", path), ("--config", config)):
        said = command("run", *given)
        assert said.code == USAGE
        assert f"--{option}: a file is expected" in said.err


WRONG = {
    "an unknown option": (("--methd", "eagle"), "there is no option --methd; did you mean --method?"),
    "one with its value": (
        ("--windows-seconds=3",),
        "there is no option --windows-seconds; did you mean --window-seconds?",
    ),
    "nothing like any": (("--xyzzy",), "there is no option --xyzzy."),
    "a word alone": (("there",), "this stands alone, with no option before it: there."),
    "a wrong choice": (("--method", "eagel"), "argument --method: invalid choice: 'eagel'"),
    "no value": (("--url",), "argument --url: expected one argument"),
    "a gain of 300%": (("--minimum-gain", 3), "--minimum-gain: Input should be less than or equal to 1"),
    "one that steers": (("--\x1b[31m",), r"there is no option --\x1b[31m."),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_use_is_two_lines(
    arguments: tuple[object, ...], words: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong, and where the options are: not forty options first."""
    with suppress(SystemExit):
        said = command("recommend", *arguments)
        sys.stderr.write(said.err)
    told = capsys.readouterr().err
    assert told.startswith("controller recommend: ")
    assert words in told
    assert told.endswith("\n`controller recommend --help` lists the options.\n")
    assert told.count("\n") == 2
