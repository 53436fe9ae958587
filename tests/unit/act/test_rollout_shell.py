"""The words of a script are those that a shell would see."""

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.act.rollout.shell import UnsureError, words

PIECES = st.one_of(
    st.text(alphabet="ab-={}[]:,", min_size=1, max_size=5),
    st.text(alphabet='ab "{}#;\n\\|', max_size=6).map(lambda text: f"'{text}'"),
    st.text(alphabet="ab '{}#;\n|", max_size=6).map(lambda text: f'"{text}"'),
    st.sampled_from([r"\ ", r"\'", r"\"", r'"a\"b"', r'"\\"', "x#y"]),
)
WORDS = st.lists(PIECES, min_size=1, max_size=3).map("".join)
GAPS = st.sampled_from([" ", "  ", "\t", " \\\n  "])


def seen(script: str) -> list[str]:
    """The words as written."""
    return [script[each.start : each.end] for each in words(script)]


@given(st.lists(st.tuples(WORDS, GAPS), max_size=5))
@settings(max_examples=60)
def test_a_real_shell_sees_the_same_words(parts: list[tuple[str, str]]) -> None:
    """`printf` in sh prints each argument it got; ours unquoted are the same."""
    script = "printf '%s\\0' start " + "".join(word + gap for word, gap in parts)
    told = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    expected = told.stdout.decode().split("\0")[1:-1]
    assert [shlex.split(word)[0] for word in seen(script)][3:] == expected


@pytest.mark.parametrize(
    ("script", "words_there"),
    [
        ("a # b 'c\nd", ["a", "d"]),
        ("a#b c", ["a#b", "c"]),
        ("a;b&&c|d>e", ["a", "b", "c", "d", "e"]),
        ("", []),
        ("a \\", ["a", "\\"]),
    ],
)
def test_operators_and_comments_are_passed_over(script: str, words_there: list[str]) -> None:
    """Only words are looked at."""
    assert seen(script) == words_there


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("cat <<EOF\nvllm\nEOF", "here-document"),
        ("a `b`", "command substitution"),
        ("a $(b)", "command substitution"),
        ('a "x $(b)"', "command substitution"),
        ("a 'b", "single quote"),
        ('a "b', "double quote"),
        ('a "b\\"', "double quote"),
    ],
)
def test_what_only_a_shell_can_know_is_not_guessed(script: str, what: str) -> None:
    """It is named instead."""
    with pytest.raises(UnsureError, match=what):
        seen(script)


def test_single_quotes_hide_everything() -> None:
    """Also what would otherwise be refused."""
    assert seen("a '$(b) `c` <<d'") == ["a", "'$(b) `c` <<d'"]
