"""What a store of metrics kept of many servers becomes the windows that a scrape of each would have given, added up."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from fakes import ManualClock, RecordingActuator
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_scrapes import KeptScrapes
from pages import CREATED, after, snapshot

from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.observe.errors import ObserveError
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.grouping import EACH, Grouping
from controller.observe.prometheus.history import Gathered
from controller.observe.prometheus.last_window import LastWindow
from controller.observe.prometheus.source import LiveSource, PastSource
from controller.observe.snapshot import Snapshot
from controller.observe.window import Window, between
from controller.reason import Reason

T0 = 1.8e9
STEPS = "iteration_tokens_total_count"
BY_NAMESPACE = Grouping(("namespace",))


def life(start: Snapshot, *steps: dict[str, Any]) -> list[Snapshot]:
    """An engine's pages: the first, and one after each piece of traffic."""
    pages = [start]
    for each in steps:
        pages.append(after(pages[-1], **each))
    return pages


STEADY = life(snapshot(), *[{"request_steps": 1000}] * 9)


def stored(
    pages: Sequence[Snapshot], store: KeptScrapes | None = None, every: float = 30.0, **labels: str
) -> KeptScrapes:
    """A store that scraped an engine, the first time at T0."""
    store = store or KeptScrapes()
    for number, each in enumerate(pages):
        at = T0 + number * every
        store.scrape(each, at, **{"pod": "a", "namespace": "llm", **labels})
        store.now_seconds = max(store.now_seconds, at)
    return store


def past(store: KeptScrapes, *instants: float, grouping: Grouping = EACH, **more: Any) -> list[tuple[Snapshot, ...]]:
    """The rows at each instant, in seconds after T0."""
    source = PastSource(store, Fleet(grouping), [T0 + each for each in instants], **more)
    return [source.read() for _ in instants]


def window(store: KeptScrapes, since: float, until: float, grouping: Grouping = EACH) -> Window:
    """What the only row did between two instants."""
    (before,), (later,) = past(store, since, until, grouping=grouping)
    return between(before, later)


def refusal(store: KeptScrapes, since: float, until: float, grouping: Grouping = EACH) -> ObserveError:
    """Why the only row has no window."""
    with pytest.raises(ObserveError) as caught:
        window(store, since, until, grouping)
    assert caught.value.message.isprintable()
    return caught.value


def test_a_window_of_the_store_is_the_window_of_the_same_two_scrapes() -> None:
    """Every field, to the last digit that adding up leaves."""
    direct = between(replace(STEADY[2], at_seconds=60.0), replace(STEADY[8], at_seconds=240.0))
    assert window(stored(STEADY), 60, 240) == direct


def test_an_instant_between_two_scrapes_takes_the_one_before_it() -> None:
    """So that windows join: the next one begins with the same scrape."""
    assert window(stored(STEADY), 71, 249) == window(stored(STEADY), 60, 240)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 270), min_size=2, max_size=8, unique=True).map(sorted), st.floats(20, 300))
def test_windows_add_up_to_the_whole_however_they_are_cut(instants: list[int], chunk: float) -> None:
    """Also when the store is asked chunk by chunk."""
    rows = [row for (row,) in past(stored(STEADY), *instants, chunk_seconds=chunk)]
    first, last = instants[0] // 30, instants[-1] // 30
    total = rows[-1].generated_tokens - rows[0].generated_tokens
    assert total == STEADY[last].generated_tokens - STEADY[first].generated_tokens
    seconds = (rows[-1].at_seconds or 0) - (rows[0].at_seconds or 0)
    assert seconds == pytest.approx(30 * (last - first))


COUNTS = st.lists(st.integers(0, 5000), min_size=2, max_size=10)


@settings(max_examples=25)
@given(st.lists(COUNTS, min_size=1, max_size=3), st.booleans())
def test_counters_of_a_row_never_fall_whatever_its_servers_do(lives: list[list[int]], created: bool) -> None:
    """Restarts at any scrape, seen by a falling counter or only by its creation time."""
    store = KeptScrapes()
    for number, tokens in enumerate(lives):
        born = CREATED
        pages = []
        for before, each in zip([0, *tokens], tokens, strict=False):
            born += each < before
            base = snapshot(created_seconds=born if created else CREATED)
            pages.append(after(base, request_steps=each))
        stored(pages, store, pod=f"pod-{number}")
    rows = past(store, *range(0, 330, 30), grouping=BY_NAMESPACE)
    for (earlier,), (later,) in pairwise(rows):
        assert later.generated_tokens >= earlier.generated_tokens
        assert later.latency_seconds >= earlier.latency_seconds
        assert all(b >= a for a, b in zip(earlier.accepted_by_position, later.accepted_by_position, strict=True))


