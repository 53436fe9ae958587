"""The JSON of `--speculative-config`, edited in place: whatever is not k keeps every byte."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from controller.decide.decision import Schedule
from controller.plain import plain

K: Final = "num_speculative_tokens"
SCHEDULE: Final = "num_speculative_tokens_per_batch_size"
LIMIT_CHARACTERS: Final = 16 * 1024
"""A longer text is no speculative config, and two of them would not fit into the workload's annotations."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


class ConfigError(ValueError):
    """The text cannot be edited surely; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One `"key": value` of the outermost object, by position in the text."""

    key: str
    key_start: int
    key_end: int
    value_start: int
    value_end: int
    value: Any


def with_schedule(text: str, schedule: Schedule) -> str:
    """The text with this schedule, and with `num_speculative_tokens` at least the largest k in it.

    `num_speculative_tokens` is never lowered: it is the k_max up to which acceptance can be learnt. Where the text has
    none, vLLM takes the drafter's own, and it stays so.

    Raises:
        ConfigError: It is not one JSON object, or has a key twice, or k is not a whole number.
        ValueError: The schedule is empty.

    >>> with_schedule('{"num_speculative_tokens": 3, "method": "eagle"}', ((1, 64, 0),))
    '{"num_speculative_tokens": 3, "num_speculative_tokens_per_batch_size": [[1, 64, 0]], "method": "eagle"}'
    """
    if not schedule:
        raise ValueError("the schedule is empty")
    k_max = _k(text)
    if k_max is not None:
        text = _put(text, K, max(k_max, *(k for _, _, k in schedule)), after=None)
    return _put(text, SCHEDULE, [list(each) for each in schedule], after=K)


def with_k(text: str, k: int) -> str:
    """The text with one fixed k, for what cannot run a schedule.

    Raises:
        ConfigError: As `with_schedule`; or it holds a schedule, which would go on ruling k.
        ValueError: k is below 1: vLLM refuses that.

    >>> with_k('{"method":"suffix","num_speculative_tokens":8}', 4)
    '{"method":"suffix","num_speculative_tokens":4}'
    """
    if k < 1:
        raise ValueError(f"k={k}; at least 1 is possible without a schedule")
    if has_schedule(text):
        raise ConfigError(f"it has {SCHEDULE}, which this server cannot run: remove it, then k can be set.")
    _k(text)
    return _put(text, K, k, after=None)


def has_schedule(text: str) -> bool:
    """Whether the text has `num_speculative_tokens_per_batch_size`, and not as null."""
    return any(each.key == SCHEDULE and each.value is not None for each in _members(text))


def method_of(text: str) -> str | None:
    """vLLM's name of the drafting method; None when the text does not say.

    Raises:
        ConfigError: As `with_schedule`.
    """
    found = next((each.value for each in _members(text) if each.key == "method"), None)
    return found if isinstance(found, str) else None


def _k(text: str) -> int | None:
    found = next((each.value for each in _members(text) if each.key == K), None)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int)):
        raise ConfigError(f"{K} is not a whole number: write one.")
    return found


def _put(text: str, key: str, value: int | list[list[int]], after: str | None) -> str:
    """The text with this member; only its value's span changes, or one member is inserted, in the text's own style."""
    members = _members(text)
    colon, comma = _style(text, members)
    new = json.dumps(value, separators=("," if comma == "," else ", ", ":"))
    old = next((each for each in members if each.key == key), None)
    if old is not None:
        same = old.value == value and not isinstance(old.value, bool)
        return text if same else text[: old.value_start] + new + text[old.value_end :]
    at = next((each.value_end for each in members if each.key == after), members[-1].value_end)
    return f"{text[:at]}{comma}{json.dumps(key)}{colon}{new}{text[at:]}"


def _style(text: str, members: tuple[_Member, ...]) -> tuple[str, str]:
    """What stands between key and value, and between two members."""
    first = members[0]
    colon = text[first.key_end : first.value_start]
    return colon, text[first.value_end : members[1].key_start] if len(members) > 1 else ", "


def _members(text: str) -> tuple[_Member, ...]:
    if len(text) > LIMIT_CHARACTERS:
        raise ConfigError(f"it is longer than {LIMIT_CHARACTERS} characters: that is no speculative config.")
    try:
        whole = json.loads(text)
    except RecursionError as error:
        raise ConfigError("it is nested too deeply for a speculative config.") from error
    except ValueError as error:
        raise ConfigError(f"it is not JSON ({error}): correct it.") from error
    if not isinstance(whole, dict) or not whole:
        raise ConfigError('it is not a JSON object such as {"method": "eagle", ...}: write one.')
    members = tuple(_scan(text))
    keys = [each.key for each in members]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ConfigError(f"it has '{plain(min(twice))}' twice: remove one.")
    return members


def _scan(text: str) -> Iterator[_Member]:
    """The members in order. The text is known to be a JSON object with at least one."""
    at = _after_space(text, 0)
    while text[at] != "}":
        key_start = _after_space(text, at + 1)  # behind the brace or the comma
        key, key_end = _DECODER.raw_decode(text, key_start)
        value_start = _after_space(text, _after_space(text, key_end) + 1)
        value, value_end = _DECODER.raw_decode(text, value_start)
        yield _Member(key, key_start, key_end, value_start, value_end, value)
        at = _after_space(text, value_end)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches nothing at all, too
    return found.end()
