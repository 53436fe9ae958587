"""`controller whatif`: every k from a few numbers, two answers compared, and the pictures of both."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from calling import Command, Saved
from pages import NGRAM_WINDOW

from controller.commands.exit_codes import FAILED, OK, USAGE

LENGTHS = "1.8,2.4,2.87,3.28,3.53,3.7,3.9,4.04"
DRAFT_MODEL = ("--mean-length", LENGTHS, "--target-tpot-ms", 23.65, "--draft-tpot-ms", 2.27)
OBSERVED = (*DRAFT_MODEL, "--observed-tpot-ms", 10.46, "--k", 4)
SATURATING = ("--alpha", 0.7, "--c", 0.1, "--half-batch", 64, "--batch", 16)


def answer(command: Command, *arguments: object) -> Any:
    """The JSON answer."""
    said = command("whatif", *arguments, "-o", "json")
    assert (said.code, said.err) == (OK, "")
    return json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def before(command: Command, saved: Saved) -> Path:
    """A saved recommendation of a real server."""
    return saved(command("recommend", "--source", *NGRAM_WINDOW, "-o", "json").out, "before.json")


@pytest.fixture
def after(before: Path, saved: Saved) -> Path:
    """The same, with a drafter that makes each draft 20% more worth."""
    found = json.loads(before.read_text())
    for score in found["servers"][0]["scores"]:
        for bound in ("", "_low", "_high"):
            score[f"tokens_per_second{bound}"] *= 1 + 0.2 * score["k"]
    return saved(json.dumps(found), "after.json")


def test_the_published_draft_model_analysis_comes_out_whole(command: Command) -> None:
    """Qwen3-32B with Qwen3-1.7B: best k 5 expected, 4 at the implied draft time of 2.6647 ms."""
    found = answer(command, *OBSERVED)
    assert (found["best_k"], found["current"]["best_k"]) == (5, 4)
    assert found["implied_draft_ms"] == pytest.approx(2.6647, abs=5e-5)
    assert found["implied_slowdown_ratio"] == pytest.approx(1.174, abs=5e-4)
    assert found["rows"][4]["tpot_ms"] == pytest.approx(9.979, abs=5e-4)
    assert [round(row["tpot_ms"], 2) for row in found["current"]["rows"][4:6]] == [10.46, 10.47]


def test_the_table_shows_every_k_the_answer_and_the_price_of_each_draft(command: Command) -> None:
    """One screen, plain characters."""
    said = command("whatif", *OBSERVED)
    assert re.findall(r"(?m)^ {4}(\d) ", said.out) == [str(k) for k in range(9)]
    for words in ("k=5, 2.39 times", "17% more than the drafter alone", "the best k is 4", "its price", "<- best"):
        assert words in said.out
    assert said.out.isascii()
    assert max(map(len, said.out.splitlines())) <= 132


def test_the_crossover_batch_is_the_closed_form(command: Command) -> None:
    """64 (.7 - .1) / (1 - .7 + .1) = 96."""
    assert answer(command, *SATURATING)["crossover_batch"] == pytest.approx(96)
    assert "k=0 is best from a batch of 96" in command("whatif", *SATURATING).out


def test_speculation_that_pays_at_no_batch_and_at_any_is_said_in_words(command: Command) -> None:
    """0 and infinity are not printed as batches; JSON has null and says which."""
    never, always = (("--alpha", 0.1, "--c", 0.3, "--half-batch", 64), ("--alpha", 1, "--c", 0, "--half-batch", 64))
    assert "none: k=0 is best at every batch" in command("whatif", *never).out
    assert "none: drafting pays at any batch" in command("whatif", *always).out
    found = answer(command, *always)
    assert (found["crossover_batch"], found["pays_at_any_batch"]) == (None, True)


def test_a_draft_pays_by_its_price_not_by_the_cost_alone(command: Command) -> None:
    """alpha=.8, c=.05: draft 9 survives with .134, above c, and is not worth it."""
    rows = answer(command, "--alpha", 0.8, "--c", 0.05, "--k-max", 13)["rows"]
    assert [row["k"] for row in rows if row["draft_pays"]] == list(range(1, 9))
    assert rows[9]["draft_worth"] > 0.05


def test_a_mean_length_alone_gives_the_rate_behind_it(command: Command) -> None:
    """1.75 tokens at k=2 are a rate of one half; how it was found is said."""
    found = answer(command, "--mean-length", 1.75, "--k", 2, "--c", 0.1)
    assert found["rows"][1]["tokens_per_step"] == pytest.approx(1.5)
    assert "1.75 at k=2" in found["acceptance"]


def test_acceptance_by_position_is_read_as_unconditional(command: Command) -> None:
    """E(k) is one plus the sum; the largest k is as far as it was given."""
    rows = answer(command, "--acceptance", "0.68, 0.39, 0.20", "--c", 0.1)["rows"]
    assert [row["tokens_per_step"] for row in rows] == pytest.approx([1.0, 1.68, 2.07, 2.27])


def test_an_observation_alone_tells_the_cost_of_a_draft(command: Command) -> None:
    """Without the drafter's own time the implied one is used; there is nothing to compare it with."""
    found = answer(command, "--mean-length", LENGTHS, "--target-tpot-ms", 23.65, "--observed-tpot-ms", 10.46, "--k", 4)
    assert (found["best_k"], found["current"]) == (4, None)
    assert "implied" in found["cost"]