def test_a_restart_costs_the_interval_in_which_it_fell_and_no_more() -> None:
    """What was counted before and after it is kept; the time goes with it."""
    born = snapshot(created_seconds=CREATED + 100)
    store = stored([*STEADY[:5], *life(born, *[{"request_steps": 100}] * 4)])
    found = window(store, 0, 270)
    assert found.steps == STEADY[4].steps + 4 * 100 / 4
    assert found.seconds == 8 * 30


def test_a_restart_that_the_counters_have_overtaken_is_seen_by_their_creation_time() -> None:
    """The fast server after it counted more than the one before."""
    fast = life(after(snapshot(created_seconds=CREATED + 100), request_steps=50_000), {"request_steps": 10})
    assert window(stored([*STEADY[:3], *fast]), 0, 120).steps == STEADY[2].steps + 10 / 4


def test_a_window_that_is_only_a_restart_is_refused_by_name() -> None:
    """It is neither idle nor negative."""
    store = stored([STEADY[9], snapshot(created_seconds=CREATED + 1)])
    assert refusal(store, 0, 30).reason is Reason.SERVER_RESTARTED


def test_a_server_that_comes_back_with_another_k_max_is_followed() -> None:
    """A rollout of a StatefulSet keeps the pod's name; its old positions end, and so does the row's memory."""
    short = life(snapshot(3, created_seconds=CREATED + 9), {"request_steps": 10}, {"request_steps": 10})
    rows = past(stored([*STEADY[:3], *short]), 0, 60, 120, 150)
    assert [row.k_max for (row,) in rows] == [4, 4, 3, 3]
    assert between(rows[2][0], rows[3][0]).steps == 10 / 4


def test_a_gap_in_the_scrapes_loses_nothing_unless_it_is_long() -> None:
    """Counters go on while nobody looks; after minutes of it the traffic may be quite another."""
    store = KeptScrapes()
    for number in (0, 1, 2, 6, 7):
        store.scrape(STEADY[number], T0 + 30 * number, pod="a")
    assert window(store, 0, 210).steps == STEADY[7].steps
    store = KeptScrapes()
    for number, at in ((0, 0), (1, 30), (5, 630), (6, 660)):
        store.scrape(STEADY[number], T0 + at, pod="a")
    assert window(store, 0, 660).steps == STEADY[2].steps


def test_pods_that_come_and_go_count_for_the_time_that_they_were_seen() -> None:
    """One took over from the other: the row's seconds are those of the clock, so that rates are right."""
    store = stored(STEADY[:6])
    for number in range(5, 10):
        again = replace(STEADY[number - 5], created_seconds=CREATED + 7)
        store.scrape(again, T0 + 30 * number, pod="b", namespace="llm")
    found = window(store, 0, 270, BY_NAMESPACE)
    assert found.steps == STEADY[5].steps + STEADY[4].steps
    assert found.seconds == 270


def test_a_pod_that_is_gone_for_minutes_is_no_row_any_more() -> None:
    """As in Prometheus, five minutes after its last sample."""
    store = stored(STEADY)
    stored(life(snapshot(created_seconds=CREATED + 1), *[{}] * 40), store, pod="b")
    assert [len(rows) for rows in past(store, 0, 500, 600)] == [2, 2, 1]


def test_a_window_at_whose_end_nobody_is_there_says_why() -> None:
    """Though there was somebody at its beginning, of whom there is no window."""
    with pytest.raises(ObserveError, match="Nothing at") as caught:
        past(stored(STEADY[:1]), 0, 700)
    assert caught.value.reason is Reason.NOTHING_MATCHES


def test_replicas_of_a_group_are_added_up_and_their_gauges_averaged() -> None:
    """So batch and step time come out as those of one replica."""
    store = stored(life(snapshot(), {"batch": 8.0, "step_seconds": 0.02}), pod="a")
    stored(life(snapshot(), {"batch": 2.0, "step_seconds": 0.01}), store, pod="b")
    found = window(store, 0, 30, BY_NAMESPACE)
    assert found.request_steps == 8000
    assert found.decode_batch == pytest.approx(8000 / (4000 / 8 + 4000 / 2))
    assert found.step_seconds == pytest.approx(0.015)
    assert found.running == 2.5  # of 0 and 8, 0 and 2: halves of both, averaged
    assert found.seconds == 30


