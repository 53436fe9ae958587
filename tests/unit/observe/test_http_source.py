"""A page is fetched from a real server, or refused with the cause and the remedy, bounded in time and memory."""

import gzip
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Loopback, answer, drip, drip_headers, flood, hang, hang_after, self_signed, unused_port
from pages import after, page, snapshot

from controller.clock import SystemClock
from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.scrape import HttpSource
from controller.observe.snapshot import Snapshot
from controller.reason import Reason

SHOWN = after(snapshot())
PAGE = page(SHOWN)
START = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def read(url: str, timeout_seconds: float = 10.0, **options: Any) -> tuple[Snapshot, ...]:
    """One scrape, as the loop does it."""
    clock = SystemClock()
    return HttpSource(url, clock, Fetcher(timeout_seconds=timeout_seconds, **options)).read()


def refused(url: str, **options: Any) -> ObserveError:
    """The refusal that a scrape ends in."""
    with pytest.raises(ObserveError) as caught:
        read(url, **options)
    error = caught.value
    assert error.message.isprintable()
    assert error.message.endswith(".")
    assert re.search(r"Error\b|0x|urllib3|\(_", error.message) is None
    return error


def test_a_page_is_read_from_the_metrics_path_and_stamped() -> None:
    """`/metrics` is added, and the time is that of the scrape."""
    clock = SystemClock()
    before = clock.monotonic_seconds()
    with Loopback(answer(PAGE)) as server:
        (engine,) = read(server.url)
    assert engine.key == SHOWN.key
    assert engine.drafts == SHOWN.drafts
    assert engine.at_seconds is not None
    assert before <= engine.at_seconds <= clock.monotonic_seconds()
    assert server.requests[0].startswith("GET /metrics HTTP/1.1\r\n")


def test_a_chunked_page_and_one_that_ends_with_the_connection_are_read() -> None:
    """HTTP has three ways to end a body."""
    half = len(PAGE) // 2
    parts = (PAGE[:half].encode(), PAGE[half:].encode())
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
    with Loopback(START + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, START + b"\r\n" + PAGE.encode()) as server:
        assert read(server.url)[0].drafts == SHOWN.drafts
        assert read(server.url)[0].drafts == SHOWN.drafts


def test_the_request_asks_for_plain_uncompressed_text() -> None:
    """And leaves no connection open that the server could close just when the next pass asks."""
    with Loopback(answer(PAGE)) as server:
        read(server.url)
    headers = server.requests[0].splitlines()
    assert "Accept: text/plain;version=0.0.4" in headers
    assert "Accept-Encoding: identity" in headers
    assert "Connection: close" in headers
    assert not any(header.startswith(("Authorization", "Cookie")) for header in headers)


STATUSES = [
    ("401 Unauthorized", Reason.SERVER_REFUSES, "--token-file"),
    ("403 Forbidden", Reason.SERVER_REFUSES, "--token-file"),
    ("404 Not Found", Reason.SERVER_ERROR, "path /metrics"),
    ("500 Internal Server Error", Reason.SERVER_ERROR, "status 500"),
    ("503 Service Unavailable", Reason.SERVER_ERROR, "server's log"),
    ("204 No Content", Reason.SERVER_ERROR, "status 204"),
]


@pytest.mark.parametrize(("status", "reason", "words"), STATUSES, ids=[status for status, _, _ in STATUSES])
def test_a_status_other_than_200_is_named(status: str, reason: Reason, words: str) -> None:
    """With what to do about it, and whatever the body says."""
    with Loopback(answer(PAGE if status[0] != "2" else "", status)) as server:
        error = refused(server.url)
    assert error.reason is reason
    assert words in error.message


