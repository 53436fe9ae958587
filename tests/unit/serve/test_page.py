"""The status page as text: whole, escaped, closed to the outside, bounded, and right in every state."""

import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from importlib.resources import files
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from fakes import ManualClock
from hypothesis import given
from hypothesis import strategies as st
from page.reading import Document, read
from page.scenes import HOSTILE, SCENES, Scene, scene

from controller.act.actuator import NOTHING_DONE, Acted, Outcome
from controller.cycle import Cycle, EngineCycle, Failure
from controller.decide.decision import Action, Decision
from controller.reason import MEANING, Reason
from controller.serve.page import HEADERS, Page
from controller.serve.page_history import ENGINES_MAX, ENTRIES_MAX, Past, Story, after
from controller.serve.page_view import About
from controller.serve.server import Server

LIMIT_BYTES = 60_000
POLICY = dict(part.split(" ", 1) for part in dict(HEADERS)["Content-Security-Policy"].split("; "))
every_scene = pytest.mark.parametrize("name", SCENES)


def shown(story: Scene, query: str = "") -> bytes:
    """The page after a scene."""
    page = Page(About("http://vllm:8000", story.mode, checkpoint="/state"), patience_seconds=60.0)
    for cycle in story.cycles:
        page.publish(cycle)
    page.checkpoint_failed(story.checkpoint_failure)
    last = story.cycles[-1].at_unix_seconds if story.cycles else 0.0
    return page.answer(query, last + story.seconds_later)


def document(name: str) -> Document:
    """The page after a scene, read strictly."""
    return read(shown(scene(name)))


@every_scene
def test_it_is_well_formed_and_what_is_referred_to_exists(name: str) -> None:
    """Elements nest, no name is used twice, and every picture has its title and description."""
    found = document(name)
    names = found.values("id")
    assert len(names) == len(set(names))
    referred = {each for value in found.values("aria-labelledby") for each in value.split()}
    assert referred <= set(names)
    pictures = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert all(each["role"] == "img" and each["aria-labelledby"] for each in pictures)
    assert len([tag for tag, _ in found.tags if tag == "details"]) >= len(pictures)  # each has its numbers as a table


@every_scene
def test_what_the_keyboard_reaches_has_a_name(name: str) -> None:
    """A screen reader says what can be scrolled there, and not only that something can."""
    tags = document(name).tags
    reached = [attributes for _, attributes in tags if "tabindex" in attributes]
    assert all(each["role"] == "group" and each["aria-label"] for each in reached)
    assert len(reached) == len([tag for tag, _ in tags if tag == "table"])


@every_scene
def test_it_needs_nothing_from_elsewhere(name: str) -> None:
    """No address but relative ones and its own icon; no style or handler in an attribute."""
    found = document(name)
    addresses = [urlsplit(each) for each in found.values("href") + found.values("src")]
    assert {each.scheme for each in addresses} <= {"", "data"}
    assert all(not each.netloc and not each.path.startswith("/") for each in addresses)
    attributes = {attribute for _, given in found.tags for attribute in given}
    assert not any(each == "style" or each.startswith("on") for each in attributes)


@every_scene
def test_it_stays_small(name: str) -> None:
    """Whatever there is to show."""
    assert len(shown(scene(name))) < LIMIT_BYTES


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    """By their hashes."""
    found = document("full")
    for element in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found.inside[element].encode()).digest()).decode()
        assert POLICY[f"{element}-src"] == f"'sha256-{digest}'"
        assert [tag for tag, _ in found.tags].count(element) == 1
    assert {key: value for key, value in POLICY.items() if "sha256" not in value} == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_names_from_outside_stay_text_and_short() -> None:
    """Model, engine and workloads of four thousand characters with markup in them."""
    page = shown(scene("hostile"))
    assert b"<img" not in page
    assert HOSTILE[:30] in read(page).text
    assert "\u202e" not in page.decode()
    assert len(page) < len(shown(scene("full"))) + 3000