def test_a_pass_in_which_only_some_replicas_were_scraped_has_the_rate_of_all() -> None:
    """Prometheus scrapes each at its own moment; over short passes one brings half a minute, the next another."""
    store = KeptScrapes()
    for pod, offset in (("a", 0), ("b", 10), ("c", 20)):
        for number, each in enumerate(STEADY):
            store.scrape(each, T0 + 30 * number + offset, pod=pod, namespace="llm")
    rows = past(store, *range(30, 250, 10), grouping=BY_NAMESPACE)
    tokens = STEADY[2].generated_tokens - STEADY[1].generated_tokens
    for (before,), (later,) in pairwise(rows[1:]):
        found = between(before, later)
        assert (found.generated_tokens, found.seconds) == (tokens, 10)


def test_rows_are_told_apart_by_model_even_when_it_is_not_named() -> None:
    """Two models in one namespace are two workloads."""
    store = stored(STEADY)
    stored([replace(each, model_name="other") for each in STEADY], store, pod="b")
    rows = past(store, 0, 270, grouping=BY_NAMESPACE)[1]
    assert [row.key for row in rows] == [("m", "", (("namespace", "llm"),)), ("other", "", (("namespace", "llm"),))]


def test_replicas_that_run_another_k_max_are_left_out_and_named() -> None:
    """One launch configuration a row; while a rollout is under way most of the replicas are it."""
    store = stored(STEADY, pod="a")
    stored(STEADY, store, pod="b")
    stored(life(snapshot(3), *[{}] * 9), store, pod="c")
    (row,) = past(store, 0, 270, grouping=BY_NAMESPACE)[1]
    assert row.k_max == 4
    assert row.replicas is not None
    assert (row.replicas.known, row.replicas.counted) == (3, 2)
    assert row.replicas.left_out == ((Reason.OTHER_K_MAX, 1),)
    assert "--group-by" in row.replicas.message


def test_two_servers_under_one_set_of_labels_are_found_out() -> None:
    """Their counters fall and are back in turn; what lies between is nobody's."""
    older = [after(each, request_steps=100_000) for each in STEADY]
    store = KeptScrapes()
    for number, (one, two) in enumerate(zip(STEADY, older, strict=True)):
        for at, each in ((0, one), (11, two)):
            named = replace(each, created_seconds=None)
            store.scrape(named, T0 + 30 * number + at, pod="a")
    found = refusal(store, 0, 270)
    assert found.reason is Reason.SERIES_SHARED
    assert "labels of its own" in found.message


def test_sentences_about_labels_end_however_long_these_are() -> None:
    """They go to the log, the page and the terminal."""
    older = [after(each, request_steps=100_000) for each in STEADY]
    store = KeptScrapes()
    for number, (one, two) in enumerate(zip(STEADY, older, strict=True)):
        for at, each in ((0, one), (11, two)):
            store.scrape(replace(each, created_seconds=None), T0 + 30 * number + at, pod="a", note="x" * 10_000)
    assert len(refusal(store, 0, 270).message) < 600
    many = stored(STEADY, None, 30.0, **{f"label_{number:04}": "x" for number in range(3000)})
    with pytest.raises(ObserveError, match="label_0017, label_0018, label_0019 and 2982 more") as caught:
        past(many, 0, 270, grouping=Grouping(("nmespace",)))
    assert len(caught.value.message) < 600


def test_one_look_at_a_shared_series_does_not_count_the_other_servers_height() -> None:
    """Before there is enough to be sure, the jump back up is no traffic."""
    older = after(STEADY[0], request_steps=100_000)
    pages = [replace(each, created_seconds=None) for each in (older, STEADY[0], after(older, request_steps=10))]
    assert refusal(stored(pages), 0, 60).reason is Reason.SERVER_RESTARTED


def test_a_server_that_is_scraped_by_two_jobs_counts_once() -> None:
    """The same process at the same address."""
    store = stored(STEADY, pod="a", instance="10.0.0.1:8000", job="pods")
    stored(STEADY, store, pod="a", instance="10.0.0.1:8000", job="services")
    (row,) = past(store, 0, 270, grouping=BY_NAMESPACE)[1]
    assert row.steps == STEADY[9].steps
    assert row.replicas is not None
    assert row.replicas.left_out == ((Reason.SCRAPED_TWICE, 1),)


