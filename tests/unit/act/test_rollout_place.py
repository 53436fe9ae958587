"""The one place of the speculative config is found, or it is said why there is none."""

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.act.rollout.place import Place, find_place
from controller.act.rollout.result import RolloutOutcome, RolloutStop

JSON = '{"method": "eagle", "num_speculative_tokens": 5}'
AT = "/spec/template/spec/containers/0"


def workload(*containers: dict[str, Any]) -> dict[str, Any]:
    """As much of one as is looked at."""
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


def place(container: str | None = None, variable: str | None = None, **fields: Any) -> Place:
    """The place within one container."""
    return find_place(workload({"name": "vllm", **fields}), container, variable)


def refused(*containers: dict[str, Any], container: str | None = None, variable: str | None = None) -> RolloutStop:
    """The refusal."""
    with pytest.raises(RolloutStop) as caught:
        find_place(workload(*containers), container, variable)
    assert caught.value.sentence.endswith(".")
    return caught.value


FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "two arguments": ({"args": ["--port", "80", "--speculative-config", JSON]}, f"{AT}/args/3"),
    "one argument": ({"args": [f"--speculative-config={JSON}"]}, f"{AT}/args/0"),
    "underscores": ({"args": ["--speculative_config", JSON]}, f"{AT}/args/1"),
    "short": ({"args": ["-sc", JSON]}, f"{AT}/args/1"),
    "command": ({"command": ["vllm", "serve", "--speculative-config", JSON]}, f"{AT}/command/3"),
    "flag in command, value in args": ({"command": ["vllm", "-sc"], "args": [JSON]}, f"{AT}/args/0"),
    "variable by reference": (
        {"args": ["-sc", "$(SPEC)"], "env": [{"name": "A"}, {"name": "SPEC", "value": JSON}]},
        f"{AT}/env/1/value",
    ),
    "script": (
        {"command": ["/bin/bash", "-euc", f"cd /x && exec vllm serve m \\\n --speculative-config '{JSON}' # '\n"]},
        f"{AT}/command/2",
    ),
    "script with equals": ({"command": ["sh", "-c"], "args": [f"vllm -sc='{JSON}' --port 1"]}, f"{AT}/args/0"),
    "script through env": ({"command": ["env", "A=1", "sh", "-c", f"vllm -sc '{JSON}'"]}, f"{AT}/command/4"),
    "script with a variable": (
        {"command": ["sh", "-c", 'vllm -sc "${SPEC}"'], "env": [{"name": "SPEC", "value": JSON}]},
        f"{AT}/env/0/value",
    ),
}


@pytest.mark.parametrize(("fields", "pointer"), FORMS.values(), ids=FORMS)
def test_every_usual_form_is_found_and_put_back_around_another_text(fields: dict[str, Any], pointer: str) -> None:
    """The rest of the string stays."""
    found = place(**fields)
    assert found.text == JSON
    assert found.pointer == pointer
    assert found.container_pointer == AT
    assert found.with_text("{}") == found.whole.replace(JSON, "{}")


def test_a_named_variable_is_taken_whatever_the_arguments_say() -> None:
    """The operator knows best."""
    assert place(variable="X", env=[{"name": "X", "value": JSON}], args=["-sc", "{}"]).pointer == f"{AT}/env/0/value"


def test_the_named_container_is_the_one() -> None:
    """Two vLLM containers are told apart by name only."""
    two = ({"name": "a", "args": ["-sc", "1"]}, {"name": "b", "args": ["-sc", "2"]})
    assert find_place(workload(*two), "b", None).text == "2"
    stop = refused(*two)
    assert stop.outcome is RolloutOutcome.AMBIGUOUS
    assert "a (/spec/template/spec/containers/0/args/1), b (" in stop.sentence
    assert refused(*two, container="c").outcome is RolloutOutcome.NO_ARGUMENT


def test_names_are_listed_on_one_line_and_not_without_end() -> None:
    """An API server checks them, and what stands in its place may not."""
    many = tuple({"name": f"{number}\n\x1b[31m", "args": ["-sc", "1"]} for number in range(40))
    for stop in (refused(*many), refused(*many, container="c")):
        assert stop.sentence.isprintable()
        assert r"4\n\x1b[31m" in stop.sentence
        assert " and 35 more" in stop.sentence


