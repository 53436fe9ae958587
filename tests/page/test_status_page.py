"""The status page in a real browser: every state looked at, updates in place, and nothing asked for elsewhere."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from playwright.sync_api import expect

from controller.cycle import Cycle
from controller.listener import Listener
from page.browser import SCREENS
from page.conftest import Watched, serving
from page.scenes import SCENES, Scene, scene

Tab = Callable[..., Watched]
PATIENCE_MS = 20_000
LOOKS = (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360))
pytestmark = pytest.mark.timeout(120, func_only=True)  # installing a browser takes as long as it takes
KNOWN_AXE_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")


@pytest.mark.parametrize("name", SCENES)
def test_every_state_is_shown_in_light_and_dark_wide_and_narrow(name: str, tab: Tab) -> None:
    """No complaint, no request beyond its own origin, no sideways scroll; a picture of each is kept."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    with serving(scene(name)) as shown:
        for scheme, width in LOOKS:
            seen = tab(shown.url, scheme=scheme, width=width)
            assert seen.page.locator("main").is_visible()
            assert seen.page.locator("#lost").is_hidden()
            size = seen.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert size[0] <= size[1] == width
            seen.page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png", full_page=True)
            assert seen.complaints == []
            assert {url.startswith((shown.url, "data:")) for url in seen.asked} == {True}


