"""The engine plugin's answers: read whole, or refused in one sentence; and what two of them say of the time between."""

import json
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, answer, hang, unused_port
from urllib3 import HTTPResponse, PoolManager

from controller.observe.errors import ObserveError
from controller.observe.http import PLUGIN, Fetcher
from controller.observe.plugin import PATH, PluginSource, plugin_url, read_speculation, refusal
from controller.observe.speculation import (
    ENTRIES_MAX,
    RANGES_MAX,
    SEQUENCES_MAX,
    Measured,
    Speculation,
    StepCounts,
    WorkloadCounts,
    measured_between,
)
from controller.reason import ACTING_FAILED, Reason

WHERE: Final = "http://127.0.0.1:8000" + PATH
DOCUMENT: Final[dict[str, Any]] = {
    "protocol": 1,
    "boot_id": "0279aa62",
    "generation": 3,
    "owner": "somebody",
    "method": "eagle",
    "k_max": 3,
    "max_num_seqs": 8,
    "launch_schedule": [[1, 8, 3]],
    "schedule": [[1, 4, 3], [5, 8, 0]],
    "expires_in_seconds": 41.5,
    "k_with_graph": [0, 3],
    "writable": True,
    "read_only_because": None,
    "measured": {
        "workloads": [{"name": "chat", "drafts": 5, "drafted": [5, 4, 4], "judged": [5, 3, 2], "accepted": [3, 2, 1]}],
        "steps": [
            {"batch_min": 2, "batch_max": 2, "k": 3, "steps": 3, "request_steps": 6, "seconds": 0.03, "tokens": 12,
             "prompt_tokens": 0},
        ],
        "other_steps": {"steps": 1, "seconds": 0.5, "tokens": 6},
    },
}  # fmt: skip


def read(document: Any) -> Speculation:
    """A document as it comes over the wire."""
    return read_speculation(json.dumps(document), WHERE)


def refused(text: str) -> ObserveError:
    """The refusal that a text ends in."""
    with pytest.raises(ObserveError) as caught:
        read_speculation(text, WHERE)
    error = caught.value
    assert error.reason is Reason.PLUGIN_ANSWER_BAD
    assert error.message.isprintable()
    assert error.message.startswith(WHERE)
    assert error.message.endswith(".")
    assert len(error.message) < 600
    return error


def test_a_document_is_read_whole() -> None:
    """What is counted, too; what this sidecar does not know of is passed over."""
    found = read(DOCUMENT | {"news": [1, 2]})
    assert (found.boot_id, found.generation, found.owner, found.method) == ("0279aa62", 3, "somebody", "eagle")
    assert (found.k_max, found.max_num_seqs, found.expires_in_seconds) == (3, 8, 41.5)
    assert found.launch_schedule == ((1, 8, 3),)
    assert found.schedule == ((1, 4, 3), (5, 8, 0))
    assert found.k_with_graph == (0, 3)
    assert found.measured is not None
    (chat,), (steps,) = found.measured.workloads, found.measured.steps
    assert (chat.name, chat.drafts, chat.drafted, chat.judged, chat.accepted) == (
        "chat", 5, (5, 4, 4), (5, 3, 2), (3, 2, 1),
    )  # fmt: skip
    assert (steps.batch_min, steps.k, steps.request_steps, steps.seconds, steps.tokens) == (2, 3, 6, 0.03, 12)


def test_without_a_valid_token_the_rest_is_read() -> None:
    """`measured` is absent then."""
    document = {key: value for key, value in DOCUMENT.items() if key != "measured"}
    assert read(document).measured is None