def test_a_scrape_of_which_only_a_part_has_arrived_waits_for_the_rest() -> None:
    """The store is written series by series while we read; the next reading has it whole."""
    store = stored(STEADY[:4])
    source = LiveSource(store, Fleet())
    source.read()
    store.scrape(STEADY[4], T0 + 120, without=[STEPS], pod="a", namespace="llm")
    store.now_seconds = T0 + 121
    (early,) = source.read()
    store.scrape(STEADY[4], T0 + 120, only=STEPS, pod="a", namespace="llm")
    store.scrape(STEADY[5], T0 + 150, pod="a", namespace="llm")
    store.now_seconds = T0 + 151
    (later,) = source.read()
    assert early.replicas is not None
    assert early.replicas.counted == 0
    assert later.steps == STEADY[5].steps - STEADY[3].steps


def test_samples_that_arrive_late_are_not_lost() -> None:
    """Remote write may lag; what is new is judged by its own time, not by when it was first seen."""
    store = stored(STEADY[:3])
    source = LiveSource(store, Fleet())
    source.read()
    store.now_seconds = T0 + 100
    source.read()
    for number in (3, 4):
        store.scrape(STEADY[number], T0 + 30 * number, pod="a", namespace="llm")
    store.now_seconds = T0 + 130
    assert source.read()[0].steps == STEADY[4].steps - STEADY[2].steps


def test_a_pass_without_a_new_scrape_is_named_and_not_taken_for_idle() -> None:
    """Whoever looks more often than Prometheus scrapes is told so."""
    assert refusal(stored(STEADY), 60, 70).reason is Reason.NO_NEW_SAMPLES


def test_a_damaged_server_does_not_hide_the_others() -> None:
    """Its row says what is wrong with it."""
    store = stored(STEADY, pod="a")
    for number, each in enumerate(STEADY):
        store.scrape(each, T0 + 30 * number, without=["prompt_tokens_total"], pod="b", namespace="llm")
    (good, bad), *_ = [past(store, 0, 270)[1]]
    assert good.replicas is not None
    assert good.replicas.counted == 1
    assert bad.replicas is not None
    assert bad.replicas.left_out == ((Reason.PAGE_CUT, 1),)
    assert "prompt_tokens_total" in bad.replicas.message


def test_a_group_with_a_damaged_server_names_the_damage_and_counts_the_rest() -> None:
    """It is not taken for one that runs without speculation."""
    store = stored(STEADY, pod="a")
    for number, each in enumerate(STEADY):
        store.scrape(each, T0 + 30 * number, without=["prompt_tokens_total"], pod="b", namespace="llm")
    (row,) = past(store, 0, 270, grouping=BY_NAMESPACE)[1]
    assert (row.k_max, row.steps) == (4, STEADY[9].steps)
    assert row.replicas is not None
    assert row.replicas.left_out == ((Reason.PAGE_CUT, 1),)


def test_a_server_of_which_nothing_could_be_read_is_not_taken_for_one_without_speculation() -> None:
    """The loop says what is wrong with it, on its first pass already."""
    store = KeptScrapes()
    for number, each in enumerate(STEADY):
        store.scrape(each, T0 + 30 * number, without=["prompt_tokens_total"], pod="b")
    clock = ManualClock()
    source = PastSource(store, Fleet(), (T0, T0 + 270))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    for cycle in (loop.step(), loop.step()):
        assert [each.reason for each in cycle.failures] == [Reason.PAGE_CUT]


def test_no_more_groups_are_told_apart_than_allowed_and_it_is_said() -> None:
    """The ones with the most engines are kept."""
    store = stored(STEADY, pod="a", namespace="small")
    for pod in "bc":
        stored(STEADY, store, pod=pod, namespace="large")
    (row,) = past(store, 0, 270, grouping=Grouping(("namespace",), groups_max=1))[1]
    assert row.labels == (("namespace", "large"),)
    assert row.replicas is not None
    assert [reason for reason, _ in row.replicas.notes] == [Reason.TOO_MANY_GROUPS]


def test_a_label_that_no_server_has_is_refused_and_the_others_are_listed() -> None:
    """A misspelt --group-by would put everything into one row."""
    with pytest.raises(ObserveError, match="namespace, pod") as caught:
        past(stored(STEADY), 0, 270, grouping=Grouping(("nmespace",)))
    assert caught.value.reason is Reason.LABELS_MISSING


def test_series_without_a_model_name_are_told() -> None:
    """They belong to nobody; the rest is used."""
    store = stored(STEADY)
    store.scrape(STEADY[9], T0 + 270, without=["model_name"], pod="b")
    (row,) = past(store, 0, 270)[1]
    assert row.replicas is not None
    assert [reason for reason, _ in row.replicas.notes] == [Reason.LABELS_MISSING]


