"""The text of `--speculative-config`: text -> `with_schedule`, `with_k` -> text."""

import json
from typing import Any, Final

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
from fuzz.holding import fits

SCHEDULES: Final[tuple[Schedule, ...]] = (((1, 64, 0),), ((1, 8, 5), (9, 64, 2)), ((1, 4, 7),))


def check(data: bytes) -> None:
    """Nothing but k and the schedule changes, and twice is as once; or a `ConfigError`. The first byte says to what."""
    wanted = data[0] if data else 0
    text = data[1:].decode("utf-8", "replace")
    schedule, k = SCHEDULES[wanted % len(SCHEDULES)], 1 + wanted % 7
    try:
        method_of(text)
        scheduled = has_schedule(text)
        edited = with_schedule(text, schedule)
    except ConfigError as error:
        fits(str(error))
        return
    assert len(text) <= LIMIT_CHARACTERS
    before, after = _members(text), _members(edited)
    assert after[SCHEDULE] == [list(each) for each in schedule]
    assert before.get(K) is None or after[K] == max(before[K], *(each[2] for each in schedule))
    assert _others(before) == _others(after)
    assert with_schedule(edited, schedule) == edited
    assert has_schedule(edited)
    if not scheduled:
        fixed = _members(with_k(text, k))
        assert fixed[K] == k
        assert _others(fixed) == _others(before)


def _members(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _others(members: dict[str, Any]) -> str:
    """All that is not k, in its order; as text, since NaN is not equal to itself."""
    return json.dumps([(key, value) for key, value in members.items() if key not in {K, SCHEDULE}])


def seeds() -> list[bytes]:
    """As people write them."""
    return [
        b'\0{"method": "eagle", "model": "yuhuili/EAGLE", "num_speculative_tokens": 3}',
        b'\1{"num_speculative_tokens":5,"num_speculative_tokens_per_batch_size":[[1,16,5],[17,64,3]],"method":"mtp"}',
        b'\2{\n  "method": "ngram",\n  "prompt_lookup_max": 4\n}\n',
        b'\3{"num_speculative_tokens_per_batch_size": null, "num_speculative_tokens": 2}',
        b'\4{"a": "\\u0022}", "b": {"num_speculative_tokens": 9}, "c": [1e5, -0.0, true]}',
        b'\5{"num_speculative_tokens": 1, "num_speculative_tokens": 2}',
        b"\6[]",
    ]