def test_a_plugin_that_does_not_count_prompts_yet_is_read() -> None:
    """All its steps are without."""
    document = json.loads(json.dumps(DOCUMENT))
    del document["measured"]["steps"][0]["prompt_tokens"]
    assert read(document).measured.steps[0].prompt_tokens == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["protocol", "boot_id", "generation", "schedule", "writable", "max_num_seqs"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    """Then it is not the plugin, or another version of it."""
    message = refused(json.dumps({key: value for key, value in DOCUMENT.items() if key != field})).message
    assert f"({field}: " in message
    assert "same version" in message


def test_another_protocol_is_refused_with_both_versions() -> None:
    """Words may mean something else in it."""
    assert "speaks protocol 2, this sidecar speaks 1" in refused(json.dumps(DOCUMENT | {"protocol": 2})).message


@pytest.mark.parametrize(
    "change",
    [
        {"k_max": -1},
        {"k_max": 5000},
        {"generation": -1},
        {"generation": 2**60},
        {"max_num_seqs": 0},
        {"schedule": [[0, 4, 1]]},
        {"schedule": [[1, 4]]},
        {"schedule": [[1, 4, -1]]},
        {"schedule": [[1, 1, 1]] * (ENTRIES_MAX + 1)},
        {"expires_in_seconds": -1},
        {"owner": "x" * 257},
        {"measured": {"workloads": [{"name": "x" * 257, "drafts": 0, "drafted": [], "judged": [], "accepted": []}]}},
        {"measured": {"workloads": [DOCUMENT["measured"]["workloads"][0] | {"drafts": -1}]}},
        {"measured": {"workloads": [DOCUMENT["measured"]["workloads"][0] | {"judged": [1, -1, 0]}]}},
        {"measured": {"steps": [DOCUMENT["measured"]["steps"][0] | {"seconds": 1e30}]}},
    ],
)
def test_values_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    """Out of range, too long, too many."""
    refused(json.dumps(DOCUMENT | change))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
@pytest.mark.parametrize("field", ["expires_in_seconds", "generation", "seconds", "drafts"])
def test_numbers_that_are_none_are_refused(number: str, field: str) -> None:
    """They would turn all that is learnt from them into none."""
    start, _, rest = json.dumps(DOCUMENT).partition(f'"{field}": ')
    end = min(rest.index(sign) for sign in ",}" if sign in rest)
    refused(f'{start}"{field}": {number}{rest[end:]}')


@pytest.mark.parametrize(
    "body", ["", "null", "[]", "{}", "<html>", "[" * 100_000, '{"a":' * 50_000, "\x00", "vllm:x 1"]
)
def test_what_is_no_document_is_refused(body: str) -> None:
    """An ingress's page, a metrics page, nothing at all."""
    refused(body)


HOSTILE: Final = 'two\nlines\x1b[31m\u202e\u0000"\\'


def test_hostile_strings_are_made_plain() -> None:
    """They end up in a log, in a terminal and on a page."""
    document = json.loads(json.dumps(DOCUMENT))
    document |= dict.fromkeys(("owner", "method", "read_only_because"), HOSTILE)
    document["measured"]["workloads"][0]["name"] = HOSTILE
    found = read(document)
    assert found.measured is not None
    for text in (found.owner, found.method, found.read_only_because, found.measured.workloads[0].name):
        assert text is not None
        assert text.isprintable()
        assert text.startswith("two\\nlines")


def test_an_owner_is_kept_whole() -> None:
    """It is compared with one's own name, which may have 128 characters."""
    assert read(DOCUMENT | {"owner": "o" * 128}).owner == "o" * 128


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
COUNTS = st.lists(st.floats() | st.integers(), max_size=4)
WORKLOADS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=4), "drafts": st.floats() | st.integers(),
         "drafted": COUNTS, "judged": COUNTS, "accepted": COUNTS}
    ), max_size=3,
)  # fmt: skip
STEPS = st.lists(
    st.fixed_dictionaries(
        dict.fromkeys(("steps", "request_steps", "seconds", "tokens", "prompt_tokens"), st.floats() | st.integers(0, 9))
        | {"batch_min": st.integers(-1, 9), "batch_max": st.integers(-1, 9), "k": st.integers(-1, 9)}
    ), max_size=3,
)  # fmt: skip
MEASURED = JSON | st.fixed_dictionaries({"workloads": WORKLOADS | JSON, "steps": STEPS | JSON})
ODD = st.dictionaries(st.sampled_from(sorted(DOCUMENT)), JSON | MEASURED, max_size=3)


@given(st.one_of(JSON, ODD.map(lambda odd: DOCUMENT | odd)))
def test_any_json_is_a_state_or_a_refusal(document: Any) -> None:
    """Never anything else; and whatever is taken is plain."""
    with suppress(ObserveError):
        found = read(document)
        assert (found.owner or "").isprintable()
        assert (found.method or "").isprintable()


