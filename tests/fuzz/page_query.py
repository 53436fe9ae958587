"""The query of our own status page: text -> `Page.answer`."""

from typing import Final

from fakes import ManualClock, RecordingActuator, ScriptedSource
from pages import after, page, snapshot

from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.serve.page import Page
from controller.serve.page_view import About

ANSWER_BYTES_MAX: Final = 200_000


def _page() -> Page:
    """Of a server with two engines."""
    clock, served = ManualClock(), Page(About("http://127.0.0.1:8000"), 60.0)
    first = [snapshot(engine=name) for name in "01"]
    pages = (page(*first), page(*map(after, first)))
    source = ScriptedSource(clock, *pages, before_read=lambda: clock.advance(10.0))
    loop = Controller(source, clock, RecordingActuator(), PolicySettings())
    for _ in pages:
        served.publish(loop.step())
    return served


_PAGE: Final = _page()
_PLAIN: Final = len(_PAGE.answer("", 1.8e9))


def check(data: bytes) -> None:
    """There is a page whatever is asked, of about the same size, and nothing of the query becomes markup."""
    query = data.decode("latin-1")  # as WSGI hands it over
    body = _PAGE.answer(query, 1.8e9)
    assert len(body) <= _PLAIN + 4096
    assert b"<canary" not in body


def seeds() -> list[bytes]:
    """What the page itself asks, and what it does not."""
    return [b"", b"live", b"live&engine=m%200", b"engine=%3Ccanary%3E", b"engine=m+1&engine=x", b"%", b"&&=;"]