@given(st.text(max_size=300))
def test_any_text_is_only_text(text: str) -> None:
    """As a name, as a sentence, as the message of a failure."""
    decision = Decision(Action.HOLD, Reason.IDLE, text)
    engine = EngineCycle(text, text, 3, decision, failure=Failure(Reason.BAD_SAMPLE, text))
    empty = EngineCycle("", "", 3, replace(decision, sentence=""), failure=Failure(Reason.BAD_SAMPLE, ""))
    tags = [tag for tag, _ in read(shown(Scene((Cycle(1, 0.0, (engine,)),)))).tags]
    assert tags == [tag for tag, _ in read(shown(Scene((Cycle(1, 0.0, (empty,)),)))).tags]


@given(st.text(max_size=400))
def test_any_query_gets_an_answer(query: str) -> None:
    """The page, or its changing part."""
    assert b'<main id="live"' in shown(scene("many-engines"), query).replace(b"<main data", b'<main id="live" data')


def test_the_changing_part_is_that_of_the_page() -> None:
    """What the script puts in place is what a reload would show."""
    many = scene("full")
    part = shown(many, "live")
    assert part.startswith(b"<main ")
    assert part in shown(many)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("before-the-first-pass", ("Waiting for the first pass", "no pass yet")),
        ("never-reached", ("No connection to the server.", "Nothing is known of the server yet", "never read")),
        ("warming-up", ("Warming up", "the next one makes a window", "Nothing was drafted yet.")),
        ("no-speculation", ("No speculation", "--speculative-config", "recommends only", "Not told apart")),
        ("idle", ("The server is idle",)),
        ("server-down", ("No connection to the server.", "State of 2 min ago", "12 of 42", "no longer")),
        ("restarted", ("A counter fell: the server restarted inside the window.", "server_restarted")),
        ("plugin-missing", ("The server does not have the engine plugin.", "plugin_missing", "failing")),
        ("plugin-refuses", ("The engine plugin refuses the token, or has none.", "not carried out: plugin_refuses")),
        ("rolling", ("rolls the workload", "k=2 is being rolled out", "rollout rolling Deployment llm/vllm: 1 of 3")),
        ("frozen", ("Changes are frozen by the operator.",)),
        ("hangs", ("No pass has ended for 3 min.", "State of 3 min ago")),
        ("checkpoint-failing", ("What is learnt is not kept.", "no space left on device")),
        ("changed", ("k=2 is set", "+13.5% throughput +5.1% to +22.6%", "k=5 to 4 brought -3.0%", "taken back")),
        ("full", ("applies live", "schedule held for", "adaptive-k@vllm-0", "chat", "code")),
        ("many-engines", ("8 engines", "simulated-8b, engine 7")),
    ],
)  # fmt: skip
def test_every_state_is_told_in_words(name: str, words: tuple[str, ...]) -> None:
    """With the remedy, where there is one."""
    text = document(name).text
    assert [each for each in words if each not in text] == []


@every_scene
def test_an_old_state_is_marked_as_old_and_a_present_one_is_not(name: str) -> None:
    """Dimmed, with its age."""
    stale = [given for tag, given in document(name).tags if tag == "section" and "stale" in (given.get("class") or "")]
    assert bool(stale) == (name in {"server-down", "restarted", "hangs"})


def test_an_old_state_is_not_told_as_the_present_one() -> None:
    """Whether the engine runs what is set is not known while it cannot be asked, and the tab tells why."""
    assert "runs what is set" in document("changed").text
    down = document("server-down")
    assert "runs what is set" not in down.text
    assert down.inside["title"].startswith("\N{WARNING SIGN} No connection to the server \N{MIDDLE DOT} simulated-8b")
    assert document("never-reached").inside["title"].startswith("\N{WARNING SIGN} adaptive-k")


def test_the_numbers_are_those_of_the_decision() -> None:
    """Now and should be, each k with its bounds, each position."""
    engine = scene("changed").cycles[-1].engines[0]
    text = document("changed").text
    assert "k now 5" in text
    assert "should be 2" in text
    for score in engine.decision.scores:
        assert f"{score.tokens_per_second_low:,.0f} to {score.tokens_per_second_high:,.0f}" in text
    assert engine.acceptance is not None
    for share in engine.acceptance.survival:
        assert f"{share:.1%}" in text
    for _, high, k in engine.decision.schedule:
        assert f"{high} {k} " in text


def spoken(cycle: Cycle) -> str:
    """What a screen reader says of a pass."""
    found = re.search(r'role="status"[^>]*>([^<]*)<', shown(Scene((cycle,))).decode())
    assert found is not None
    return found[1]


