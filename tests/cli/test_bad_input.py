"""Whatever a server or a file holds, the answer names the cause and the remedy, with the right exit code."""

import re
from pathlib import Path

import pytest
from calling import Command, Said, Saved
from loopback import Answer, Loopback, answer, drip, flood, hang, hang_after, unused_port
from pages import BAD_PAGES, BAD_SUCCESSORS, after, page, snapshot

from controller.commands.exit_codes import FAILED, OK
from controller.observe.snapshot import Snapshot
from controller.reason import Reason

BEFORE = page(after(snapshot()))
AFTER = page(after(after(snapshot())))
LIVE = ("--window-seconds", "0.01")
IMPATIENT = (*LIVE, "--timeout-seconds", "0.3")


def sentence(said: Said) -> str:
    """The one line on stderr, which is all that the user is told of a failure."""
    assert said.code == FAILED
    (line,) = said.err.splitlines()
    assert line.startswith("controller recommend: ")
    assert line.endswith(".")
    assert re.search(r"\w+Error\b|urllib3|errno|0x", line) is None
    return line


@pytest.mark.parametrize(("text", "words"), [(text, words) for text, _, words in BAD_PAGES.values()], ids=BAD_PAGES)
def test_a_bad_saved_page_is_named_with_its_file(text: str, words: str, command: Command, saved: Saved) -> None:
    """As the first page or as the second."""
    bad = saved(text, "bad.txt")
    for source in ((bad, saved.after), (saved.before, bad)):
        line = sentence(command("recommend", "--source", *source))
        assert words in line
        assert str(bad) in line


@pytest.mark.parametrize(("text", "words"), [(text, words) for text, _, words in BAD_PAGES.values()], ids=BAD_PAGES)
def test_a_server_with_a_bad_page_is_told_in_the_same_words(text: str, words: str, command: Command) -> None:
    """At once, without waiting for the window, and in the window as well."""
    with Loopback(answer(text)) as server:
        assert words in sentence(command("recommend", "--url", server.url, "--window-seconds", "600"))
    with Loopback(answer(BEFORE), answer(text)) as server:
        assert words in sentence(command("recommend", "--url", server.url, *LIVE))


@pytest.mark.parametrize(
    ("late", "words"), [(late, words) for late, _, words in BAD_SUCCESSORS.values()], ids=BAD_SUCCESSORS
)
def test_pages_that_cannot_follow_each_other_are_told(
    late: Snapshot, words: str, command: Command, saved: Saved
) -> None:
    """A restart inside the window, a counter that fell, counters that contradict each other."""
    bad = saved(page(late), "late.txt")
    assert words in sentence(command("recommend", "--source", saved.after, bad))
    with Loopback(answer(AFTER), answer(page(late))) as server:
        assert words in sentence(command("recommend", "--url", server.url, *LIVE))


