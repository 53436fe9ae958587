"""What Prometheus, or what stands in its place, can answer: used, or refused with its cause and the remedy."""

import base64
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, answer, drip, flood, hang, unused_port
from pages import after, page, snapshot
from store_double import URL, StoreDouble

from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.prometheus import history
from controller.observe.prometheus.answer import Answer, read
from controller.observe.prometheus.client import PROMETHEUS, Access, Client
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.history import History
from controller.observe.prometheus.source import LiveSource
from controller.reason import Reason
from controller.simulator.inprocess import InProcessPools

NOW = 1.8e9
FIRST = after(snapshot())


@pytest.fixture
def store() -> StoreDouble:
    """Two pods in two namespaces, two scrapes each."""
    found = StoreDouble(NOW)
    for pod in "ab":
        for shown, at in ((FIRST, NOW - 40), (after(FIRST), NOW - 10)):
            found.scrape(page(shown), at, pod=pod, namespace=f"llm-{pod}", job="vllm")
    return found


def refusal(url: str, **options: Any) -> ObserveError:
    """Why a store at an address could not be read."""
    history = History(Client(url, Fetcher(peer=PROMETHEUS, **options), query_timeout_seconds=7))
    with pytest.raises(ObserveError) as caught:
        history.read(NOW - 60, NOW)
    assert caught.value.message.isprintable()
    assert caught.value.message.endswith(".")
    assert "vLLM" not in caught.value.message
    return caught.value


def said(status: str, kind: str, error: str) -> bytes:
    """Prometheus' own form of an error."""
    return answer(json.dumps({"status": "error", "errorType": kind, "error": error}), status)


def test_only_the_servers_that_match_are_read(store: StoreDouble) -> None:
    """And every query is a form that carries the selector, so that it may be long."""
    span = store.history('namespace="llm-b"').read(NOW - 60, NOW)
    assert [dict(each.labels)["pod"] for each in span.tracks] == ["b"]
    assert [len(each.times) for each in span.tracks] == [2]
    assert all('namespace="llm-b"' in form["query"] for form in store.forms)
    assert store.headers["HTTP_USER_AGENT"] == "adaptive-k"


def test_the_number_of_queries_does_not_grow_with_the_fleet(store: StoreDouble) -> None:
    """A few metrics each, and none for a pod."""
    few = store.history().read(NOW - 60, NOW).queries
    for pod in range(20):
        store.scrape(page(FIRST), NOW - 10, pod=str(pod))
    many = store.history().read(NOW - 60, NOW)
    assert len(many.tracks) == 22
    assert few == many.queries == 5