def test_what_a_screen_reader_says_changes_only_with_the_answer() -> None:
    """No numbers of the window in it: it would speak on every pass."""
    scores = scene("full").cycles[-1].engines[0].decision.scores
    held = [spoken(passed(number, batch=7.0 + number, scores=scores)) for number in (1, 2)]
    assert held == ["Leave k as it is."] * 2
    assert spoken(passed(3, Reason.FASTER_K, action=Action.CHANGE, k=2)) == "Run k=2."
    assert spoken(replace(passed(4), failure=Failure(Reason.SERVER_TIMEOUT, "Late."))).startswith("The server did not")


def test_any_engine_of_many_can_be_seen_in_full() -> None:
    """By its place; one that does not exist is the first."""
    many = scene("many-engines")
    for query, name in (("", "0"), ("engine=5", "5"), ("engine=99", "0"), ("engine=-1", "0"), ("engine=x", "0")):
        sections = [given["id"] for tag, given in read(shown(many, query)).tags if tag == "section" and "id" in given]
        assert sections == [f"engine-{name}"]


def entries(*cycles: Cycle) -> Past:
    """What is remembered of the only engine after these passes."""
    story = Story()
    for cycle in cycles:
        story = after(story, cycle)
    (past,) = story.pasts.values()
    return past


def passed(number: int, reason: Reason = Reason.BEST_ALREADY, **values: object) -> Cycle:
    """A pass, ten seconds after the one before."""
    given: dict[str, object] = {"action": Action.HOLD, "k": 3} | values
    failure, acted = given.pop("failure", None), given.pop("acted", NOTHING_DONE)
    decision = Decision(reason=reason, sentence=f"Sentence {number}.", **given)  # type: ignore[arg-type]
    engine = EngineCycle("m", "0", 5, decision, failure=failure, acted=acted)  # type: ignore[arg-type]
    return Cycle(number, 10.0 * number, (engine,))


def test_passes_that_end_alike_are_one_entry_with_their_number_and_the_last_words() -> None:
    """Whatever the numbers in the sentence."""
    (entry,) = entries(*(passed(number) for number in range(1, 6))).entries
    assert (entry.passes, entry.since_unix_seconds, entry.until_unix_seconds) == (5, 10.0, 50.0)
    assert entry.sentence == "Sentence 5."


def test_another_action_reason_or_hitch_is_another_entry() -> None:
    """And another k, unless k is held: what is held follows the load."""
    refused = Acted(Outcome.FAILED, Reason.PLUGIN_REFUSES, "Refused.")
    past = entries(
        passed(1),
        passed(2, k=4),
        passed(3, Reason.COOLDOWN),
        passed(4, Reason.FASTER_K, action=Action.CHANGE, k=2),
        passed(5, Reason.FASTER_K, action=Action.CHANGE, k=1),
        passed(6, Reason.FASTER_K, action=Action.CHANGE, k=1, acted=refused),
        passed(7, Reason.FASTER_K, action=Action.CHANGE, k=1, acted=Acted(Outcome.ROLLING, rollout="started")),
        passed(8, Reason.FASTER_K, action=Action.CHANGE, k=1, acted=Acted(Outcome.ROLLING, rollout="rolling")),
    )
    assert [(each.reason, each.k, each.passes) for each in past.entries] == [
        (Reason.FASTER_K, 1, 1),
        (Reason.FASTER_K, 1, 1),
        (Reason.FASTER_K, 1, 1),
        (Reason.FASTER_K, 1, 1),
        (Reason.FASTER_K, 2, 1),
        (Reason.COOLDOWN, 3, 1),
        (Reason.BEST_ALREADY, 4, 2),
    ]
    assert [each.rollout for each in past.entries[:3]] == ["rolling", "started", ""]
    assert past.entries[2].hitch is Reason.PLUGIN_REFUSES


def test_a_failed_pass_is_an_entry_and_does_not_make_the_state_younger() -> None:
    """Of the whole server, or of one engine's window."""
    down = replace(passed(3), failure=Failure(Reason.SERVER_TIMEOUT, "Late."))
    past = entries(passed(1), passed(2, failure=Failure(Reason.SERVER_RESTARTED, "Anew.")), down)
    assert [each.reason for each in past.entries] == [
        Reason.SERVER_TIMEOUT,
        Reason.SERVER_RESTARTED,
        Reason.BEST_ALREADY,
    ]
    assert past.good_unix_seconds == 10.0


