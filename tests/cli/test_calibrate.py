"""`controller calibrate`, `--profile`, `--explain`: step times measured elsewhere, and where numbers come from."""

import json
import re
from pathlib import Path

import pytest
from calling import Command, Saved
from pages import NGRAM_WINDOW, after, page, snapshot

from controller.commands.exit_codes import FAILED, NO_EVIDENCE, OK, USAGE


def launched(saved: Saved, k: int, step_seconds: float) -> tuple[Path, Path]:
    """Two pages of a server launched at this k, whose steps take so long."""
    start = after(snapshot(k), step_seconds=step_seconds)
    end = after(start, step_seconds=step_seconds)
    return saved(page(start), f"{k}-before.txt"), saved(page(end), f"{k}-after.txt")


def test_servers_launched_at_different_k_make_one_profile(command: Command, saved: Saved) -> None:
    """Each pair of pages is a cell; the parameters that they make out are printed."""
    profile = saved.folder / "profile.json"
    pairs = [page for k, seconds in ((1, 0.010), (4, 0.013), (8, 0.017)) for page in launched(saved, k, seconds)]
    said = command("calibrate", "--source", *pairs, "--method", "eagle", "--save", profile)
    assert (said.code, said.out) == (OK, "")
    cells = json.loads(profile.read_text("utf-8"))["cells"]
    assert [cell["k"] for cell in cells] == [1, 4, 8]
    assert [cell["step_ms"] for cell in cells] == [pytest.approx(ms) for ms in (10, 13, 17)]
    assert "3 windows make 3 cells" in said.err
    assert re.search(r"fixed part of a step, ms.* measured", said.err)
    assert f"use it with --profile {profile}" in said.err


def test_a_profile_narrows_the_bounds(command: Command, saved: Saved) -> None:
    """The same two pages, with step times at another k known: the gain at that k is known better."""
    profile = saved.folder / "profile.json"
    pages = launched(saved, 8, 0.017)
    command("calibrate", "--source", *launched(saved, 1, 0.010), *pages, "--save", profile)
    widths = []
    for extra in ((), ("--profile", profile)):
        found = json.loads(command("recommend", "--source", *pages, "-o", "json", *extra).out)
        score = found["servers"][0]["scores"][1]
        widths.append(score["gain_high"] / score["gain_low"])
    assert widths[1] < 0.8 * widths[0]


def test_without_a_file_the_profile_goes_to_stdout(command: Command, saved: Saved) -> None:
    """Data on stdout, the rest on stderr."""
    said = command("calibrate", "--source", *launched(saved, 4, 0.013))
    assert said.code == OK
    assert json.loads(said.out)["cells"][0]["k"] == 4


def test_pages_without_traffic_make_no_profile(command: Command, saved: Saved) -> None:
    """Nothing was decoded, so nothing is written."""
    same = saved(page(snapshot()), "same.txt")
    said = command("calibrate", "--source", same, same)
    assert (said.code, said.out) == (NO_EVIDENCE, "")
    assert "no tokens were decoded" in said.err


def test_an_odd_number_of_pages_is_refused(command: Command, saved: Saved) -> None:
    """Pages come in pairs."""
    said = command("calibrate", "--source", *launched(saved, 4, 0.013), saved.before)
    assert said.code == USAGE
    assert "even number of pages" in said.err


def test_pages_of_two_servers_in_one_pair_are_refused(command: Command, saved: Saved) -> None:
    """Before and after must be of one server."""
    before, _ = launched(saved, 4, 0.013)
    _, later = launched(saved, 8, 0.013)
    said = command("calibrate", "--source", before, later)
    assert said.code == FAILED
    assert "k_max went from 4 to 8" in said.err


def test_a_folder_that_does_not_exist_is_named_and_nothing_is_left_behind(command: Command, saved: Saved) -> None:
    """The profile is written whole or not at all."""
    said = command("calibrate", "--source", *launched(saved, 4, 0.013), "--save", saved.folder / "no" / "profile.json")
    assert said.code == FAILED
    assert "cannot be written (No such file or directory)" in said.err
    assert not list(saved.folder.glob("tmp*"))


def test_a_bad_profile_is_refused_with_its_row(command: Command, saved: Saved) -> None:
    """The exit code is that of a wrong option, and the sentence says what a profile looks like."""
    profile = saved("batch,k,step_ms\n1,0,0.0065\n", "profile.csv")
    said = command("recommend", "--source", *NGRAM_WINDOW, "--profile", profile)
    assert said.code == USAGE
    assert "row 1: a step of 0.0065 ms is impossible; is it in seconds?" in said.err
    assert "columns batch, k, step_ms" in said.err


def test_explain_names_the_origin_of_every_number(command: Command) -> None:
    """Each k has the origin of its tokens and of its step time, each parameter says measured or prior."""
    said = command("recommend", "--source", *NGRAM_WINDOW, "--method", "ngram", "--explain")
    origins = re.findall(r"k=(\d) +tokens per step (observed|extrapolated), step time (measured|modelled)", said.out)
    assert [k for k, _, _ in origins] == ["0", "1", "2", "3", "4"]
    assert origins[4] == ("4", "observed", "measured")
    assert origins[0][2] == "modelled"
    assert len(re.findall(r"(?m)(measured|prior)$", said.out)) >= 8
    assert re.search(r"the drafter, implied: [\d.]+ ms", said.out)
    priors = "n-gram and suffix lookup and dense models"
    assert f"k never varied, so the cost of a draft rests on the priors for {priors}" in said.out


def test_the_operator_says_which_models_are_mixtures_of_experts(command: Command, saved: Saved) -> None:
    """By a regular expression on the served name; k=0 may then be much faster than a dense model's would be."""
    start = after(snapshot(4, model_name="chat"), batch=16.0)
    pages = saved(page(start), "1.txt"), saved(page(after(start, batch=16.0)), "2.txt")
    told, highest = [], []
    for arguments in ((), ("--moe-models", "code"), ("--moe-models", "^CHAT")):
        (found,) = json.loads(command("recommend", "--source", *pages, "-o", "json", *arguments).out)["servers"]
        told.append(found["step_time"]["target"])
        highest.append(found["scores"][0]["gain_high"])
    assert told == ["dense models", "dense models", "mixtures of experts"]
    assert highest[0] == highest[1] < highest[2] / 1.3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("moe(", "missing ), unterminated subpattern"),
        ("a{99999999999}", "the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_regular_expression_is_an_error_of_usage(text: str, why: str, command: Command) -> None:
    """It says which option it was, and where it stopped to be one."""
    said = command("recommend", "--url", "http://127.0.0.1:9", "--moe-models", text)
    assert said.code == USAGE
    assert f"--moe-models: a regular expression is expected: {why}" in said.err


def test_the_capture_limit_reaches_the_model(command: Command, saved: Saved) -> None:
    """A window of 80 tokens a step says something of the cliff only when the limit lies below."""
    start = after(snapshot(4), batch=16.0)
    pages = saved(page(start), "1.txt"), saved(page(after(start, batch=16.0)), "2.txt")
    cliffs = []
    for limit in (512, 64):
        found = json.loads(command("recommend", "--source", *pages, "-o", "json", "--capture-limit-tokens", limit).out)
        cliffs.append(found["servers"][0]["step_time"]["parameters"]["cliff"]["log_spread"])
    assert cliffs[0] == pytest.approx(1.0)
    assert cliffs[1] < cliffs[0]