BODIES: dict[str, tuple[Answer, Reason, str]] = {
    "HTML": (answer("<html>\n<body>Sign in</body></html>\n"), Reason.NOT_METRICS, "not a metrics page"),
    "empty page": (answer(""), Reason.PAGE_EMPTY, "is empty"),
    "binary": (answer(b"\x7fELF\xff\xfe\x00"), Reason.NOT_METRICS, "not UTF-8"),
    "shorter than it says": (
        START + b"Content-Length: 100000\r\n\r\n" + PAGE.encode(),
        Reason.PAGE_CUT,
        "closed the connection",
    ),
    "cut within a chunk": (
        START + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + PAGE.encode(),
        Reason.PAGE_CUT,
        "closed the connection",
    ),
    "cut between chunks": (
        START + b"Transfer-Encoding: chunked\r\n\r\n3\r\n# x\r\n",
        Reason.PAGE_CUT,
        "Try again",
    ),
    "damaged chunk": (START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Reason.PAGE_CUT, "Try again"),
    "cut without a length": (START + b"\r\n" + PAGE.encode()[:1000], Reason.PAGE_CUT, "it is cut"),
    "no answer at all": (b"", Reason.SERVER_UNREACHABLE, "the connection was closed"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", Reason.SERVER_UNREACHABLE, "does not answer in HTTP"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, Reason.SERVER_UNREACHABLE, "not answer in HTTP"),
    "silence": (hang, Reason.SERVER_TIMEOUT, "--timeout-seconds"),
    "silence after the headers": (hang_after(START + b"Content-Length: 9\r\n\r\n"), Reason.SERVER_TIMEOUT, "hangs"),
    "silence in the page": (
        hang_after(START + b"Content-Length: 99999\r\n\r\n" + PAGE.encode()),
        Reason.SERVER_TIMEOUT,
        "within 0.3 s",
    ),
    "a body that drips": (drip, Reason.SERVER_TIMEOUT, "overloaded"),
    "headers that drip": (drip_headers, Reason.SERVER_TIMEOUT, "did not answer within 0.3 s"),
}


@pytest.mark.parametrize(("given", "reason", "words"), BODIES.values(), ids=BODIES)
def test_an_answer_that_is_no_page_is_named(given: Answer, reason: Reason, words: str) -> None:
    """What the server did, in words, within the timeout."""
    with Loopback(given) as server:
        error = refused(server.url, timeout_seconds=0.3 if callable(given) else 10.0)
    assert error.reason is reason
    assert words in error.message


def test_an_encrypted_answer_that_drips_meets_the_deadline_too(tmp_path: Path) -> None:
    """TLS is read through the same deadline."""
    with Loopback(drip_headers, certificate=self_signed(tmp_path)) as server:
        error = refused(server.url, timeout_seconds=0.3, ca_file=tmp_path / "certificate.pem")
    assert error.reason is Reason.SERVER_TIMEOUT


def test_a_page_of_100_mb_is_refused_at_the_limit_without_being_held() -> None:
    """Memory stays near the limit, and the rest is never read."""
    limit = 1_000_000
    with Loopback(flood) as server:
        tracemalloc.start()
        error = refused(server.url, timeout_seconds=10, limit_bytes=limit)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert error.reason is Reason.PAGE_TOO_LARGE
    assert "--page-limit-bytes" in error.message
    assert peak < 3 * limit


def test_a_page_at_the_limit_is_read_and_one_byte_more_is_not() -> None:
    """The limit is the largest page."""
    size = len(PAGE.encode())
    with Loopback(answer(PAGE)) as server:
        assert read(server.url, limit_bytes=size)
        assert refused(server.url, limit_bytes=size - 1).reason is Reason.PAGE_TOO_LARGE


def test_a_compressed_answer_is_refused_unopened() -> None:
    """A gzip bomb stays packed."""
    bomb = gzip.compress(bytes(50_000_000))
    with Loopback(answer(bomb, "200 OK", "Content-Encoding: gzip")) as server:
        tracemalloc.start()
        error = refused(server.url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert error.reason is Reason.NOT_METRICS
    assert "answers in gzip" in error.message
    assert peak < 2_000_000


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_not_followed_and_takes_no_token_along(status: str, tmp_path: Path) -> None:
    """The sentence says where it pointed; the other server hears nothing."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    with Loopback(answer(PAGE)) as other:
        location = f"Location: {other.url}/metrics?session=private"
        with Loopback(answer("moved", status, location)) as server:
            error = refused(server.url, token_file=token)
    assert other.requests == []
    assert error.reason is Reason.SERVER_REDIRECTS
    assert f"{other.url}/metrics" in error.message
    assert "private" not in error.message
    assert "s3cret" not in error.message


@pytest.mark.parametrize("location", ["", "http://[bad", "http://\x1b[31mred/", "x" * 5000, "/login"])
def test_a_redirect_to_nowhere_is_refused_like_any_other(location: str) -> None:
    """Whatever the header holds."""
    with Loopback(answer("moved", "302 Found", f"Location: {location}")) as server:
        error = refused(server.url)
    assert error.reason is Reason.SERVER_REDIRECTS
    assert len(error.message) < 300


def test_the_body_of_a_redirect_is_not_read() -> None:
    """It could be endless."""
    with Loopback(hang_after(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 99\r\n\r\n")) as server:
        assert refused(server.url).reason is Reason.SERVER_REDIRECTS


ADDRESSES = {
    "nothing listens": (f"http://127.0.0.1:{unused_port()}", "connection refused"),
    "unknown name": ("http://no-such-host.invalid:8000", "the host name is not known"),
    "impossible name": ("http://a..b:8000", "not a valid one"),
    "overlong name": (f"http://{'x' * 70}:8000", "not a valid one"),
}


@pytest.mark.parametrize(("url", "words"), ADDRESSES.values(), ids=ADDRESSES)
def test_a_server_that_cannot_be_reached_is_named_with_the_cause(url: str, words: str) -> None:
    """Refused, unknown or impossible: check the address."""
    error = refused(url)
    assert error.reason is Reason.SERVER_UNREACHABLE
    assert words in error.message
    assert "check that vLLM runs" in error.message


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server next door is not asked for through a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Loopback(answer(PAGE)) as server:
        assert read(server.url)[0].drafts == SHOWN.drafts


def test_credentials_of_a_netrc_file_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are meant for other programs."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Loopback(answer(PAGE)) as server:
        read(server.url)
    assert "Authorization" not in server.requests[0]


def test_the_token_is_read_anew_for_every_scrape(tmp_path: Path) -> None:
    """A rotated token is used without a restart."""
    token = tmp_path / "token"
    clock = SystemClock()
    with Loopback(answer(PAGE)) as server:
        source = HttpSource(server.url, clock, Fetcher(token_file=token))
        for value in ("first", "second"):
            token.write_text(f"{value}\n")
            source.read()
    assert "Authorization: Bearer first" in server.requests[0]
    assert "Authorization: Bearer second" in server.requests[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "does not hold a token"),
        (b"two words", "does not hold a token"),
        (b"two\nlines", "does not hold a token"),
        ("Schlüssel".encode(), "does not hold a token"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_token_file_without_a_token_is_refused_before_anything_is_sent(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    """The file is named, its content never."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with Loopback(answer(PAGE)) as server:
        error = refused(server.url, token_file=token)
    assert server.requests == []
    assert error.reason is Reason.FILE_UNREADABLE
    assert words in error.message
    assert str(token) in error.message
    assert "words" not in error.message


def test_a_certificate_that_nobody_known_signed_is_refused(tmp_path: Path) -> None:
    """With the option that would accept it."""
    with Loopback(answer(PAGE), certificate=self_signed(tmp_path)) as server:
        error = refused(server.url)
    assert error.reason is Reason.TLS_FAILED
    assert "--ca-file" in error.message


def test_the_server_is_trusted_by_its_ca_file(tmp_path: Path) -> None:
    """Encrypted, and read."""
    certificate = self_signed(tmp_path)
    with Loopback(answer(PAGE), certificate=certificate) as server:
        assert read(server.url, timeout_seconds=5, ca_file=tmp_path / "certificate.pem")[0].drafts == SHOWN.drafts


def test_a_certificate_for_another_host_is_refused_with_its_own_remedy(tmp_path: Path) -> None:
    """No CA file would help here."""
    certificate = self_signed(tmp_path, "DNS:vllm.example")
    with Loopback(answer(PAGE), certificate=certificate) as server:
        error = refused(server.url, ca_file=tmp_path / "certificate.pem")
    assert error.reason is Reason.TLS_FAILED
    assert "another host" in error.message
    assert "--ca-file" not in error.message


def test_a_server_without_tls_is_told_from_one_that_is_not_trusted() -> None:
    """https:// to a plain port: give http://."""
    with Loopback(answer(PAGE)) as server:
        error = refused(server.url.replace("http:", "https:"))
    assert error.reason is Reason.TLS_FAILED
    assert "http://" in error.message


@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_a_ca_file_without_a_certificate_is_named(content: str | None, tmp_path: Path) -> None:
    """Missing, or not PEM."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    with Loopback(answer(PAGE), certificate=self_signed(tmp_path)) as server:
        error = refused(server.url, ca_file=bundle)
    assert error.reason is Reason.FILE_UNREADABLE
    assert str(bundle) in error.message
    assert "--ca-file" in error.message


def test_a_server_that_comes_back_is_read_again() -> None:
    """One failed scrape leaves nothing behind."""
    clock = SystemClock()
    with Loopback(b"", answer("", "503 Service Unavailable"), answer(PAGE)) as server:
        source = HttpSource(server.url, clock, Fetcher())
        for reason in (Reason.SERVER_UNREACHABLE, Reason.SERVER_ERROR):
            with pytest.raises(ObserveError) as caught:
                source.read()
            assert caught.value.reason is reason
        assert source.read()[0].drafts == SHOWN.drafts