def test_a_saved_recommendation_gives_what_no_option_states(command: Command, before: Path) -> None:
    """Its own numbers first; then its cost with another acceptance, and its acceptance with another cost."""
    scores = json.loads(before.read_text())["servers"][0]["scores"]
    own = answer(command, "--recommendation", before)["rows"]
    assert [row["tpot_ms"] for row in own] == pytest.approx(
        [score["step_seconds"] * 1e3 / score["tokens_per_step"] for score in scores]
    )
    sharper = answer(command, "--recommendation", before, "--alpha", 0.9)
    assert [row["step_cost"] for row in sharper["rows"]] == pytest.approx([row["step_cost"] for row in own])
    assert sharper["best_k"] == 4
    dearer = answer(command, "--recommendation", before, "--c", 0.9)
    assert [row["tokens_per_step"] for row in dearer["rows"]] == [row["tokens_per_step"] for row in own]
    assert dearer["best_k"] == 0


def test_two_recommendations_make_the_business_case(command: Command, before: Path, after: Path) -> None:
    """Best k, tokens/s and gain with bounds, and a sentence that carries them."""
    found = answer(command, "--compare", before, after)
    best = [json.loads(path.read_text())["servers"][0]["scores"] for path in (before, after)]
    rates = [max(score["tokens_per_second"] for score in scores) for scores in best]
    assert found["gain_ratio"] == pytest.approx(rates[1] / rates[0])
    assert found["gain_low"] < found["gain_ratio"] < found["gain_high"]
    assert (found["after"]["k_best"], found["like_load"]) == (4, True)
    assert f"{found['gain_ratio'] - 1:+.1%} throughput" in found["sentence"]
    assert found["sentence"] in command("whatif", "--compare", before, after).out


def test_a_recommendation_beside_itself_brings_nothing_and_says_so(command: Command, before: Path) -> None:
    """No change, with bounds on both sides of it."""
    found = answer(command, "--compare", before, before)
    assert found["gain_ratio"] == 1.0
    assert "include no change" in found["sentence"]


def test_recommendations_of_different_loads_are_compared_with_a_warning(
    command: Command, before: Path, saved: Saved
) -> None:
    """More requests make more tokens, whatever drafts them."""
    found = json.loads(before.read_text())
    found["servers"][0]["batch"] *= 3
    busier = saved(json.dumps(found), "busier.json")
    assert "The loads differ" in answer(command, "--compare", before, busier)["sentence"]


PICTURES: dict[str, tuple[object, ...]] = {
    "time over k": OBSERVED,
    "speedup over k": ("--alpha", 0.7, "--c", 0.05),
    "best k over batch": (*SATURATING, "--figure", "batch"),
    "plane": ("--figure", "plane"),
    "plane with a place": (*SATURATING, "--figure", "plane"),
    "textbook": ("--figure", "textbook"),
}


