"""Draw the dashboard as it looks over a real Prometheus, with Grafana's own components: see README.md."""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import requests
from playwright.sync_api import sync_playwright

HERE: Final = Path(__file__).parent
DASHBOARD: Final = HERE.parents[1] / "deploy" / "grafana" / "adaptive-k.json"
POINTS: Final = 180
RATE_INTERVAL: Final = "1m"
PAGE: Final = '<!doctype html><body><div id="page"></div><div id="grafana-portal-container"></div></body>'


def main() -> None:
    """Query, bundle, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus", help="its address, like http://127.0.0.1:9090")
    parser.add_argument("picture", type=Path, help="where the PNG goes")
    parser.add_argument("--minutes", type=float, default=30.0, help="how far back (default 30)")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium (default /usr/bin/chromium)")
    options = parser.parse_args()
    found = _found(options.prometheus, options.minutes * 60) | {"theme": options.theme}
    _draw(*_bundled(), json.dumps(found), options.picture, options.browser)


def _found(prometheus: str, seconds: float) -> dict[str, Any]:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    names = [each["name"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    end = time.time()
    step = max(1.0, seconds / POINTS)

    def answers(expression: str, *, instant: bool) -> list[dict[str, Any]]:
        for name in names:
            expression = expression.replace(f'"${name}"', '".*"')
        expression = expression.replace("$__rate_interval", RATE_INTERVAL)
        path = "query" if instant else "query_range"
        times = {"time": end} if instant else {"start": end - seconds, "end": end, "step": step}
        asked: dict[str, str | float] = {"query": expression, **times}
        said = requests.get(f"{prometheus}/api/v1/{path}", params=asked, timeout=30).json()
        if said["status"] != "success":
            raise RuntimeError(f"{expression}: {said['error']}")
        return [{**each, "values": each.get("values") or [each["value"]]} for each in said["data"]["result"]]

    panels = {
        panel["id"]: [
            {**target, "result": answers(target["expr"], instant=target["instant"])} for target in panel["targets"]
        ]
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }
    changes = next(each for each in dashboard["annotations"]["list"] if each["useValueForTime"])
    marks = {float(value) for series in answers(changes["expr"], instant=False) for _, value in series["values"]}
    return {
        "dashboard": dashboard,
        "panels": panels,
        "from": (end - seconds) * 1000,
        "to": end * 1000,
        "interval": step * 1000,
        "marks": [{"time": each, "colour": changes["iconColor"]} for each in sorted(marks)],
    }


def _bundled() -> tuple[str, str]:
    """The page's script and style with everything in them."""
    bundle = HERE / "node_modules" / "page.bundle.js"
    program = HERE / "node_modules" / ".bin" / "esbuild"
    define = '--define:process.env.NODE_ENV="production"'
    loaders = [f"--loader:.{kind}=dataurl" for kind in ("svg", "woff", "woff2", "ttf", "png")]
    # the CommonJS builds: esbuild takes default imports of an .mjs file as Node does, which breaks their icons
    aliases = [f"--alias:@grafana/{name}=./node_modules/@grafana/{name}/dist/cjs/index.cjs" for name in ("ui", "data")]
    shared = [*aliases, "--bundle", "--format=iife", "--log-level=error", define, "--define:global=window", *loaders]
    subprocess.run([program, "page.jsx", f"--outfile={bundle}", *shared], check=True, cwd=HERE)
    return bundle.read_text("utf-8"), bundle.with_suffix(".css").read_text("utf-8")


def _draw(script: str, style: str, found: str, picture: Path, browser: str) -> None:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=arguments)
        page = running.new_page(viewport={"width": 1600, "height": 1000})
        page.on("pageerror", lambda error: print("error:", error))
        page.route("**", lambda route: route.fulfill(content_type="text/html", body=PAGE))  # nothing leaves the machine
        page.goto("http://dashboard.invalid/")  # an address, because a page without one has no localStorage
        page.add_style_tag(content=style)
        page.add_script_tag(content=f"window.FOUND = {found};")
        page.add_script_tag(content=script)
        page.locator("#dashboard").wait_for(timeout=8000)
        page.wait_for_timeout(1500)  # legends and tables measure themselves first
        page.locator("#dashboard").screenshot(path=picture)
        running.close()


if __name__ == "__main__":
    main()
