"""Pages of vLLM are read by exact names, whole or not at all."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import BAD_PAGES, CAPTURES, NGRAM_WINDOW, after, page, snapshot
from prometheus_client.parser import text_string_to_metric_families

from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import _series, read_page, snapshots
from controller.reason import Reason

COUNTS = st.integers(0, 2**40).map(float)
SECONDS = st.floats(0, 1e12)
NAMES = st.text(st.characters(codec="utf-8"), max_size=60)
GOOD = page(after(snapshot()))


@st.composite
def engines(draw: st.DrawFn) -> tuple[Snapshot, ...]:
    """Any engines that one page could show, in the order that reading gives."""
    keys = draw(st.sets(st.tuples(NAMES, NAMES), min_size=1, max_size=4))
    k_max = draw(st.none() | st.integers(1, 12))
    shown = []
    for model_name, engine in sorted(keys):
        speculative = dict.fromkeys(("drafts", "draft_tokens", "accepted_tokens"), COUNTS if k_max else st.just(0.0))
        others = {
            name: SECONDS if name.endswith("seconds") else COUNTS
            for name in (
                "latency_samples", "latency_seconds", "steps", "generated_tokens", "first_tokens", "prompt_tokens",
                "preemptions", "running", "waiting",
            )
        }  # fmt: skip
        values = draw(st.fixed_dictionaries(speculative | others))
        by_position = tuple(draw(st.lists(COUNTS, min_size=k_max or 0, max_size=k_max or 0)))
        shown.append(snapshot(k_max, model_name=model_name, engine=engine, accepted_by_position=by_position, **values))
    return tuple(shown)


def fully_parsed(text: str) -> tuple[Snapshot, ...]:
    """The same page, every line of it given to the parser."""
    return snapshots(text_string_to_metric_families(text), None)


def read(text: str) -> tuple[Snapshot, ...] | ObserveError:
    """The page's snapshots, or why it is refused."""
    try:
        return read_page(text)
    except ObserveError as error:
        return error


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_picking_lines_equals_a_full_parse_on_real_pages(path: Path) -> None:
    """Nothing that vLLM 0.32 writes is lost by reading the wanted lines only."""
    text = path.read_text()
    assert read_page(text) == fully_parsed(text)


@given(engines())
def test_what_a_page_shows_is_read_back_whatever_the_names_and_numbers(shown: tuple[Snapshot, ...]) -> None:
    """A page is read as it was written, the wanted lines alone as well as all of it."""
    text = page(*shown)
    assert read_page(text) == fully_parsed(text) == shown


@pytest.mark.parametrize(
    "form",
    [
        "{series} {value} 1700000000000", "{series} {value} 0", "{series}\t{value}", "{series}  {value} ",
        "{series} {value}\r", "{series} +{value}", '{series} {value} # {{trace_id="0 0"}} 1',
    ],
)  # fmt: skip
def test_a_sample_of_another_form_than_vllms_reads_the_same(form: str) -> None:
    """A timestamp, tabs and the like, which whatever stands before vLLM may write; on a page that was read before."""
    before = read_page(GOOD)
    lines = [
        form.format(series=series, value=value) if series.startswith("vllm:") else line
        for line in GOOD.splitlines()
        for series, _, value in [line.rpartition(" ")]
    ]
    text = "\n".join([*lines, ""])
    assert read_page(text) == fully_parsed(text) == before


@pytest.mark.parametrize("value", ["1_000", "0x10", "", "five", '5"'])
def test_a_value_that_is_no_number_is_none_on_a_known_series_either(value: str) -> None:
    """What Python alone would take is refused, too."""
    assert read_page(GOOD)
    text = re.sub(r"(?m)^(vllm:generation_tokens_total\S+) .*$", rf"\1 {value}", GOOD)
    with pytest.raises(ValueError, match=r"."):
        fully_parsed(text)
    assert isinstance(read(text), ObserveError)