@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_answer_with_any_status_is_a_state_or_a_refusal(body: bytes, status: int) -> None:
    """What the loop gets to see of it, through the same client as over a port."""
    source = PluginSource("http://simulated", Fetcher(pools=_Says(body, status)))
    with pytest.raises(ObserveError) as caught:
        source.read()
    assert caught.value.reason in ACTING_FAILED
    assert caught.value.message.isprintable()


class _Says(PoolManager):
    """Answers with a body and a status."""

    def __init__(self, body: bytes, status: int) -> None:
        super().__init__()
        self._body, self._status = body, status

    def urlopen(self, *_: Any, **__: Any) -> HTTPResponse:
        """The answer."""
        return HTTPResponse(BytesIO(self._body), status=self._status, preload_content=False)


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        (404, '{"detail": "Not Found"}', Reason.PLUGIN_MISSING, "VLLM_PLUGINS"),
        (401, '{"error": "this needs a token"}', Reason.PLUGIN_REFUSES, "this needs a token"),
        (403, '{"error": "no token file."}', Reason.PLUGIN_REFUSES, "AK_VLLM_TOKEN_FILE"),
        (409, '{"error": "somebody holds it"}', Reason.PLUGIN_CONFLICT, "somebody holds it."),
        (413, '{"error": "too large"}', Reason.PLUGIN_REJECTS, "too large."),
        (422, '{"error": "k 9 is above 5"}', Reason.PLUGIN_REJECTS, "k 9 is above 5."),
        (503, '{"error": "still starting"}', Reason.PLUGIN_UNREACHABLE, "still starting."),
        (504, "<html>", Reason.PLUGIN_UNREACHABLE, "no reason given."),
        (500, '{"error": {"deep": []}}', Reason.PLUGIN_UNREACHABLE, "no reason given."),
        (302, '{"error": "\\u001b[2J\\n"}', Reason.PLUGIN_UNREACHABLE, "\\x1b[2J\\n."),
    ],
)
def test_a_refusal_says_why_and_what_to_do(status: int, body: str, reason: Reason, words: str) -> None:
    """In the plugin's own words where it has some."""
    error = refusal(status, body, WHERE)
    assert error.reason is reason
    assert words in error.message
    assert error.message.isprintable()
    assert error.message.endswith(".")
    assert ".." not in error.message.removesuffix(")")


@given(JSON | st.recursive(st.just("deep"), lambda inner: st.lists(inner, min_size=1, max_size=1), max_leaves=40))
def test_whatever_comes_with_a_refusal_it_is_one_sentence(said: Any) -> None:
    """Not only text."""
    for body in (json.dumps(said), json.dumps({"error": said}), '{"error":' * 900 + "1" + "}" * 900):
        error = refusal(409, body, WHERE)
        assert error.message.isprintable()
        assert len(error.message) < 600


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:8000", "http://h:8000" + PATH),
        ("http://h:8000/", "http://h:8000" + PATH),
        ("http://h:8000/metrics", "http://h:8000" + PATH),
        ("http://h:8000/behind/a/proxy/metrics/?x=1#y", "http://h:8000/behind/a/proxy" + PATH),
        ("https://[::1]:8000", "https://[::1]:8000" + PATH),
    ],
)
def test_the_resource_is_beside_the_metrics(url: str, expected: str) -> None:
    """Whichever of the two addresses was given."""
    assert plugin_url(url) == expected


def source(url: str, tmp_path: Path, **options: Any) -> PluginSource:
    """The plugin of a server, asked with a token."""
    token = tmp_path / "token"
    token.write_text("a-token-of-the-operators\n", "utf-8")
    fields: dict[str, Any] = {"timeout_seconds": 10.0, "token_file": token} | options
    return PluginSource(url, Fetcher(**fields))


def test_it_is_asked_with_its_token(tmp_path: Path) -> None:
    """Over a port."""
    with Loopback(answer(json.dumps(DOCUMENT))) as server:
        assert source(server.url, tmp_path).read() == read(DOCUMENT)
    assert server.requests[0].startswith(f"GET {PATH} HTTP/1.1\r\n")
    assert "Authorization: Bearer a-token-of-the-operators" in server.requests[0].splitlines()