REFUSED: dict[str, tuple[dict[str, Any], RolloutOutcome, str]] = {
    "no argument": ({"args": ["--port", "80"]}, RolloutOutcome.NO_ARGUMENT, "--speculative-config"),
    "nothing at all": ({}, RolloutOutcome.NO_ARGUMENT, "as one JSON argument"),
    "no value": ({"args": ["--speculative-config"]}, RolloutOutcome.NO_ARGUMENT, "no container"),
    "dotted": ({"args": ["--speculative-config.method", "eagle"]}, RolloutOutcome.NO_ARGUMENT, ".KEY"),
    "twice": ({"args": ["-sc", "1", "--speculative-config=2"]}, RolloutOutcome.AMBIGUOUS, "2 places"),
    "variable that is not there": ({"args": ["-sc", "$(X)"]}, RolloutOutcome.NO_ARGUMENT, "no container"),
    "variable from elsewhere": (
        {"args": ["-sc", "$(X)"], "env": [{"name": "X", "valueFrom": {}}]},
        RolloutOutcome.NOT_POSSIBLE,
        "valueFrom",
    ),
    "double quotes": ({"args": ["sh", "-c", 'vllm -sc "{}"']}, RolloutOutcome.NOT_POSSIBLE, "not in single quotes"),
    "mixed quotes": ({"args": ["sh", "-c", "vllm -sc '{'}"]}, RolloutOutcome.NOT_POSSIBLE, "not in single quotes"),
    "quotes closed and opened again": (
        {"args": ["sh", "-c", "vllm -sc '{'a'}'"]},
        RolloutOutcome.NOT_POSSIBLE,
        "not in single quotes",
    ),
    "no quotes": ({"args": ["sh", "-c", "vllm -sc {}"]}, RolloutOutcome.NOT_POSSIBLE, "not in single quotes"),
    "within quotes": ({"args": ["sh", "-c", "eval \"vllm -sc '{}'\""]}, RolloutOutcome.NOT_POSSIBLE, "within quotes"),
    "in a comment, too": ({"args": ["sh", "-c", "vllm -sc '{}' # -sc"]}, RolloutOutcome.NOT_POSSIBLE, "a comment"),
    "here-document": ({"args": ["sh", "-c", "sh <<E\nvllm -sc '{}'\nE"]}, RolloutOutcome.NOT_POSSIBLE, "here-document"),
    "substitution": ({"args": ["sh", "-c", "vllm -sc $(cat x)"]}, RolloutOutcome.NOT_POSSIBLE, "substitution"),
    "nothing follows": ({"args": ["sh", "-c", "vllm -sc"]}, RolloutOutcome.NOT_POSSIBLE, "nothing follows"),
    "variable set by the script": (
        {"args": ["sh", "-c", 'S=1; vllm -sc "$S"'], "env": [{"name": "S", "value": JSON}]},
        RolloutOutcome.NOT_POSSIBLE,
        "sets S itself",
    ),
    "both branches": ({"args": ["sh", "-c", "a -sc '1' || b -sc '2'"]}, RolloutOutcome.AMBIGUOUS, "2 places"),
}


@pytest.mark.parametrize(("fields", "outcome", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_edited_surely_is_refused_with_the_remedy(
    fields: dict[str, Any], outcome: RolloutOutcome, words: str
) -> None:
    """Never a guess."""
    stop = refused({"name": "vllm", **fields})
    assert stop.outcome is outcome
    assert words in stop.sentence or words.capitalize() in stop.sentence


@given(st.text(alphabet='{}[]":, abc0123456789\n\\$`;|&#"()<>', min_size=1))
def test_an_edited_script_gives_vllm_the_new_text_and_everything_else_as_before(text: str) -> None:
    """As a shell splits it."""
    before = f"exec vllm serve 'a b' --speculative-config '{text}' --port \"8000\""
    found = place(command=["sh", "-c", before])
    assert found.text == text
    split = shlex.split(before)
    split[split.index(text)] = JSON
    assert shlex.split(found.with_text(JSON)) == split


@pytest.mark.parametrize(
    ("args", "parallel"),
    [
        (["--data-parallel-size", "2"], True),
        (["--data-parallel-size=4"], True),
        (["-dp", "2"], True),
        (["--data-parallel-size", "1"], False),
        (["--data-parallel-size", "x"], False),
        (["--port", "8000"], False),
    ],
)
def test_data_parallel_ranks_are_noticed(args: list[str], *, parallel: bool) -> None:
    """In arguments and in scripts alike."""
    assert place(args=["-sc", JSON, *args]).data_parallel is parallel
    assert place(command=["sh", "-c", f"vllm -sc '{JSON}' {' '.join(args)}"]).data_parallel is parallel


@pytest.mark.parametrize(
    ("ranks", "several"),
    [
        ("1", False),
        ("2", True),
        ("02", True),
        ("10", True),
        ("0", False),
        ("\u00b2", False),
        ("9" * 5000, True),
        ("", False),
    ],
)
def test_data_parallel_ranks_are_counted_whatever_is_written_there(ranks: str, several: bool) -> None:
    """A superscript two is a digit to Python, and no number."""
    assert place(args=["-sc", JSON, "-dp", ranks]).data_parallel is several