def test_a_real_page_reads_as_the_numbers_that_stand_on_it() -> None:
    """The n-gram capture, number by number."""
    (engine,) = read_page(NGRAM_WINDOW[1].read_text(), 12.0)
    assert engine == Snapshot(
        model_name="tiny",
        engine="0",
        at_seconds=12.0,
        created_seconds=1.795332212474236e09,
        drafts=939,
        draft_tokens=3433,
        accepted_tokens=653,
        accepted_by_position=(366, 151, 89, 47),
        latency_samples=1444,
        latency_seconds=engine.latency_seconds,
        steps=447,
        generated_tokens=2112,
        first_tokens=17,
        prompt_tokens=2056,
        preemptions=0,
        running=0,
        waiting=0,
    )
    assert engine.latency_seconds == pytest.approx(12.539037)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_the_spelling_with_an_underscore_reads_the_same(path: Path) -> None:
    """An OpenMetrics scraper turns `vllm:` into `vllm_`."""
    text = path.read_text()
    assert read_page(text.replace("vllm:", "vllm_")) == read_page(text)


def test_created_twins_are_never_taken_for_the_counter() -> None:
    """A `_created` sample near 1.8e9 changes nothing but the creation time, wherever it stands."""
    lines = GOOD.splitlines(keepends=True)
    twins_first = sorted(lines, key=lambda line: "_created" not in line)
    assert any("_created" in line for line in lines)
    assert read_page("".join(twins_first)) == read_page(GOOD)


def test_a_page_without_created_twins_has_no_creation_time() -> None:
    """With several API servers vLLM writes none."""
    (capture,) = (path for path in CAPTURES if "api2" in path.name)
    (engine,) = read_page(capture.read_text())
    assert (engine.created_seconds, engine.k_max, engine.drafts) == (None, 4, 9908)


@pytest.mark.parametrize(
    "twin",
    [
        'vllm:spec_decode_num_drafts_total_extra{model_name="m",engine="0"} 1',
        'vllm:spec_decode_num_drafts{model_name="m",engine="0"} 1',
        'vllm:generation_tokens_total_created{model_name="m",engine="0"} 1.8e9',
        'vllm:num_requests_waiting_by_reason{model_name="m",engine="0",reason="capacity"} 5',
        'my_vllm:generation_tokens_total{model_name="m",engine="0"} 1',
        'vllmx:generation_tokens_total{model_name="m",engine="0"} 1',
        'vllm:diffusion_generation_tokens_total{model_name="m",engine="0"} 1',
        "generation_tokens_total 1",
    ],
)
def test_only_exact_names_are_read(twin: str) -> None:
    """A name that begins or ends like a wanted one is another series."""
    assert read_page(f"{GOOD}{twin}\n") == read_page(GOOD)


def test_engines_and_models_on_one_page_are_told_apart() -> None:
    """One snapshot each, in order of model and engine."""
    shown = [
        after(snapshot(k_max, model_name=name, engine=engine), request_steps=steps)
        for name, engine, k_max, steps in (
            ("a", "0", 2, 10),
            ("a", "1", 2, 20),
            ("b", "0", 5, 30),
            ("c", "0", None, 40),
        )
    ]
    assert read_page(page(*reversed(shown))) == tuple(shown)


def test_a_page_without_an_engine_label_is_of_engine_0() -> None:
    """vLLM had no such label once."""
    assert [each.key for each in read_page(GOOD.replace('engine="0",', ""))] == [("m", "0", ())]


def test_a_server_without_speculation_has_no_k_max_and_no_drafts() -> None:
    """No speculative series at all is a fact, not a damaged page."""
    (engine,) = read_page(page(after(snapshot(None))))
    assert (engine.k_max, engine.drafts, engine.accepted_by_position) == (None, 0, ())


@given(st.permutations(range(6)))
def test_positions_are_read_by_their_label_not_by_their_order(order: list[int]) -> None:
    """The lines of a page may come in any order."""
    engine = replace(snapshot(6), accepted_by_position=(60.0, 50.0, 40.0, 30.0, 20.0, 10.0))
    lines = page(engine).splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if "per_pos_total{" in line]
    moved = [lines[places[index]] for index in order]
    for index, line in zip(places, moved, strict=True):
        lines[index] = line
    assert read_page("".join(lines)) == (engine,)


def test_labels_may_come_in_any_order_and_stand_apart() -> None:
    """`{model_name, engine}` or `{engine, model_name}`, with blanks and a last comma, is the same."""
    turned = re.sub(r'engine="(\d+)",model_name="(\w+)"', r'model_name="\2", engine="\1"', GOOD).replace('"} ', '",} ')
    assert turned != GOOD
    assert read_page(turned) == read_page(GOOD)


