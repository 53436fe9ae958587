"""What the status page holds: the same story in words and pictures, whole or only its changing part."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from controller.act.actuator import Outcome
from controller.cycle import Cycle, Failure
from controller.serve.page_engine import notice, section
from controller.serve.page_history import Story
from controller.serve.page_lists import Fact, facts
from controller.serve.page_markup import Child, element
from controller.serve.page_overview import SECTIONS_MAX, chosen, overview
from controller.serve.page_words import age, clock_text, headline, meaning, name, words

FRAGMENT: Final = "live"
"""The query that asks for the changing part only."""
_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M2 13V3h5v4h4v4h3v2z' fill='%23127475'/%3E%3C/svg%3E"
)


def _file(title: str) -> str:
    return files("controller.serve").joinpath(title).read_text("utf-8").strip()


_STYLE: Final = _file("page.css")
_SCRIPT: Final = _file("page.js")
BUILD: Final = hashlib.sha256((_STYLE + _SCRIPT).encode()).hexdigest()[:12]
"""Tells a page of another version of the sidecar, which then loads itself anew."""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY: Final = (
    "default-src 'none'",
    f"style-src {_hash(_STYLE)}",
    f"script-src {_hash(_SCRIPT)}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
"""What the page may do: show itself and ask its own origin for more."""


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the sidecar runs.

    Attributes:
        server: Address of the server that is watched; empty when it is not known.
        mode: `recommend`, `apply` or `rollout`.
        interval_seconds: Time between two passes.
        checkpoint: The file that keeps what was learnt; empty without one.
        labels: Names of the labels that tell a fleet's rows apart; empty beside one server.
        fleet: Whether many servers are watched, through a store of metrics.
    """

    server: str = ""
    mode: str = "recommend"
    interval_seconds: float = 10.0
    checkpoint: str = ""
    labels: tuple[str, ...] = ()
    fleet: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One story, seen at one moment.

    Attributes:
        about: What is watched.
        story: What was published.
        checkpoint_failure: Why what was learnt could not be kept; empty when it was.
        patience_seconds: Without a pass for longer than this, the loop hangs.
        now: Unix seconds.
        engine: The place of the engine that is asked for, as it stands in the query.
    """

    about: About
    story: Story
    checkpoint_failure: str
    patience_seconds: float
    now: float
    engine: str = ""

    def document(self) -> Element:
        """The whole page."""
        refresh = min(10.0, max(1.0, self.about.interval_seconds / 2))
        lost = element(
            "p",
            element("strong", "The sidecar does not answer.", role="alert"),
            " What is shown here was so ",
            element("span", id="lost-age"),
            " ago. The page goes on by itself when it answers again.",
        )
        return element(
            "html",
            element(
                "head",
                element("meta", charset="utf-8"),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("meta", name="color-scheme", content="light dark"),
                element("noscript", element("meta", http_equiv="refresh", content="10")),
                element("title", _title(self.story.cycle)),
                element("link", rel="icon", href=_ICON),
                element("style", _STYLE),
            ),
            element(
                "body",
                element(
                    "div",
                    element("span", "!", class_="mark-sign", aria_hidden="true"),
                    lost,
                    id="lost",
                    class_="notice problem",
                    hidden=True,
                ),
                self.live(),
                element("script", _SCRIPT),
                data_refresh_seconds=refresh,
            ),
            lang="en",
        )

    def live(self) -> Element:
        """What changes from pass to pass."""
        story, cycle, now = self.story, self.story.cycle, self.now
        engines = cycle.engines if cycle is not None else ()
        silent = now - cycle.at_unix_seconds if cycle is not None else 0.0
        problems: list[Child] = []
        if silent > self.patience_seconds:
            text = "The sidecar's process hangs or the machine slept; /livez says the same."
            problems.append(notice(True, f"No pass has ended for {age(silent)}.", text))
        if cycle is not None and cycle.failure is not None:
            problems.append(notice(True, meaning(cycle.failure.reason), cycle.failure.message, cycle.failure.reason))
        problems += [notice(False, meaning(note.reason), note.message, note.reason) for note in _notes(cycle)]
        if self.checkpoint_failure:
            problems.append(notice(True, "What is learnt is not kept.", self.checkpoint_failure))
        stale = cycle is not None and (cycle.failure is not None or silent > self.patience_seconds)
        told_at = story.good_unix_seconds if story.good_unix_seconds is not None else now
        shown = chosen(engines, self.engine)
        return element(
            "main",
            element("span", _title(cycle), id="title", hidden=True),
            self._header(),
            element("p", _spoken(story), class_="unseen", role="status"),
            *problems,
            overview(engines, shown) if len(engines) > len(shown) else None,
            *(
                section(f"engine-{index}", engines[index], story.past(engines[index]), now, told_at, stale=stale)
                for index in shown
            ),
            None if engines else self._empty(),
            self._footer(),
            id=FRAGMENT,
            data_build=BUILD,
        )

    def _header(self) -> Element:
        cycle, about, now = self.story.cycle, self.about, self.now
        said = {"apply": "applies live", "rollout": "rolls the workload"}.get(about.mode, "recommends only")
        last = "no pass yet" if cycle is None else f"pass {cycle.number}, {age(now - cycle.at_unix_seconds)} ago"
        well = cycle is not None and not _troubled(cycle) and now - cycle.at_unix_seconds <= self.patience_seconds
        pulse = "pulse" if well else "pulse wait" if cycle is None else "pulse off"
        return element(
            "header",
            element("h1", "adaptive-k"),
            element(
                "p",
                element("span", class_=pulse, aria_hidden="true"),
                element("span", said),
                element("span", last),
            ),
            element("nav", _link("metrics", "Metrics"), _link("recommendation", "JSON"), aria_label="Raw data"),
            class_="top",
        )

    def _empty(self) -> Element:
        cycle = self.story.cycle
        if cycle is None:
            title, text = "Waiting for the first pass", "The first page of the server is being read."
        elif cycle.failure is not None:
            title, text = "Nothing is known of the server yet", "It is asked again on every pass; nothing is changed."
        else:
            title, text = "No engine on the page", "The server shows no engine's metrics. It is asked again every pass."
        return element("section", element("h2", title), element("p", text), class_="empty")

    def _footer(self) -> Element:
        story, about, cycle, now = self.story, self.about, self.story.cycle, self.now
        found: list[Fact] = []
        if about.server:
            parts = urlsplit(about.server)
            found.append(("server", name(parts.netloc + parts.path), f"every {self.about.interval_seconds:g} s"))
        if cycle is not None:
            took = f"took {cycle.seconds * 1e3:.0f} ms, {cycle.observe_seconds * 1e3:.0f} of them to read the server"
            found.append(("last pass", f"{clock_text(cycle.at_unix_seconds)} UTC", took))
            good = story.good_unix_seconds
            read = "never read" if good is None else f"last read {age(now - good)} ago"
            found.append(("failed passes", f"{story.failed} of {cycle.number}", read))
        if about.fleet:
            found.append(("memory", "Prometheus", "a restart learns from its last minutes"))
            return element("footer", element("h2", "Health", class_="unseen"), facts(found, class_="health"))
        kept = "failing" if self.checkpoint_failure else "kept"
        found.append(("checkpoint", kept, name(about.checkpoint)) if about.checkpoint else
                     ("checkpoint", "none", "a restart learns anew"))  # fmt: skip
        return element("footer", element("h2", "Health", class_="unseen"), facts(found, class_="health"))


def _notes(cycle: Cycle | None) -> tuple[Failure, ...]:
    return cycle.notes if cycle is not None else ()


def _link(path: str, text: str) -> Element:
    return element("a", text, href=path)


def _spoken(story: Story) -> str:
    """What a screen reader says when it changes: no numbers that change with every pass."""
    cycle = story.cycle
    if cycle is None:
        return "No pass has ended yet."
    if cycle.failure is not None:
        return meaning(cycle.failure.reason)
    many = len(cycle.engines) > 1
    return words(
        " ".join(
            f"{f'Engine {name(each.engine)}: ' if many else ''}{headline(each)}."
            for each in cycle.engines[:SECTIONS_MAX]
        )
    )


def _title(cycle: Cycle | None) -> str:
    """For the browser's tab: the first engine's answer, or why there is none now."""
    if cycle is None or not cycle.engines:
        return "adaptive-k" if cycle is None or not cycle.failure else "\N{WARNING SIGN} adaptive-k"
    first = cycle.engines[0]
    mark = "\N{WARNING SIGN} " if _troubled(cycle) else ""
    failure = cycle.failure or first.failure
    said = meaning(failure.reason).removesuffix(".") if failure else headline(first)
    return f"{mark}{said} \N{MIDDLE DOT} {name(first.model_name)} \N{MIDDLE DOT} adaptive-k"


def _troubled(cycle: Cycle) -> bool:
    """Whether something could not be read, or could not be done."""
    undone = (
        each.acted.outcome is Outcome.FAILED or (each.control is not None and each.control.applied is False)
        for each in cycle.engines
    )
    return bool(cycle.failures) or any(undone)
