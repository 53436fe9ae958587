"""`controller launch-config`: a launch configuration under which every k can be reached live."""

import json
import shlex
from typing import Any

import pytest
from calling import Command, Saved
from pages import NGRAM_WINDOW

from controller.commands.exit_codes import OK, USAGE
from controller.decide.launch import refuse_bad_schedule
from controller.decide.schedule import k_at
from controller.engine.scheduler import CUT, FOLLOWS
from controller.model.drafter import FIXED_K, Method


def printed(command: Command, *arguments: object) -> tuple[dict[str, Any], int]:
    """The configuration and --max-num-seqs, as a shell would hand them to vLLM."""
    said = command("launch-config", *arguments)
    assert said.code == OK, said.err
    flag, config, seqs, number = shlex.split(said.out)
    assert (flag, seqs) == ("--speculative-config", "--max-num-seqs")
    return json.loads(config), int(number)


@pytest.mark.parametrize(("k_max", "seqs"), [(1, 3), (5, 256), (3, 8), (8, 64)])
def test_every_k_can_be_reached(k_max: int, seqs: int, command: Command) -> None:
    """The schedule is valid by vLLM's rules, and each of 0..k_max holds at some batch up to max_num_seqs."""
    config, number = printed(command, "--method", "eagle3", "--k-max", k_max, "--max-num-seqs", seqs)
    schedule = tuple(map(tuple, config["num_speculative_tokens_per_batch_size"]))
    refuse_bad_schedule(schedule, k_max)
    assert {k_at(schedule, batch) for batch in range(1, seqs + 1)} == set(range(k_max + 1))
    assert (config["method"], config["num_speculative_tokens"], number) == ("eagle3", k_max, seqs)


def test_the_wanted_schedule_is_kept_below_the_top(command: Command) -> None:
    """Only single batch sizes near the top are given to the other values of k."""
    config, _ = printed(command, "--method", "draft_model", "--k-max", 5, "--schedule", "[[1, 16, 5], [17, 256, 2]]")
    schedule = tuple(map(tuple, config["num_speculative_tokens_per_batch_size"]))
    assert schedule[:2] == ((1, 16, 5), (17, 251, 2))
    assert k_at(schedule, 256) == 2


def test_a_saved_recommendation_can_be_launched(command: Command, saved: Saved) -> None:
    """From `recommend -o json` to a launch configuration."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "-o", "json")
    found = saved(said.out, "found.json")
    config, _ = printed(command, "--method", "ngram", "--k-max", 4, "--recommendation", found)
    assert config["num_speculative_tokens"] == 4


def test_the_drafter_is_quoted_for_the_shell(command: Command) -> None:
    """A name with an apostrophe does not end the argument."""
    config, _ = printed(command, "--method", "eagle", "--model", 'it\'s/$HOME a "drafter"')
    assert config["model"] == 'it\'s/$HOME a "drafter"'


def test_what_to_know_goes_to_stderr(command: Command) -> None:
    """stdout holds only what is pasted."""
    said = command("launch-config", "--method", "mtp")
    assert len(said.out.splitlines()) == 1
    assert "measure throughput before and after" in said.err
    assert "\nvLLM 0.26 to 0.31" in said.err
    assert "0.31" not in command("launch-config", "--method", "ngram").err


ERRORS = {
    "no method": ((), "--method"),
    "unknown method": (("--method", "telepathy"), "telepathy"),
    "too few batch sizes": (("--method", "eagle", "--max-num-seqs", "2"), "max_num_seqs=2 has no room"),
    "no JSON": (("--method", "eagle", "--schedule", "1-16:5"), "--schedule is not JSON like"),
    "deep JSON": (("--method", "eagle", "--schedule", "[" * 50_000), "--schedule is not JSON like"),
    "endless digits": (("--method", "eagle", "--schedule", "9" * 5000), "--schedule is not JSON like"),
    "no ranges": (("--method", "eagle", "--schedule", "[[1, 16]]"), "must be a list of"),
    "no whole numbers": (("--method", "eagle", "--schedule", "[[1, 16, 2.5]]"), "whole numbers"),
    "empty": (("--method", "eagle", "--schedule", "[]"), "the schedule is empty"),
    "late start": (("--method", "eagle", "--schedule", "[[2, 16, 5]]"), "must start at batch 1"),
    "overlap": (("--method", "eagle", "--schedule", "[[1, 16, 5], [16, 64, 3]]"), "overlaps"),
    "k above k_max": (("--method", "eagle", "--schedule", "[[1, 16, 9]]"), "asks for k=9"),
    "both": (("--method", "eagle", "--schedule", "[]", "--recommendation", "x"), "not both"),
    "no file": (("--method", "eagle", "--recommendation", "/no/such/file"), "is not a saved"),
    "one k only": (("--method", "suffix"), "allows one k only"),
}


@pytest.mark.parametrize(("arguments", "words"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_launched_is_refused_with_the_rule(
    arguments: tuple[str, ...], words: str, command: Command
) -> None:
    """Exit code 2, and nothing to paste."""
    said = command("launch-config", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert words in said.err
    assert len(said.err) < 700


@pytest.mark.parametrize(
    "content", ["{}", "[]", "null", '{"servers": [{}]}', '{"servers": [{"recommendation": {"schedule": null}}]}']
)
def test_a_file_without_one_schedule_is_refused(content: str, command: Command, saved: Saved) -> None:
    """With what to save instead."""
    said = command("launch-config", "--method", "eagle", "--recommendation", saved(content, "found.json"))
    assert said.code == USAGE
    assert "found.json" in said.err


@pytest.mark.parametrize("method", sorted(set(Method) - FIXED_K))
def test_a_method_whose_k_the_plugin_leaves_alone_is_told(method: Method, command: Command) -> None:
    """The plugin's own lists say which; what is printed is a schedule all the same, for the launch alone."""
    said = command("launch-config", "--method", method.value)
    assert said.code == OK
    assert (f"does not change k of method {method} live" in said.err) is (method not in FOLLOWS)


@pytest.mark.parametrize("method", sorted(FIXED_K & set(Method)))
def test_a_method_of_one_k_is_refused_with_what_the_plugin_can_do(method: str, command: Command) -> None:
    """It cuts the drafts of some."""
    said = command("launch-config", "--method", method)
    assert "allows one k only" in said.err
    assert ("k can still be lowered live" in said.err) is (method in CUT)


@pytest.mark.parametrize(("method", "told"), [("eagle", True), ("draft_model", True), ("ngram", False)])
def test_versions_of_vllm_that_end_with_such_a_schedule_are_named(method: str, told: bool, command: Command) -> None:
    """Only where a model drafts: the V2 runner of 0.26 to 0.31 sizes that model's graphs to nothing."""
    assert ("vLLM 0.26 to 0.31" in command("launch-config", "--method", method).err) is told
