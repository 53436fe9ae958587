"""The status page: one document, made when it is asked for from what the loop has published, and nothing else."""

from typing import Final
from urllib.parse import parse_qs

from controller.cycle import Cycle
from controller.serve.page_history import Story, after
from controller.serve.page_markup import html
from controller.serve.page_view import FRAGMENT, POLICY, About, View

QUERY_MAX: Final = 256
"""A longer query is not read."""
HEADERS: Final = (
    ("Content-Security-Policy", "; ".join(POLICY)),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)


class Page:
    """Remembers the last decisions of what is published, and makes the page when it is asked for."""

    def __init__(self, about: About, patience_seconds: float) -> None:
        """`patience_seconds`: without a pass for longer than this, the page says that the loop hangs."""
        self._about = about
        self._patience_seconds = patience_seconds
        self._story = Story()
        self._checkpoint_failure = ""

    def publish(self, cycle: Cycle) -> None:
        """Take in one cycle. Called by the loop's thread only; readers see the state before or after it."""
        self._story = after(self._story, cycle)

    def checkpoint_failed(self, message: str) -> None:
        """Why the checkpoint could not be written the last time; empty when it could."""
        self._checkpoint_failure = message

    def answer(self, query: str, now: float) -> bytes:
        """The page, or for the query `live` its changing part; `now` in Unix seconds."""
        asked = parse_qs(query, keep_blank_values=True) if len(query) <= QUERY_MAX else {}
        view = View(
            about=self._about,
            story=self._story,
            checkpoint_failure=self._checkpoint_failure,
            patience_seconds=self._patience_seconds,
            now=now,
            engine=asked.get("engine", [""])[0],
        )
        return (html(view.live()) if FRAGMENT in asked else f"<!doctype html>{html(view.document())}").encode()