def test_the_history_is_bounded() -> None:
    """In entries, in engines, and in the length of a sentence; engines that are gone are forgotten."""
    reasons = [Reason.BEST_ALREADY, Reason.COOLDOWN]
    many = entries(*(passed(number, reasons[number % 2]) for number in range(200)))
    assert len(many.entries) == ENTRIES_MAX
    assert many.entries[0].sentence == "Sentence 199."
    (engine,) = passed(1).engines
    long = replace(engine, decision=replace(engine.decision, sentence="x" * 10_000))
    crowd = tuple(replace(long, engine=str(each)) for each in range(3 * ENGINES_MAX))
    story = after(Story(), Cycle(1, 0.0, crowd))
    assert len(story.pasts) == ENGINES_MAX
    assert len(next(iter(story.pasts.values())).entries[0].sentence) < 1000
    assert len(after(story, Cycle(2, 0.0, crowd[:1])).pasts) == 1


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason: Reason) -> None:
    """As a decision, and as a failure."""
    held = Scene((passed(1, reason),))
    failed = Scene((replace(passed(1), failure=Failure(reason, "Message.")),))
    assert reason.value in read(shown(held)).text
    assert MEANING[reason][1:] in read(shown(failed)).text


@pytest.mark.parametrize("action", Action)
def test_an_answer_without_numbers_is_shown(action: Action) -> None:
    """Nothing known but the action and the reason."""
    assert read(shown(Scene((passed(1, action=action, k=None),)))).text


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_in_both_themes() -> None:
    """At least 4.5 to 1, WCAG AA."""
    style = files("controller.serve").joinpath("page.css").read_text("utf-8")
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert len(themes) == 2
    for theme in themes:
        paper = luminance(theme["paper"])
        for name in ("ink", "muted", "accent", "alert"):
            bright, dark = sorted((luminance(theme[name]), paper), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, name


def test_a_page_is_made_of_one_pass() -> None:
    """While the loop goes on publishing: the header, the decision and the health below are of the same pass."""
    page = Page(About(), patience_seconds=60.0)
    page.publish(passed(1))
    with ThreadPoolExecutor(4) as pool:
        pages = [pool.submit(page.answer, "live", 0.0) for _ in range(200)]
        for number in range(2, 400):
            page.publish(passed(number))
        texts = [read(each.result()).text for each in pages]
    for text in texts:
        (number,) = re.findall(r"pass (\d+),", text)
        assert f"Sentence {number}." in text
        assert f"0 of {number}" in text


@pytest.mark.parametrize("outcome", Outcome)
def test_a_change_is_only_called_done_when_it_is(outcome: Outcome) -> None:
    """`is set` after it was set, and not before."""
    text = read(shown(Scene((passed(1, Reason.FASTER_K, action=Action.CHANGE, k=2, acted=Acted(outcome)),)))).text
    assert ("k=2 is set" in text) == (outcome in {Outcome.APPLIED, Outcome.RENEWED, Outcome.HELD})


@pytest.fixture
def port() -> Iterator[int]:
    """Of a sidecar that shows a full page."""
    clock = ManualClock()
    serving = Server("127.0.0.1:0", clock, interval_seconds=10.0)
    for cycle in scene("full").cycles:
        serving.publish(cycle)
    serving.start()
    yield serving.port
    serving.close()


@pytest.mark.parametrize("query", ["", "?live", "?live&engine=3"])
def test_the_port_serves_it_with_its_policy(port: int, query: str) -> None:
    """At the root, never kept by a cache, and never inside a frame."""
    with urlopen(f"http://127.0.0.1:{port}/{query}", timeout=20) as response:
        headers = dict(response.headers)
        assert b"<main " in response.read()
    assert dict(HEADERS).items() <= headers.items()
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_browsers_that_ask_and_never_read_hold_nothing_up(port: int) -> None:
    """More of them than there are threads, each with many requests at once."""
    with ExitStack() as open_until_the_end:
        for _ in range(8):
            silent = open_until_the_end.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            silent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        for path in ("livez", "metrics", ""):
            with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as response:
                assert response.status == 200