SERVERS: dict[str, tuple[Answer, str]] = {
    "hangs": (hang, "raise --timeout-seconds"),
    "hangs in the page": (hang_after(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n# HELP"), "did not answer within"),
    "drips": (drip, "hangs or is overloaded"),
    "redirects": (answer("", "307 Temporary Redirect", "Location: https://sso.example/login"), "https://sso.example"),
    "answers 401": (answer("", "401 Unauthorized"), "--token-file"),
    "answers 403": (answer("", "403 Forbidden"), "--token-file"),
    "answers 500": (answer("", "500 Internal Server Error"), "look at the server's log"),
    "answers 404": (answer("", "404 Not Found"), "path /metrics"),
    "closes early": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n# HELP", "closed the connection"),
    "closes at once": (b"", "the connection was closed"),
    "compresses": (answer(b"\x1f\x8b", "200 OK", "Content-Encoding: br"), "proxy"),
    "is binary": (answer(b"\xff\xfe"), "not text"),
}


@pytest.mark.parametrize(("given", "words"), SERVERS.values(), ids=SERVERS)
def test_a_server_that_misbehaves_is_told_with_the_remedy(given: Answer, words: str, command: Command) -> None:
    """From the start, and when it begins inside the window."""
    options = IMPATIENT if callable(given) else LIVE
    with Loopback(given) as server:
        assert words in sentence(command("recommend", "--url", server.url, *options))
    with Loopback(answer(BEFORE), given) as server:
        assert words in sentence(command("recommend", "--url", server.url, *options))


def test_a_page_of_100_mb_is_told_with_the_option_that_would_take_it(command: Command, saved: Saved) -> None:
    """From a server, and from a file."""
    with Loopback(flood) as server:
        line = sentence(command("recommend", "--url", server.url, "--page-limit-bytes", "1000000"))
    assert "larger than 1000000 bytes" in line
    assert "--page-limit-bytes" in line
    large = saved(b"# x\n" * 500_000, "large.txt")
    line = sentence(command("recommend", "--source", saved.before, large, "--page-limit-bytes", "1000000"))
    assert f"{large}: the saved page is larger than 1000000 bytes" in line


def test_a_dead_server_is_told_without_waiting_for_the_window(command: Command) -> None:
    """Nothing listens."""
    said = command("recommend", "--url", f"http://127.0.0.1:{unused_port()}", "--window-seconds", "600")
    assert "connection refused" in sentence(said)
    assert said.out == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.txt", "No such file or directory"), (".", "Is a directory")],
    ids=["missing", "folder"],
)
def test_a_file_that_cannot_be_read_is_told(
    name: str, words: str, command: Command, saved: Saved, tmp_path: Path
) -> None:
    """With the way to save one."""
    line = sentence(command("recommend", "--source", tmp_path / name, saved.after))
    assert words in line
    assert "curl -s http://HOST:PORT/metrics" in line


def test_an_unknown_encoding_is_told_in_words(command: Command, saved: Saved) -> None:
    """A page that is no UTF-8 was not saved from vLLM."""
    assert "not UTF-8" in sentence(command("recommend", "--source", saved.before, saved(b"\xff\xfe", "utf16.txt")))


@pytest.mark.parametrize("output", ["json", "yaml", "table", "config"])
def test_every_form_of_output_fails_alike(output: str, command: Command, saved: Saved) -> None:
    """The sentence on stderr, exit code 1; the documents hold the error too, the others hold nothing."""
    said = command("recommend", "--source", saved.after, saved.before, "-o", output)
    assert "restarted inside the window" in sentence(said)
    assert (Reason.SERVER_RESTARTED.value in said.out) == (output in {"json", "yaml"})
    assert (said.out == "") == (output in {"table", "config"})


def test_one_bad_engine_does_not_hide_the_other(command: Command, saved: Saved) -> None:
    """Both are told, and the exit code is that of the failure."""
    one, other = (after(snapshot(engine=name)) for name in "01")
    said = command(
        "recommend",
        "--source",
        saved(page(one, other), "1.txt"),
        saved(page(after(one), snapshot(engine="1")), "2.txt"),
    )
    assert "restarted" in sentence(said)
    assert "m (engine 0)" in said.out
    assert "m (engine 1)" not in said.out


def test_a_failure_after_a_good_window_still_shows_that_window(command: Command, saved: Saved) -> None:
    """Three pages, the last one bad: the answer of the first window, and the failure."""
    said = command("recommend", "--source", saved.before, saved.after, saved("", "empty.txt"))
    assert "is empty" in sentence(said)
    assert "tokens/step" in said.out


def test_hostile_names_reach_the_terminal_harmless(command: Command, saved: Saved) -> None:
    """Control codes and 4 kB names are shown short and escaped; the fixture refuses raw codes anywhere."""
    evil = after(snapshot(model_name="\x1b[2J\n" + "x" * 4096))
    said = command("recommend", "--source", saved(page(evil), "1.txt"), saved(page(after(evil)), "2.txt"))
    assert said.code == OK
    assert max(map(len, said.out.splitlines())) < 300
