"""Prometheus, promtool, Alertmanager and amtool, as Debian packages them."""

import os
import shutil
from typing import Final

from deploy.tools import call, say

PACKAGES: Final = ("prometheus", "prometheus-alertmanager")
PROGRAMS: Final = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")


def cannot_have() -> str | None:
    """Why this machine cannot have them, in one line; None when it can."""
    if not _missing():
        return None
    if shutil.which("apt-get") is None:
        return f"{', '.join(_missing())} not found, and there is no apt-get to install them with"
    if os.geteuid() != 0:
        return f"{', '.join(_missing())} not found: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    return None


def install() -> None:
    """Install what is missing; nothing happens where all is there.

    Raises:
        RuntimeError: apt-get failed; the message holds the end of its output.
    """
    if not _missing():
        return
    say(f"installing {', '.join(PACKAGES)} (half a minute, once)")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    call("apt-get", "update", environment=quiet)
    wait = "DPkg::Lock::Timeout=300"
    call("apt-get", "install", "-y", "--no-install-recommends", "-o", wait, *PACKAGES, environment=quiet)


def _missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]