@pytest.mark.parametrize(
    "rewritten",
    [
        GOOD.replace("\n", "\r\n"),
        re.sub(r"(?m)^(vllm:.*) (\S+)$", r"\1 \2 1790000000000", GOOD),
        re.sub(r"(?m)^(vllm:.*) (\S+)$", "\\1\t\\2", GOOD),
        re.sub(r"(?m)^#.*\n", "", GOOD),
        GOOD + "# EOF\n",
        "\ufeff" + GOOD,
    ],
    ids=["CRLF", "timestamps", "tabs", "no comments", "EOF", "byte order mark"],
)
def test_other_ways_to_write_the_same_page_read_the_same(rewritten: str) -> None:
    """Line ends, timestamps, tabs and comments carry nothing."""
    assert rewritten != GOOD
    assert read_page(rewritten) == read_page(GOOD)


@pytest.mark.parametrize(
    "name", ["x" * 4096, 'a"b', "a\\", 'a\\"b\\n', "two\nlines", "Привет 模型", "\u2028", "{,}=", ""]
)
def test_hostile_model_names_are_read_whole(name: str) -> None:
    """Quotes, backslashes, line ends, braces, other scripts, 4 kB: the name is what was escaped."""
    shown = (snapshot(model_name=name),)
    assert read_page(page(*shown)) == shown


@pytest.mark.parametrize(("text", "reason", "words"), BAD_PAGES.values(), ids=BAD_PAGES)
def test_a_bad_page_is_refused_with_its_cause(text: str, reason: Reason, words: str) -> None:
    """The reason by name, the cause and the remedy in one or two sentences."""
    with pytest.raises(ObserveError, match=re.escape(words)) as caught:
        read_page(text)
    assert caught.value.reason is reason
    assert caught.value.message.endswith(".")


@given(st.integers(1, len(GOOD) - 1))
def test_a_page_cut_anywhere_is_refused_or_lacks_only_what_is_not_needed(end: int) -> None:
    """Never a page read as if a required counter were 0."""
    outcome = read(GOOD[:end])
    if isinstance(outcome, ObserveError):
        assert outcome.reason in {Reason.PAGE_CUT, Reason.NOT_VLLM, Reason.NOT_METRICS}
    else:
        assert outcome == read_page(GOOD)


@given(
    st.sampled_from(CAPTURES).map(Path.read_text),
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 300), st.text(max_size=20)), min_size=1, max_size=5),
)
def test_a_damaged_page_is_read_or_refused_and_never_crashes(text: str, damage: list[tuple[int, int, str]]) -> None:
    """Whatever is torn out of a real page or put into it."""
    for start, length, inserted in damage:
        text = text[:start] + inserted + text[start + length :]
    outcome = read(text)
    assert outcome
    if isinstance(outcome, ObserveError):
        assert outcome.message.isprintable()
        assert len(outcome.message) < 400


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_and_never_crashes(text: str) -> None:
    """What is no page is refused in one printable line."""
    with pytest.raises(ObserveError) as caught:
        read_page(text)
    assert caught.value.message.isprintable()


def test_a_sentence_about_a_hostile_name_stays_short_and_harmless() -> None:
    """Neither 4 kB nor a terminal's control codes get into a message."""
    named = page(snapshot(model_name="\x1b[31m" + "x" * 4096)).replace("vllm:prompt_tokens_total{", "gone{")
    with pytest.raises(ObserveError, match="prompt_tokens_total") as caught:
        read_page(named)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("named", [{"model_name": "x" * 8193}, {"engine": "7" * 8193}])
def test_a_name_of_more_than_eight_thousand_characters_is_refused_and_not_remembered(named: dict[str, str]) -> None:
    """It would stand in each metric and line of the log; and pages whose names change must not fill the memory."""
    kept = _series.cache_info().currsize
    for length in (0, 2000, 4000):
        long: dict[str, Any] = {name: value + length * "y" for name, value in named.items()}
        with pytest.raises(ObserveError) as caught:
            read_page(page(after(snapshot(**long))))
        assert caught.value.reason is Reason.BAD_SAMPLE
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 300
    assert _series.cache_info().currsize == kept


def test_a_name_as_long_as_a_path_is_read() -> None:
    """A model may be served under the path of its files."""
    (found,) = read_page(page(after(snapshot(model_name="x" * 4096))))
    assert found.model_name == "x" * 4096