def test_a_redirect_is_not_followed_and_takes_no_token_along(tmp_path: Path) -> None:
    """Whoever can redirect could collect tokens."""
    with Loopback(answer("{}")) as elsewhere:
        moved = answer("", "307 Temporary Redirect", f"Location: {elsewhere.url}/")
        with Loopback(moved) as server, pytest.raises(ObserveError) as caught:
            source(server.url, tmp_path).read()
    assert caught.value.reason is Reason.PLUGIN_UNREACHABLE
    assert elsewhere.requests == []


def test_each_way_of_not_being_answered_is_a_failure_of_the_plugin(tmp_path: Path) -> None:
    """Not of the server's page, which may be well: alerts are written against these names."""
    large = answer("x" * 5000)
    with Loopback(hang, large, answer(b"\xff"), b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{") as server:
        for options, reason in (
            ({"timeout_seconds": 0.3}, Reason.PLUGIN_UNREACHABLE),
            ({"limit_bytes": 2000}, Reason.PLUGIN_ANSWER_BAD),
            ({}, Reason.PLUGIN_ANSWER_BAD),
            ({}, Reason.PLUGIN_UNREACHABLE),
            ({"token_file": tmp_path / "none", "peer": PLUGIN}, Reason.PLUGIN_REFUSES),
        ):
            with pytest.raises(ObserveError) as caught:
                source(server.url, tmp_path, **options).read()
            assert caught.value.reason is reason
            assert reason in ACTING_FAILED
    assert "--plugin-token-file" in caught.value.message
    with pytest.raises(ObserveError) as caught:
        source(f"http://127.0.0.1:{unused_port()}", tmp_path).read()
    assert caught.value.reason is Reason.PLUGIN_UNREACHABLE


# Between two answers.


def counted(change: dict[str, Any] | None = None, **top: Any) -> Speculation:
    """A state with counts, some of them changed."""
    document = json.loads(json.dumps(DOCUMENT)) | top
    document["measured"] |= change or {}
    return read(document)


def workload(name: str, scale: int) -> dict[str, Any]:
    """A workload that has counted so much."""
    return {
        "name": name,
        "drafts": 5 * scale,
        "drafted": [5 * scale, 4 * scale, 4 * scale],
        "judged": [5 * scale, 3 * scale, 2 * scale],
        "accepted": [3 * scale, 2 * scale, scale],
    }


def steps(k: int, scale: int, prompt_tokens: int = 0, batch: int = 2) -> dict[str, Any]:
    """A class of steps that has counted so much."""
    return {
        "batch_min": batch,
        "batch_max": batch,
        "k": k,
        "steps": scale,
        "request_steps": batch * scale,
        "seconds": scale / 64,
        "tokens": 4 * scale,
        "prompt_tokens": prompt_tokens,
    }


def test_what_was_counted_in_between_is_the_difference() -> None:
    """Classes and workloads that are new count from nothing; what did not grow is left out."""
    before = counted({"workloads": [workload("a", 2), workload("b", 3)], "steps": [steps(3, 4), steps(3, 2, 90)]})
    after = counted(
        {
            "workloads": [workload("a", 5), workload("b", 3), workload("c", 1)],
            "steps": [steps(3, 4), steps(3, 5, 300), steps(0, 7)],
        }
    )
    assert (
        measured_between(before, after)
        == read(
            DOCUMENT
            | {
                "measured": {
                    "workloads": [workload("a", 3), workload("c", 1)],
                    "steps": [steps(3, 3, 210), steps(0, 7)],
                }
            }
        ).measured
    )


def test_steps_beside_prompts_are_not_taken_for_those_without() -> None:
    """A class beside prompts that is new counts from nothing, although there is one without."""
    before = counted({"steps": [steps(3, 9)]})
    after = counted({"steps": [steps(3, 9), steps(3, 2, 50)]})
    found = measured_between(before, after)
    assert found is not None
    assert [(each.steps, each.prompt_tokens) for each in found.steps] == [(2, 50)]


def test_nothing_is_taken_across_a_restart_nor_without_counts() -> None:
    """Two starts have nothing to do with each other."""
    nothing = read({key: value for key, value in DOCUMENT.items() if key != "measured"})
    assert measured_between(counted(), counted(boot_id="another")) is None
    assert measured_between(None, counted()) is measured_between(counted(), None) is None
    assert measured_between(nothing, counted()) is measured_between(counted(), nothing) is None
    assert measured_between(counted(), counted()) == Measured()


def test_when_a_workload_lost_its_slot_nothing_is_taken() -> None:
    """All that it ever counted moved into another: that would look like a burst of it."""
    before = counted({"workloads": [workload("a", 50), workload("other", 1)]})
    after = counted({"workloads": [workload("b", 1), workload("other", 51)]})
    assert measured_between(before, after) is None


@pytest.mark.parametrize("part", ["drafts", "drafted", "judged", "accepted"])
def test_a_count_of_a_workload_that_fell_makes_all_of_it_void(part: str) -> None:
    """The documents do not belong together."""
    late = workload("chat", 9)
    late[part] = 0 if part == "drafts" else [0, 99, 99]
    assert measured_between(counted({"workloads": [workload("chat", 2)]}), counted({"workloads": [late]})) is None


@pytest.mark.parametrize("part", ["steps", "request_steps", "seconds", "tokens"])
def test_a_count_of_steps_that_fell_makes_all_of_it_void(part: str) -> None:
    """Whichever it is."""
    late = steps(3, 9) | {part: 0}
    assert measured_between(counted({"steps": [steps(3, 2)]}), counted({"steps": [late]})) is None


@pytest.mark.parametrize(
    "late",
    [
        {"workloads": [workload("chat", 9) | {"judged": [45, 60, 18]}]},
        {"workloads": [workload("chat", 9) | {"accepted": [46, 18, 9]}]},
        {"workloads": [workload("chat", 9) | {"drafts": 1}]},
        {"workloads": [workload("chat", 9) | {"drafts": 1e15}]},
        {"workloads": [workload("chat", 9) | {"accepted": [27, 18]}]},
        {"steps": [steps(3, 9) | {"request_steps": 900}]},
        {"steps": [steps(3, 9) | {"seconds": 1e9}]},
        {"steps": [steps(3, 9) | {"seconds": 1e-300}]},
        {"steps": [steps(3, 9) | {"tokens": 1e12}]},
        {"steps": [steps(3, 1) | {"steps": 0.1, "request_steps": 0.2}]},
    ],
)
def test_counts_that_no_engine_could_have_are_not_taken(late: dict[str, Any]) -> None:
    """More accepted than judged, a step of years: whatever answers there, the page tells what it can."""
    empty = counted({"workloads": [], "steps": []})
    assert measured_between(empty, counted({"workloads": [workload("chat", 9)], "steps": [steps(3, 9)]}))
    assert measured_between(empty, counted({"workloads": [], "steps": []} | late)) is None


COUNT = st.integers(0, 4).map(float)
BY_POSITION = st.lists(COUNT, max_size=2).map(tuple)
COUNTED = st.builds(
    Measured,
    st.lists(
        st.builds(WorkloadCounts, st.sampled_from("ab"), COUNT, BY_POSITION, BY_POSITION, BY_POSITION), max_size=3
    ).map(tuple),
    st.lists(
        st.builds(StepCounts, st.integers(1, 2), st.just(2), st.integers(0, 1), COUNT, COUNT, COUNT, COUNT, COUNT),
        max_size=3,
    ).map(tuple),
)


@given(COUNTED, COUNTED)
def test_what_was_counted_in_between_is_never_negative(early: Measured, late: Measured) -> None:
    """Whatever a plugin tells: names twice, positions more or fewer, counts that fall."""
    state = read(DOCUMENT)
    found = measured_between(replace(state, measured=early), replace(state, measured=late)) or Measured()
    for told in found.workloads:
        assert told.drafts > 0
        assert min((*told.drafted, *told.judged, *told.accepted), default=0) >= 0
    for each in found.steps:
        assert each.steps > 0
        assert min(each.request_steps, each.seconds, each.tokens, each.prompt_tokens) >= 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", [[each, each, each % 2] for each in range(1, RANGES_MAX + 2)]),
        ("launch_schedule", [[1, SEQUENCES_MAX + 1, 2]]),
        ("max_num_seqs", SEQUENCES_MAX + 1),
    ],
)
def test_more_than_any_engine_has_is_refused(field: str, value: object) -> None:
    """A pass looks at every range and every batch: who tells of a million would stop it."""
    assert field in refused(json.dumps(DOCUMENT | {field: value})).message