def test_a_partial_answer_is_used_and_marked() -> None:
    """The store's own words go with it."""
    store = stored(STEADY)
    store.partial = "store-1 is down"
    (row,) = past(store, 0, 270)[1]
    assert row.replicas is not None
    assert row.replicas.notes == ((Reason.ANSWER_PARTIAL, "store-1 is down"),)


def test_a_renamed_series_is_the_same_series() -> None:
    """`vllm:` became `vllm_` in the middle: another format of the page, not another server."""
    store = KeptScrapes()
    for number, each in enumerate(STEADY):
        store.scrape(each, T0 + 30 * number, prefix="vllm:" if number < 5 else "vllm_", pod="a")
    assert window(store, 0, 270).steps == STEADY[9].steps


def parts(
    store: KeptScrapes, count: int, grouping: Grouping = EACH, since: float = 0.0, until: float = 270.0
) -> tuple[PastSource, ...]:
    """The window between two times after T0, in so many parts or fewer."""
    window = LastWindow(store, grouping, (T0 + since, T0 + until))
    window.fetch()
    return window.parts(count)


def told(sources: Sequence[PastSource]) -> list[tuple[Snapshot, ...]]:
    """All rows at the beginning and at the end, ordered by key."""
    reads = [[each.read() for _ in range(2)] for each in sources]
    return [
        tuple(sorted((row for rows in at for row in rows), key=lambda row: row.key)) for at in zip(*reads, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
@pytest.mark.parametrize("labels", [None, ("namespace",), ("job",), ("zone",)])
def test_a_window_in_parts_is_the_window(count: int, labels: tuple[str, ...] | None) -> None:
    """Each row once, whatever the parts: a server that two jobs scrape, one that restarted, and one without a zone."""
    grouping, store = Grouping(labels), KeptScrapes()
    for number in range(7):
        third = number % 3
        stored(STEADY[third:], store, pod=f"p{number}", namespace=f"n{third}", job="a", zone=f"z{number % 2}")
    for job in "ab":
        stored(STEADY, store, pod="twice", instance="10.0.0.1:8000", job=job)
    stored([*STEADY[:5], *life(snapshot(created_seconds=CREATED + 1), {"request_steps": 50})], store, pod="restarted")
    store.scrape(STEADY[9], T0 + 270, without=["model_name"], pod="nameless")
    store.partial = "store-1 is down"
    whole = past(store, 0, 270, grouping=grouping)
    found = parts(store, count, grouping)
    assert (len(found) > 1) is (count > 1)
    assert len(found) <= count
    assert told(found) == whole


def test_rows_of_which_some_are_left_out_are_in_one_part() -> None:
    """Which they are depends on all."""
    store = KeptScrapes()
    for pod in "abc":
        stored(STEADY, store, pod=pod, namespace=pod)
    few = Grouping(("namespace",), groups_max=2)
    (found,) = parts(store, 3, few)
    assert told([found]) == past(store, 0, 270, grouping=few)


def test_a_part_whose_servers_are_gone_says_how_long_and_asks_nobody() -> None:
    """A store would be asked by several processes at once."""
    store = KeptScrapes()
    for pod in "abc":
        stored([STEADY[0]], store, pod=pod)
    found = parts(store, 3, since=-1, until=420)
    assert len(found) == 3
    for each in found:
        each.read()
        with pytest.raises(ObserveError, match="is 420 s old") as caught:
            each.read()
        assert caught.value.reason is Reason.SAMPLES_OLD


def test_a_window_of_nothing_is_one_part_that_asks_why() -> None:
    """As a whole it would."""
    (found,) = parts(KeptScrapes(), 8)
    found.read()
    with pytest.raises(ObserveError, match="Nothing at") as caught:
        found.read()
    assert caught.value.reason is Reason.NOTHING_MATCHES


def test_what_a_store_does_not_tell_is_missing_in_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of over an hour is asked for in several spans: what was told of the first is used."""
    store = KeptScrapes()
    for pod in "abc":
        stored(STEADY, store, pod=pod)
    failure = ObserveError(Reason.STORE_TIMEOUT, "too slow")
    really = store.gathered

    def gathered(since: float, until: float) -> Gathered:
        if len(store.reads) == 1:
            raise failure
        return really(since, until)

    monkeypatch.setattr(store, "gathered", gathered)
    found = parts(store, 3, until=5000)
    assert len(found) == 3
    for each in found:
        assert len(each.read()) == 1
        for _ in range(2):
            with pytest.raises(ObserveError, match="too slow"):
                each.read()
