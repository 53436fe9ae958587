"""The body of a PUT: any bytes are either understood or refused with a reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.schedule import Refused
from controller.engine.wanted import Wanted, read_wanted

GOOD: dict[str, Any] = {
    "schedule": [[1, 8, 2]],
    "ttl_seconds": 60,
    "owner": "pod/a",
    "expected": {"boot_id": "ab12", "generation": 3},
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def refusal(body: bytes) -> str | None:
    """Why a body is refused."""
    try:
        assert isinstance(read_wanted(body), Wanted)
    except Refused as refused:
        return str(refused)
    return None


def test_a_good_body_is_understood() -> None:
    """Field by field."""
    wanted = read_wanted(json.dumps(GOOD).encode())
    assert wanted == Wanted([[1, 8, 2]], 60, "pod/a", "ab12", 3)


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_understood_or_refused_in_words(body: bytes) -> None:
    """Never another exception."""
    assert refusal(body) != ""


@given(st.sampled_from([*GOOD, "allow_k_without_graph"]), ANY_JSON)
def test_any_value_of_a_field_is_understood_or_refused_in_words(field: str, value: Any) -> None:
    """Never another exception; and what is understood is in range."""
    body = json.dumps(GOOD | {field: value}).encode()
    if (reason := refusal(body)) is not None:
        assert reason
        return
    wanted = read_wanted(body)
    assert 10 <= wanted.ttl_seconds <= 3600
    assert type(wanted.allow_k_without_graph) is bool
    assert type(wanted.generation) is int


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60_000, b"1" * 6_000, b'{"schedule":'])
def test_what_is_no_json_is_called_so(body: bytes) -> None:
    """Also what stops Python's parser in other ways than by an error of syntax."""
    assert refusal(body) == "the body must be JSON in UTF-8"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ttl_seconds": 9}, "from 10 to 3600"),
        ({"ttl_seconds": 3601}, "from 10 to 3600"),
        ({"ttl_seconds": 60.0}, "integer"),
        ({"ttl_seconds": True}, "integer"),
        ({"owner": ""}, "owner must be"),
        ({"owner": "a b"}, "owner must be"),
        ({"owner": "a\n"}, "owner must be"),
        ({"owner": "x" * 129}, "owner must be"),
        ({"expected": None}, "expected must be a JSON object"),
        ({"expected": {"boot_id": "ab12"}}, "expected lacks generation"),
        ({"expected": {"boot_id": "AB", "generation": 3}}, "boot_id"),
        ({"expected": {"boot_id": "ab12", "generation": -1}}, "generation"),
        ({"expected": {"boot_id": "ab12", "generation": 2**70}}, "generation"),
        ({"shedule": []}, "unknown key: 'shedule'"),
        ({"\ud800": 1}, r"unknown key: '\ud800'"),
        ({"allow_k_without_graph": 1}, "true or false"),
    ],
)
def test_each_fault_has_its_own_sentence(change: dict[str, Any], reason: str) -> None:
    """It names the field."""
    assert reason in (refusal(json.dumps(GOOD | change).encode()) or "")


@pytest.mark.parametrize("field", GOOD)
def test_every_field_is_needed(field: str) -> None:
    """Above all `expected`: a change must be one of a state that was seen."""
    body = {name: value for name, value in GOOD.items() if name != field}
    assert refusal(json.dumps(body).encode()) == f"the body lacks {field}"