@pytest.mark.parametrize("name", ["full", "changed", "frozen", "warming-up", "never-reached", "many-engines"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_shuts_somebody_out(name: str, scheme: str, tab: Tab) -> None:
    """Contrast, names, roles, order of headings: the rules of WCAG 2.1 AA that a machine can check."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415  # only where there is a browser

    with serving(scene(name)) as shown:
        found = Axe().run(tab(shown.url, scheme=scheme).page, options={"runOnly": list(KNOWN_AXE_RULES)})
    violations = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found.response["violations"]]
    assert violations == []


def test_dark_mode_is_dark(tab: Tab) -> None:
    """By the reader's own setting, not by a switch."""
    with serving(scene("full")) as shown:
        grounds = [
            tab(shown.url, scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
            for scheme in ("light", "dark")
        ]
    light, dark = ([int(part) for part in ground.removeprefix("rgb(").rstrip(")").split(",")] for ground in grounds)
    assert min(light) > 200
    assert max(dark) < 60


def test_it_updates_in_place_and_leaves_the_reader_alone(tab: Tab) -> None:
    """What is unfolded stays so, focus and scroll too; the change is announced; nothing is loaded anew."""
    with serving(scene("full")) as shown:
        seen = tab(shown.url, height=500)
        page = seen.page
        page.evaluate("window.untouched = true")
        numbers = page.locator("summary").first
        numbers.focus()
        page.keyboard.press("Enter")
        page.evaluate("window.scrollTo(0, 300)")
        before = page.locator("[role=status]").inner_text()
        shown.publish(scene("changed"))
        page.locator(".headline", has_text="k=2 is set").wait_for(timeout=PATIENCE_MS)
        assert page.locator("[role=status]").inner_text() == "k=2 is set." != before
        assert page.title().startswith("k=2 is set")
        assert page.evaluate("[window.untouched, window.scrollY]") == [True, 300]
        assert page.evaluate("document.activeElement === document.querySelector('summary')")
        assert page.locator("details").first.evaluate("each => each.open")
        assert page.locator("#live .entries li").first.inner_text().count("k=2 is set") == 1
        assert seen.complaints == []


def test_a_state_that_ends_is_gone_from_the_page(tab: Tab) -> None:
    """From a server that was never reached to a full page, to a dimmed one, and back."""
    with serving(scene("never-reached")) as shown:
        page = tab(shown.url).page
        for name, visible, gone in (
            ("full", ".figures", ".empty"),
            ("server-down", ".engine.stale .chip", ".engine:not(.stale)"),
            ("full", ".engine:not(.stale)", ".notice:visible"),
            ("many-engines", ".overview", ".stale"),
        ):
            shown.publish(scene(name))
            page.locator(visible).first.wait_for(timeout=PATIENCE_MS)
            expect(page.locator(gone)).to_have_count(0, timeout=PATIENCE_MS)


def test_a_sidecar_that_is_gone_is_told_and_its_return_is_noticed(tab: Tab) -> None:
    """The last state stays, dimmed and with its age."""
    with serving(scene("full")) as shown:
        seen = tab(shown.url)
        port = shown.server.port
    page = seen.page
    page.locator("#lost").wait_for(state="visible", timeout=PATIENCE_MS)
    expect(page.locator("#lost-age")).to_have_text(re.compile(r"^[0-9]+ s$"), timeout=PATIENCE_MS)
    assert page.locator(".figures").is_visible()
    expect(page.locator(".engine").first).to_have_css("opacity", re.compile(r"^0\.[0-6]"), timeout=PATIENCE_MS)
    page.screenshot(path=SCREENS / "sidecar-gone-light-1280.png", full_page=True)
    with serving(scene("changed"), port):
        page.locator(".headline", has_text="k=2 is set").wait_for(timeout=PATIENCE_MS)
        assert page.locator("#lost").is_hidden()
        assert page.locator("main.lost").count() == 0


def test_without_scripts_it_reads_the_same_and_reloads_itself(tab: Tab) -> None:
    """Nothing is drawn or said by the script."""
    with serving(scene("full")) as shown:
        plain = tab(shown.url, java_script_enabled=False).page
        scripted = tab(shown.url).page
        assert plain.locator("main").inner_text() == scripted.locator("main").inner_text()
        assert plain.locator("meta[http-equiv=refresh]").get_attribute("content") == "10"
        assert scripted.locator("meta[http-equiv=refresh]").count() == 0


def test_everything_can_be_reached_by_keyboard(tab: Tab) -> None:
    """Links and what can be unfolded, in the order of the page; the focus can be seen."""
    with serving(scene("full")) as shown:
        page = tab(shown.url).page
        reached = []
        for _ in range(12):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.slice(0, 9)"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none" or reached[-1] == page.evaluate("document.body.textContent.slice(0, 9)")
    assert reached[:5] == ["Metrics", "JSON", "Numbers", "Numbers", "Numbers"]


@contextmanager
def prefixed(target: str, prefix: str) -> Iterator[str]:
    """A proxy that publishes `target` under a prefix, and nothing at its root; yields the address with the prefix."""

    def application(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path, query = environment["PATH_INFO"], environment.get("QUERY_STRING", "")
        if not path.startswith(prefix):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"outside"]
        try:
            answer = urlopen(f"{target}{path.removeprefix(prefix)}?{query}", timeout=20)
        except HTTPError as error:
            answer = error
        with answer:
            kept = [(name, answer.headers[name]) for name in ("Content-Type", "Content-Security-Policy")
                    if answer.headers[name]]  # fmt: skip
            start(f"{answer.status} Proxied", kept)
            return [answer.read()]

    listener = Listener(application, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{listener.port}{prefix}"
    finally:
        listener.close()


def test_it_works_behind_a_proxy_that_adds_a_prefix(tab: Tab) -> None:
    """Updates go on, and its links stay below the prefix."""
    with (
        serving(scene("many-engines")) as shown,
        prefixed(shown.url, "/api/v1/namespaces/llm/services/vllm:9460/proxy/") as url,
    ):
        seen = tab(url)
        page = seen.page
        page.locator(".overview a").nth(5).click()
        page.locator("#engine-5").wait_for(timeout=PATIENCE_MS)
        shown.publish(Scene((_renamed(scene("many-engines").cycles[-1], "renamed"),)))
        page.locator("#engine-5 h2", has_text="renamed").wait_for(timeout=PATIENCE_MS)
        for link in ("Metrics", "JSON"):
            with page.expect_response(lambda _: True) as answer:
                page.get_by_role("link", name=link, exact=True).click()
            assert answer.value.status == 200
            page.go_back()
        assert {each.startswith((url, "data:")) for each in seen.asked} == {True}


def _renamed(cycle: Cycle, name: str) -> Cycle:
    return replace(cycle, engines=tuple(replace(each, model_name=name) for each in cycle.engines))


def test_nothing_of_a_hostile_name_is_run_or_loaded(tab: Tab) -> None:
    """It is seen as the text that it is, at first and after an update."""
    with serving(scene("full")) as shown:
        seen = tab(shown.url)
        shown.publish(scene("hostile"))
        seen.page.locator("h2", has_text="<img src=").first.wait_for(timeout=PATIENCE_MS)
        assert seen.page.locator("img").count() == 0
        assert seen.complaints == []
        assert {each.startswith((shown.url, "data:")) for each in seen.asked} == {True}


def test_the_policy_stops_what_is_not_the_pages_own(tab: Tab) -> None:
    """Were something to get in, it could neither run nor be loaded."""
    attempts: tuple[str, ...] = (
        "document.body.insertAdjacentHTML('beforeend', '<p onclick=\"window.ran=1\" id=trap>x</p>'); trap.click()",
        "document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.ran=1'}))",
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))",
    )
    with serving(scene("full")) as shown:
        for attempt in attempts:
            seen: Any = tab(shown.url)
            seen.page.evaluate(attempt)
            seen.page.wait_for_timeout(100)
            assert seen.page.evaluate("window.ran") is None
            assert any("Content Security Policy" in each for each in seen.complaints), attempt