def test_the_next_queries_are_asked_before_an_answer_is_read_and_no_more_than_two_at_once(
    store: StoreDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store works while the answer before is taken apart; and it is asked few things at a time."""
    under_way = threading.Semaphore(2)
    seen: list[int] = []

    def few(_: dict[str, str]) -> None:
        assert under_way.acquire(blocking=False)
        time.sleep(0.01)  # so that another query would be met
        under_way.release()

    def reading(client: Client, fetched: str) -> Answer:
        until = time.monotonic() + 5
        while len(store.forms) < min(5, len(seen) + 3) and time.monotonic() < until:
            time.sleep(0.001)
        seen.append(len(store.forms))
        return read(client, fetched)

    store.fails = few
    monkeypatch.setattr(history, "read", reading)
    assert len(store.history().read(NOW - 60, NOW).tracks) == 2
    assert seen == [3, 4, 5, 5, 5]


def test_an_answer_that_cannot_be_read_leaves_no_query_behind(store: StoreDouble) -> None:
    """Whoever asks again must not meet those that were asked ahead."""

    def slow_and_bad(_: dict[str, str]) -> tuple[int, str]:
        time.sleep(0.05)
        return 200, "{}"

    store.fails = slow_and_bad
    with pytest.raises(ObserveError):
        store.history().read(NOW - 60, NOW)
    assert len(store.forms) == 3
    assert not [each for each in threading.enumerate() if each.name == "ahead"]


def test_credentials_come_from_files_and_go_with_every_query(tmp_path: Path, store: StoreDouble) -> None:
    """Read anew each time, so that they can rotate; the tenant goes with them."""
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("ops\n", "utf-8")
    password.write_text("s3cret:x\n", "utf-8")
    fetcher = Fetcher(pools=InProcessPools(store.application), peer=PROMETHEUS)
    client = Client(URL, fetcher, Access(user, password, "team-a"))
    assert client.now() == NOW
    basic = base64.b64encode(b"ops:s3cret:x").decode()
    assert store.headers["HTTP_AUTHORIZATION"] == f"Basic {basic}"
    assert store.headers["HTTP_X_SCOPE_ORGID"] == "team-a"
    password.write_text("other", "utf-8")
    client.now()
    assert store.headers["HTTP_AUTHORIZATION"] != f"Basic {basic}"
    password.unlink()
    with pytest.raises(ObserveError, match="--password-file") as caught:
        client.now()
    assert caught.value.reason is Reason.FILE_UNREADABLE


SAID = {
    "wrong selector": (said("400 Bad Request", "bad_data", "parse error: x"), Reason.QUERY_REFUSED, "parse error"),
    "slow query": (
        said("503 Service Unavailable", "timeout", "query timed out in query execution"),
        Reason.STORE_TIMEOUT,
        "--query-timeout-seconds",
    ),
    "gateway": (answer("<html>504 Gateway Time-out</html>", "504 Gateway Timeout"), Reason.STORE_TIMEOUT, "504"),
    "no rights": (answer("Unauthorized\n", "401 Unauthorized"), Reason.STORE_REFUSES, "--username-file"),
    "no tenant": (answer("no org id\n", "401 Unauthorized"), Reason.STORE_REFUSES, "no org id"),
    "broken": (said("500 Internal Server Error", "internal", "block corrupt"), Reason.STORE_ERROR, "block corrupt"),
    "not there": (answer("404 page not found\n", "404 Not Found"), Reason.STORE_ERROR, "without /api/v1"),
    "login page": (answer("<html>Sign in</html>"), Reason.STORE_ANSWER_BAD, "login page"),
    "no json": (answer("{"), Reason.STORE_ANSWER_BAD, "begins '{'"),
    "deep json": (answer("[" * 100_000), Reason.STORE_ANSWER_BAD, "begins"),
    "other json": (answer('{"hello": 1}'), Reason.STORE_ANSWER_BAD, "hello"),
    "a list": (answer("[1]"), Reason.STORE_ANSWER_BAD, "[1]"),
    "a string": (
        answer('{"status":"success","data":{"resultType":"string","result":[1,"x"]}}'),
        Reason.STORE_ANSWER_BAD,
        "type string",
    ),
    "no values": (
        answer('{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}}]}}'),
        Reason.STORE_ANSWER_BAD,
        "not as documented",
    ),
    "words for values": (
        answer('{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}'),
        Reason.STORE_ANSWER_BAD,
        "not as documented",
    ),
    "binary": (answer(b"\xff\xfe"), Reason.STORE_ANSWER_BAD, "not text"),
    "cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", Reason.STORE_UNREACHABLE, "middle"),
    "redirect": (answer("", "302 Found", "Location: https://login.test/"), Reason.STORE_ERROR, "302"),
}


@pytest.mark.parametrize("case", SAID)
def test_a_bad_answer_is_refused_with_its_cause(case: str) -> None:
    """By name, with the store's own words and what to do."""
    text, reason, words = SAID[case]
    with Loopback(text) as server:
        found = refusal(server.url)
    assert (found.reason, words in found.message) == (reason, True), found.message


TOO_MUCH = (
    ("422 Unprocessable", "query processing would load too many samples into memory in query execution"),
    ("422 Unprocessable", "the query exceeded the maximum number of chunks (limit: 2000000 chunks)"),
    ("422 Unprocessable", "cannot select more than -search.maxSamplesPerQuery=1000000000 samples"),
)


@pytest.mark.parametrize(("status", "words"), TOO_MUCH)
def test_a_query_that_is_too_much_is_named(status: str, words: str) -> None:
    """As Prometheus, Mimir and VictoriaMetrics say it."""
    with Loopback(said(status, "execution", words)) as server:
        found = refusal(server.url)
    assert found.reason is Reason.STORE_LIMIT
    assert "narrow --match" in found.message


def test_what_is_too_much_at_once_is_asked_for_in_parts(store: StoreDouble) -> None:
    """Down to a minute; the whole is the same."""

    def limit(form: dict[str, str]) -> tuple[int, str] | None:
        seconds = float(form["query"].rpartition("[")[2].removesuffix("ms]")) / 1e3
        return (422, '{"status":"error","error":"too many samples"}') if seconds > 150 else None

    whole = store.history().read(NOW - 480, NOW)
    store.fails = limit
    parts = store.history().read(NOW - 480, NOW)
    assert parts.queries == 4 * whole.queries
    for one, other in zip(whole.tracks, parts.tracks, strict=True):
        assert one.times.tolist() == other.times.tolist()
        assert one.values.tolist() == other.values.tolist()


@pytest.mark.parametrize(("act", "reason"), [(hang, Reason.STORE_TIMEOUT), (drip, Reason.STORE_TIMEOUT)])
def test_a_store_that_does_not_answer_in_time_is_given_up(act: Any, reason: Reason) -> None:
    """However slowly it drips."""
    with Loopback(act) as server:
        found = refusal(server.url, timeout_seconds=0.3)
    assert found.reason is reason
    assert "--query-timeout-seconds" in found.message


def test_a_store_that_is_down_is_named() -> None:
    """With what to look at."""
    found = refusal(f"http://127.0.0.1:{unused_port()}")
    assert found.reason is Reason.STORE_UNREACHABLE
    assert "check that Prometheus runs" in found.message


def test_an_answer_beyond_the_limit_is_not_held_in_memory() -> None:
    """Nor is it taken in part."""
    with Loopback(flood) as server:
        found = refusal(server.url, limit_bytes=100_000)
    assert found.reason is Reason.STORE_LIMIT
    assert "--answer-limit-bytes" in found.message


@pytest.fixture
def empty(store: StoreDouble) -> LiveSource:
    """A source whose selector matches nothing."""
    return LiveSource(store.history('namespace="lmm"'), Fleet())


def test_a_selector_that_matches_nothing_is_told_what_there_is(empty: LiveSource) -> None:
    """A typing error is then seen at once."""
    with pytest.raises(ObserveError, match=r"llm-a.*llm-b") as caught:
        empty.read()
    assert caught.value.reason is Reason.NOTHING_MATCHES
    assert "--match" in caught.value.message


def test_a_store_without_vllm_is_told_as_such() -> None:
    """Then it is the scraping, or the tenant."""
    with pytest.raises(ObserveError, match="no vLLM series at all") as caught:
        LiveSource(StoreDouble(NOW).history(), Fleet()).read()
    assert caught.value.reason is Reason.NOTHING_MATCHES


def test_old_samples_are_told_from_none(store: StoreDouble) -> None:
    """Scraping stopped, or clocks differ: with the age of what there is."""
    store.now = NOW + 1000
    with pytest.raises(ObserveError, match="1010 s old") as caught:
        LiveSource(store.history(), Fleet()).read()
    assert caught.value.reason is Reason.SAMPLES_OLD


def test_our_own_clock_plays_no_part(store: StoreDouble) -> None:
    """Every query is at the store's time; this test's machine is years away from it."""
    LiveSource(store.history(), Fleet()).read()
    assert {float(form["time"]) for form in store.forms if "time" in form} == {NOW}


@pytest.mark.parametrize("told", ["NaN", "Infinity", "-1", "1e300", '"nan"'])
def test_a_clock_that_shows_no_time_is_refused(told: str) -> None:
    """All that is asked for is reckoned from it."""
    body = f'{{"status": "success", "data": {{"resultType": "scalar", "result": [{told}, "0"]}}}}'
    with Loopback(answer(body.encode())) as server, pytest.raises(ObserveError) as caught:
        Client(server.url, Fetcher(peer=PROMETHEUS)).now()
    assert caught.value.reason is Reason.STORE_ANSWER_BAD
    assert "time() is" in caught.value.message


@pytest.mark.parametrize("name", ["\\ud800", "x" * 20_000])
def test_labels_that_no_metric_of_ours_could_tell_are_refused(name: str) -> None:
    """Half a surrogate pair, which JSON allows, and more than any server has."""
    metric = f'{{"__name__": "vllm:x", "model_name": "{name}"}}'
    body = f'{{"data": {{"resultType": "vector", "result": [{{"metric": {metric}, "value": [1, "2"]}}]}}}}'
    with pytest.raises(ObserveError) as caught:
        read(Client("http://127.0.0.1:1", Fetcher(peer=PROMETHEUS)), body)
    assert caught.value.reason is Reason.STORE_ANSWER_BAD


UNUSABLE = {
    "a time that is none": '[[1, "2"], [NaN, "3"]]',
    "a time without end": '[[Infinity, "3"]]',
    "a time that is a list": '[[[1], "2"]]',
    "a time of 400 digits": f'[[1{"0" * 400}, "2"]]',
    "no sample": "[]",
    "no value": '[[1, "2"], [3]]',
}


@pytest.mark.parametrize("values", UNUSABLE.values(), ids=UNUSABLE)
def test_samples_that_no_store_has_are_refused(values: str) -> None:
    """Without a time, or none at all; one series spoils the answer, for who knows what else is wrong."""
    sound = '{"metric": {"__name__": "vllm:x", "model_name": "m"}, "values": [[1, "2"], [2, "NaN"]]}'
    body = '{"data": {"resultType": "matrix", "result": [%s, {"metric": {}, "values": %s}]}}'
    client = Client("http://127.0.0.1:1", Fetcher(peer=PROMETHEUS))
    assert [len(each.times) for each in read(client, body % (sound, '[[7, "1"]]')).series] == [2, 1]
    with pytest.raises(ObserveError, match="not as documented") as caught:
        read(client, body % (sound, values))
    assert caught.value.reason is Reason.STORE_ANSWER_BAD


@pytest.mark.parametrize("spelt", [r"tok\/en+with/slashes", r"tok\u002fen\u002Bwith\/slashes"])
def test_a_token_that_a_store_repeats_is_told_to_nobody_however_it_is_spelt(spelt: str, tmp_path: Path) -> None:
    """JSON has several spellings of one text."""
    token = tmp_path / "token"
    token.write_text("tok/en+with/slashes")
    body = f'{{"status": "error", "errorType": "unauthorized", "error": "no user has {spelt}"}}'
    with Loopback(answer(body.encode(), "401 Unauthorized")) as server:
        found = refusal(server.url, token_file=token)
    assert "no user has [hidden]" in found.message
