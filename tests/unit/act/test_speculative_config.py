"""An edit changes k and nothing else, to the byte."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.act.rollout.speculative_config import (
    LIMIT_CHARACTERS,
    SCHEDULE,
    ConfigError,
    K,
    has_schedule,
    method_of,
    with_k,
    with_schedule,
)
from controller.decide.decision import Schedule

OURS = (K, SCHEDULE)
SPACES = st.text(alphabet=" \t\n\r", max_size=3)
NUMBERS = st.sampled_from(["0", "-1", "1e5", "1.50", "-0.0", "9007199254740993", "1E+2"])
"""Numbers whose text would not survive being parsed and printed."""
STRINGS = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from([r'"\u0041\/"', r'"\"num_speculative_tokens\": 9"', '"}{]["', r'"\\"']),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, STRINGS, st.sampled_from(["true", "false", "null"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{' , '.join(items)}]"),
        st.lists(st.tuples(STRINGS, inner), max_size=3).map(
            lambda pairs: "{%s}" % ",".join(f"{key} :{value}" for key, value in pairs)  # noqa: UP031
        ),
    ),
    max_leaves=6,
)
KEYS = st.one_of(st.text(max_size=6), st.sampled_from(["method", "model", "x_num_speculative_tokens"])).filter(
    lambda key: key not in OURS
)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """A schedule as vLLM wants it."""
    edges = sorted(draw(st.sets(st.integers(2, 500), max_size=3)))
    starts, ends = [1, *edges], [*(edge - 1 for edge in edges), 512]
    return tuple((low, high, draw(st.integers(0, 8))) for low, high in zip(starts, ends, strict=True))


Parts = list[list[str]]
"""Members as written, each as what stands before the value, and the value."""


@st.composite
def written(draw: st.DrawFn) -> tuple[Parts, str]:
    """A config in any style: its members, and what stands behind the last one."""
    keys = draw(st.lists(KEYS, min_size=1, max_size=4, unique=True))
    values = {key: draw(VALUES) for key in keys}
    if draw(st.booleans()):
        values[K] = str(draw(st.integers(1, 8)))
    if draw(st.booleans()):
        values[SCHEDULE] = draw(st.sampled_from(["null", "[[1,4,2]]", "[ [1, 4, 2] , [5, 512, 0] ]"]))
    order = draw(st.permutations(list(values)))
    parts = []
    for index, key in enumerate(order):
        opening = "," if index else draw(SPACES) + "{"
        before = f"{draw(SPACES)}{opening}{draw(SPACES)}" if index else f"{opening}{draw(SPACES)}"
        parts.append([f"{before}{json.dumps(key)}{draw(SPACES)}:{draw(SPACES)}", values[key]])
    return parts, f"{draw(SPACES)}}}{draw(SPACES)}"


def joined(parts: Parts, end: str) -> str:
    """The text."""
    return "".join(before + value for before, value in parts) + end


def replaced(parts: Parts, key: str, new: str) -> Parts:
    """The members, with another text for one value."""
    name = json.dumps(key)
    return [[before, new if before.rstrip(" \t\n\r:").endswith(name) else value] for before, value in parts]


@given(written(), schedules())
def test_a_schedule_changes_the_spans_of_its_two_values_and_no_other_byte(
    found: tuple[Parts, str], schedule: Schedule
) -> None:
    """Whitespace, escapes, numbers and order survive; what is missing is inserted in one piece."""
    text = joined(*found)
    before = json.loads(text)
    edited = with_schedule(text, schedule)
    after = json.loads(edited)
    wanted = [list(each) for each in schedule]
    assert after[SCHEDULE] == wanted
    parts, end = found
    if K in before:
        k_max = max(before[K], *(k for _, _, k in schedule))
        assert after[K] == k_max
        parts = replaced(parts, K, str(k_max))
    if before.get(SCHEDULE) == wanted:
        assert edited == joined(parts, end)
    elif SCHEDULE in before:
        forms = (json.dumps(wanted), json.dumps(wanted, separators=(",", ":")))
        assert edited in [joined(replaced(parts, SCHEDULE, form), end) for form in forms]
    else:
        expected = joined(parts, end)
        extra = len(edited) - len(expected)
        assert any(edited[:at] + edited[at + extra :] == expected for at in range(len(expected) + 1))
    assert list(after) == [*before, SCHEDULE] or set(after) == {*before, SCHEDULE}
    assert with_schedule(edited, schedule) == edited


@given(written(), st.integers(1, 8))
def test_one_k_changes_the_span_of_its_value_and_no_other_byte(found: tuple[Parts, str], k: int) -> None:
    """And a text whose schedule would overrule it is refused."""
    text = joined(*found)
    before = json.loads(text)
    if before.get(SCHEDULE) is not None:
        with pytest.raises(ConfigError, match=SCHEDULE):
            with_k(text, k)
        return
    edited = with_k(text, k)
    assert json.loads(edited)[K] == k
    if K in before:
        assert edited == joined(replaced(found[0], K, str(k)), found[1])
    assert with_k(edited, k) == edited


def test_what_is_inserted_follows_the_style_of_the_text() -> None:
    """One line, compact, or indented."""
    schedule = ((1, 8, 2),)
    assert with_schedule('{"method":"mtp","num_speculative_tokens":2}', schedule) == (
        '{"method":"mtp","num_speculative_tokens":2,"num_speculative_tokens_per_batch_size":[[1,8,2]]}'
    )
    assert with_schedule('{\n  "num_speculative_tokens": 1,\n  "model": "m"\n}', schedule) == (
        '{\n  "num_speculative_tokens": 2,\n  "num_speculative_tokens_per_batch_size": [[1, 8, 2]],\n  "model": "m"\n}'
    )


def test_a_schedule_that_is_there_already_keeps_its_own_spelling() -> None:
    """A restart for a space would be a waste."""
    text = '{"num_speculative_tokens": 5, "num_speculative_tokens_per_batch_size": [ [1,8,2] ]}'
    assert with_schedule(text, ((1, 8, 2),)) == text


def test_k_max_is_never_lowered() -> None:
    """What was never drafted cannot be learnt."""
    text = with_schedule('{"num_speculative_tokens": 5, "method": "eagle"}', ((1, 8, 0),))
    assert json.loads(text) == {K: 5, "method": "eagle", SCHEDULE: [[1, 8, 0]]}


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("", "not JSON"),
    "cut": ('{"method": "eagle"', "not JSON"),
    "single quotes": ("{'method': 'eagle'}", "not JSON"),
    "a list": ("[5]", "not a JSON object"),
    "empty": ("{}", "not a JSON object"),
    "a key twice": ('{"method": "a", "method": "b"}', "'method' twice"),
    "k as text": ('{"num_speculative_tokens": "5"}', "not a whole number"),
    "k as true": ('{"num_speculative_tokens": true}', "not a whole number"),
    "k as 2.5": ('{"num_speculative_tokens": 2.5}', "not a whole number"),
    "nested without end": ('{"a": ' + "[" * 5000, "nested too deeply|not JSON"),
    "endless": ('{"a": "' + "x" * LIMIT_CHARACTERS + '"}', "longer than"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("edit", [lambda text: with_schedule(text, ((1, 8, 2),)), lambda text: with_k(text, 2)])
def test_a_text_that_cannot_be_edited_surely_is_refused(edit: Any, text: str, words: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match=words):
        edit(text)


def test_values_that_vllm_would_refuse_are_refused() -> None:
    """They would be a bug of ours, not of the text."""
    with pytest.raises(ValueError, match="empty"):
        with_schedule('{"a": 1}', ())
    with pytest.raises(ValueError, match="at least 1"):
        with_k('{"a": 1}', 0)


def test_the_method_and_the_presence_of_a_schedule_are_read() -> None:
    """None where the text does not say."""
    assert method_of('{"method": "eagle3"}') == "eagle3"
    assert method_of('{"method": 3}') is None
    assert method_of('{"model": "x"}') is None
    assert has_schedule('{"num_speculative_tokens_per_batch_size": [[1, 2, 3]]}')
    assert not has_schedule('{"num_speculative_tokens_per_batch_size": null}')