@pytest.mark.parametrize("arguments", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_drawn_beside_the_answer(arguments: tuple[object, ...], command: Command, tmp_path: Path) -> None:
    """Text as SVG, with its axes named; the same picture for the same numbers."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.svg"
    said = command("whatif", *arguments, "--plot", path)
    assert (said.code, said.err) == (OK, f"drawn into {path}\n")
    assert "<svg" in path.read_text()[:500]
    first = path.read_bytes()
    command("whatif", *arguments, "--plot", path)
    assert path.read_bytes() == first


def test_the_business_case_is_drawn_as_png(command: Command, before: Path, after: Path, tmp_path: Path) -> None:
    """By the ending of the file's name."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "case.png"
    assert command("whatif", "--compare", before, after, "--plot", path).code == OK
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_remedy_is_named(tmp_path: Path) -> None:
    """In a process of its own, in which matplotlib cannot be imported."""
    script = (
        "import sys; sys.modules['matplotlib'] = None; from controller.cli import main; "
        f"sys.exit(main(['whatif', '--alpha', '.5', '--c', '.1', '--plot', {str(tmp_path / 'x.png')!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (USAGE, "")
    assert "pip install 'adaptive-k[plot]'" in ended.stderr


def test_a_picture_that_cannot_be_written_fails_with_the_cause(command: Command, tmp_path: Path) -> None:
    """The folder does not exist: exit code 1, one line."""
    pytest.importorskip("matplotlib")
    said = command("whatif", "--figure", "textbook", "--plot", tmp_path / "no" / "x.png")
    assert said.code == FAILED
    assert "cannot write" in said.err
    assert "No such file or directory" in said.err


ERRORS: dict[str, tuple[tuple[object, ...], str]] = {
    "nothing": ((), "how often drafts are accepted is missing"),
    "no cost": (("--alpha", 0.5), "what a draft costs is missing"),
    "no acceptance": (("--c", 0.5), "how often drafts are accepted is missing"),
    "acceptance above 1": (("--alpha", 1.2, "--c", 0.1), "--alpha: Input should be less than or equal to 1"),
    "position above 1": (("--acceptance", "0.5,1.2", "--c", 0.1), "acceptance 1.2 at position 2 is outside 0..1"),
    "rising": (("--acceptance", "0.375,0.915", "--c", 0.1), "rises from 0.375 to 0.915 at position 2"),
    "empty list": (("--acceptance", " ", "--c", 0.1), "--acceptance must be numbers"),
    "no numbers": (("--acceptance", "high", "--c", 0.1), "--acceptance must be numbers"),
    "NaN": (("--acceptance", "nan", "--c", 0.1), "--acceptance must be numbers"),
    "two acceptances": (("--alpha", 0.5, "--acceptance", "0.5", "--c", 0.1), "--alpha and --acceptance state the same"),
    "two costs": (
        ("--alpha", 0.5, "--c", 0.1, "--target-tpot-ms", 20, "--draft-tpot-ms", 2),
        "--c and --draft-tpot-ms both state",
    ),
    "length without k": (("--mean-length", 2.5, "--c", 0.1), "--mean-length wants --k"),
    "length without bonus": (("--mean-length", 0.9, "--k", 3, "--c", 0.1), "add 1 to a mean of accepted drafts"),
    "length above k+1": (("--mean-length", "1.8,3.1", "--c", 0.1), "--mean-length 3.1 at k=2 is outside 1..3"),
    "k_max beyond the list": (("--acceptance", "0.5,0.2", "--c", 0.1, "--k-max", 3), "--k-max 3 is beyond"),
    "k beyond k_max": (("--alpha", 0.5, "--c", 0.1, "--k-max", 3, "--k", 4), "--k 4 is beyond the largest k, 3"),
    "draft without target": (("--alpha", 0.5, "--draft-tpot-ms", 2), "want --target-tpot-ms"),
    "observed without k": (
        ("--alpha", 0.5, "--target-tpot-ms", 20, "--observed-tpot-ms", 12),
        "--observed-tpot-ms wants --k",
    ),
    "observed in seconds": (
        ("--alpha", 0.5, "--target-tpot-ms", 20, "--observed-tpot-ms", 0.012, "--k", 3),
        "no drafter is that cheap",
    ),
    "times without end": (
        ("--alpha", 0.5, "--target-tpot-ms", 1e-300, "--draft-tpot-ms", 1e8),
        "impossible",
    ),
    "a longer time than any": (("--alpha", 0.5, "--target-tpot-ms", 1e300, "--draft-tpot-ms", 3), "less than or equal"),
    "batch alone": (("--alpha", 0.5, "--c", 0.1, "--batch", 8), "--batch changes nothing without --half-batch"),
    "no half batch": (("--alpha", 0.5, "--c", 0.1, "--plot", "x.png", "--figure", "batch"), "wants --half-batch"),
    "figure without a file": (("--figure", "plane"), "--figure plane wants --plot"),
    "unknown picture format": (("--figure", "plane", "--plot", "x.jpeg"), "must end in .png or .svg"),
    "no such file": (("--recommendation", "no-such-file"), "no-such-file cannot be read: No such file"),
    "one to compare": (("--compare", "one.json"), "--compare wants two files"),
    "compare and more": (("--compare", "one.json", "two.json", "--alpha", 0.5), "leave acceptance, cost"),
}


@pytest.mark.parametrize(("arguments", "words"), ERRORS.values(), ids=ERRORS)
def test_what_is_missing_or_contradictory_is_refused_with_the_remedy(
    arguments: tuple[object, ...], words: str, command: Command
) -> None:
    """Exit code 2, nothing on stdout, one sentence that names the option."""
    said = command("whatif", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert words in said.err
    assert len(said.err) < 500


def test_a_recommendation_that_options_leave_no_room_for_is_refused(command: Command, before: Path) -> None:
    """Options state everything, or contradict its step times, or want a k that it does not have."""
    for arguments, words in (
        (("--alpha", 0.5, "--c", 0.1), "nothing left to say"),
        (("--overhead", 0.1), "contradict the step times"),
        (("--target-tpot-ms", 20), "contradict the step times"),
        (("--k-max", 9), "--k-max 9 is beyond"),
        (("--alpha", 0.5, "--k-max", 9), "step times are saved up to k=4"),
    ):
        said = command("whatif", "--recommendation", before, *arguments)
        assert (said.code, said.out) == (USAGE, "")
        assert words in said.err


SPOILT = {
    "not JSON": "k: 3",
    "deep JSON": "[" * 50_000,
    "another document": "{}",
    "another schema": '{"schema": 99, "servers": []}',
    "no engine": '{"schema": 1, "servers": []}',
    "nothing judged": '{"schema": 1, "servers": [{"scores": []}]}',
    "empty engine": '{"schema": 1, "servers": [{"scores": [{}]}]}',
    "NaN": '{"schema": NaN}',
}


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_a_file_that_is_no_saved_recommendation_is_refused_by_name(
    content: str, command: Command, saved: Saved
) -> None:
    """Alone and in a comparison."""
    path = saved(content, "spoilt.json")
    for arguments in (("--recommendation", path), ("--compare", path, path)):
        said = command("whatif", *arguments)
        assert (said.code, said.out) == (USAGE, "")
        assert "spoilt.json" in said.err


@pytest.mark.parametrize(("name", "value"), [("step_seconds", 0), ("tokens_per_second_low", 1e9), ("k", 7)])
def test_a_saved_number_that_cannot_be_is_refused(
    name: str, value: float, command: Command, before: Path, saved: Saved
) -> None:
    """A step without length, a bound on the wrong side, a k out of order."""
    found = json.loads(before.read_text())
    found["servers"][0]["scores"][1][name] = value
    said = command("whatif", "--recommendation", saved(json.dumps(found), "spoilt.json"))
    assert (said.code, said.out) == (USAGE, "")
    assert "spoilt.json" in said.err


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"batch": "8" * 100_000}, ": batch is 8888888888888888888888888888888888888888…"),
        ({"draft_coverage": 10**400}, ": draft_coverage is 1000"),
        ({"k_effective": "x"}, ": k_effective is x, which is impossible"),
        ({"acceptance_by_position": [7, -9, 0, 0]}, ": acceptance_by_position is 7, which is no share"),
        ({"acceptance_by_position": [0.1, 0.9, 0.9, 0.9]}, ": acceptance_by_position has bounds on the wrong side"),
        ({"acceptance_by_position_low": [0.1]}, ": acceptance_by_position has bounds on the wrong side"),
        ({"draft_coverage": -5}, ": draft_coverage is -5, which is no share"),
    ],
)
def test_a_saved_recommendation_with_numbers_that_are_none_is_refused_by_name(
    changed: dict[str, object], words: str, command: Command, before: Path, saved: Saved
) -> None:
    """Briefly, whatever stands there."""
    document = json.loads(before.read_text("utf-8"))
    document["servers"][0] |= changed
    path = saved(json.dumps(document), "changed.json")
    said = command("whatif", "--recommendation", path)
    assert (said.code, said.out) == (USAGE, "")
    assert f"{path}{words[:30]}" in said.err
    assert len(said.err) < 400
