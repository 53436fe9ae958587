"""The browser, started once; and a sidecar's port that shows a scene."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest
from fakes import ManualClock

from controller.serve.page_view import About
from controller.serve.server import Server
from page.browser import cannot_run, install, running
from page.scenes import Scene

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

INTERVAL_SECONDS = 2.0
"""Of the sidecar's passes: the page then asks once a second."""


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> "Iterator[Browser]":
    """A real browser. Skips where the machine cannot have one; in CI that is a failure."""
    reason = cannot_run()
    if reason is not None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"no browser on this machine: {reason}")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        path = install()
    with running(path) as found:
        yield found


@dataclass
class Shown:
    """A sidecar's port at a moment."""

    server: Server
    clock: ManualClock

    @property
    def url(self) -> str:
        """Of its status page."""
        return f"http://127.0.0.1:{self.server.port}/"

    def publish(self, scene: Scene) -> None:
        """Go through a scene, and stay at its end."""
        for cycle in scene.cycles:
            self.server.publish(cycle)
        self.server.checkpoint_failed(scene.checkpoint_failure)
        if scene.cycles:
            self.clock.unix = scene.cycles[-1].at_unix_seconds + scene.seconds_later


Serve = Callable[..., AbstractContextManager[Shown]]


@contextmanager
def serving(scene: Scene, port: int = 0) -> Iterator[Shown]:
    """A port that shows a scene until the block ends."""
    clock = ManualClock()
    about = About("http://vllm:8000", scene.mode, checkpoint="/var/lib/adaptive-k/state")
    shown = Shown(Server(f"127.0.0.1:{port}", clock, INTERVAL_SECONDS, about), clock)
    shown.publish(scene)
    shown.server.start()
    try:
        yield shown
    finally:
        shown.server.close()


@dataclass
class Watched:
    """A tab, and all that it asked for and complained of."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def tab(browser: "Browser") -> Iterator[Callable[..., Watched]]:
    """Opens tabs: each in a context of its own, with the options of Playwright's contexts."""
    with ExitStack() as until_torn_down:

        def opened(
            url: str, *, width: int = 1280, height: int = 900, scheme: Literal["light", "dark"] = "light", **more: Any
        ) -> Watched:
            context: BrowserContext = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, **more
            )
            until_torn_down.callback(context.close)
            found = Watched(context.new_page())
            found.page.on("console", lambda message: found.complaints.append(message.text))
            found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
            found.page.on("request", lambda request: found.asked.append(request.url))
            found.page.goto(url)
            return found

        yield opened
