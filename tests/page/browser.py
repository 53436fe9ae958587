"""A real browser: Debian's Chromium, driven by Playwright."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
PACKAGE: Final = "chromium"
LOCK: Final = Path(tempfile.gettempdir(), "adaptive-k-chromium.lock")
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
SCREENS: Final = Path(__file__).parents[2] / "build" / "screens"
"""Where pictures of every state are kept; git ignores the folder."""


def program() -> str | None:
    """The browser's path, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def cannot_run() -> str | None:
    """Why this machine cannot have a browser, in one line; None when it can."""
    if find_spec("playwright") is None:
        return "the Python package playwright is missing: install the extra `dev`"
    if program() is not None:
        return None
    if platform.system() != "Linux" or shutil.which("apt-get") is None:
        return "there is no Chromium, and no apt-get to install it with: install Chromium"
    if os.geteuid() != 0:
        return "there is no Chromium, and only root can install it: apt-get install chromium"
    return None


def install() -> str:
    """The browser's path; installs it, half a minute, when there is none.

    Raises:
        RuntimeError: It could not be installed; the message holds the end of the output.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when it is closed: apt-get update waits for nobody
        if program() is None:
            sys.stderr.write("page: installing Chromium (half a minute, once)\n")
            wait = ("-o", "DPkg::Lock::Timeout=300")
            _command("apt-get", "update", *wait)
            _command("apt-get", "install", "-y", "--no-install-recommends", *wait, PACKAGE)
    found = program()
    if found is None:
        raise RuntimeError(f"{PACKAGE} is installed, but none of {', '.join(NAMES)} is to be found")
    return found


@contextmanager
def running(path: str) -> "Iterator[Browser]":
    """The browser, until the block ends."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # a machine without it says why it skips

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def _command(*arguments: str) -> None:
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(arguments[:4])}` ended with {done.returncode}: {done.stderr[-2000:]}")
