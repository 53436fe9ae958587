"""Known vulnerabilities and licences of what the image holds: `make audit`.

pip-audit says "no known vulnerabilities" of packages that its service has never heard of, as behind a mirror that has
no advisories. So a release that is known to be vulnerable is asked about, too: only a service that reports it is
believed.
Exit codes: 0 nothing was found, or nobody could be asked, which is said; 1 something was found; with --strict also 1
when nobody could be asked.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path(__file__).parents[1] / "requirements" / "run.lock"
SERVICES: Final = ("pypi", "osv")
KNOWN_BAD: Final = "urllib3==1.26.4"
"""Vulnerable since CVE-2021-33503: a service that does not say so knows nothing."""
SERVICE_SECONDS: Final = 120
ALLOWED: Final = frozenset(
    {
        "MIT", "MIT License", "Apache-2.0", "Apache Software License", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Zlib",
        "CC0-1.0", "PSF-2.0", "Zope Public License", "Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0",
    }
)  # fmt: skip
"""Licences under which an image may be handed on; the MPL's copyleft ends at its own files, which are unchanged."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a service said of the locked packages.

    Attributes:
        asked: How many packages it was asked about.
        unknown: Those that it has never heard of.
        vulnerable: Package, release, and identifiers of what is known against it.
    """

    asked: int
    unknown: tuple[str, ...]
    vulnerable: tuple[str, ...]


def knows(report: Mapping[str, Any]) -> bool:
    """Whether a service, asked about the release that is known to be vulnerable, says so."""
    return any(each.get("vulns") for each in report["dependencies"])


def heard(report: Mapping[str, Any]) -> Heard:
    """What pip-audit's JSON report says of the locked packages."""
    entries = report["dependencies"]
    return Heard(
        asked=len(entries),
        unknown=tuple(each["name"] for each in entries if "skip_reason" in each),
        vulnerable=tuple(
            f"{each['name']} {each['version']}: {', '.join(found['id'] for found in each['vulns'])}"
            for each in entries
            if each.get("vulns")
        ),
    )


def refused(licences: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """The packages with a licence that is not allowed, from pip-licenses' JSON; one that states none is not."""
    return tuple(
        f"{each['Name']}: {each['License']}"
        for each in licences
        if not set(re.split(r"\s+(?:AND|OR)\s+|;\s*", each["License"])) <= ALLOWED
    )


def locked() -> tuple[str, ...]:
    """What the image holds, `name==version`."""
    return tuple(line for line in LOCK.read_text("utf-8").splitlines() if re.match(r"[a-z]", line))


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and say what was found."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities and licences of what the image holds.")
    parser.add_argument("--strict", action="store_true", help="fail when no service could be asked")
    given = parser.parse_args(arguments)
    packages = locked()
    licences = _licences(packages)
    bad = refused(licences)
    print(f"licences: {len(licences)} packages, {len(bad)} refused")
    for each in bad:
        print(f"  {each}: not on the list in tools/audit.py")
    answer = _asked(packages)
    if answer is None:
        print(
            f"vulnerabilities: NOT AUDITED. None of {', '.join(SERVICES)} could tell that {KNOWN_BAD} is vulnerable, "
            "so what they say of the rest is worth nothing. Run `make audit` where they can be reached."
        )
        return int(bool(bad) or given.strict)
    print(f"vulnerabilities: {answer.asked} packages, {len(answer.vulnerable)} vulnerable")
    for each in (*answer.vulnerable, *(f"{name}: not known to the service" for name in answer.unknown)):
        print(f"  {each}")
    return int(bool(bad or answer.vulnerable) or (given.strict and bool(answer.unknown)))


def _licences(packages: Sequence[str]) -> list[dict[str, str]]:
    names = [each.partition("==")[0] for each in packages]
    command = [
        str(Path(sys.executable).with_name("pip-licenses")),
        "--from=mixed",
        "--format=json",
        "--packages",
        *names,
    ]
    found: list[dict[str, str]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if len(found) != len(names):
        raise SystemExit(f"audit: {len(names)} packages are locked and {len(found)} installed: run `make .venv/dev`.")
    return found


def _asked(packages: Sequence[str]) -> Heard | None:
    """What the first service that knows says; None where there is none."""
    for service in SERVICES:
        trial = _report(service, [KNOWN_BAD])
        report = _report(service, packages) if trial is not None and knows(trial) else None
        if report is not None:
            return heard(report)
    return None


def _report(service: str, packages: Sequence[str]) -> dict[str, Any] | None:
    """pip-audit's own; None where the service was not reached."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(packages))
        file.flush()
        command = [
            str(Path(sys.executable).with_name("pip-audit")), "--requirement", file.name, "--no-deps", "--disable-pip",
            "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
        ]  # fmt: skip
        try:
            said = subprocess.run(command, check=False, capture_output=True, timeout=SERVICE_SECONDS)
            found: dict[str, Any] = json.loads(said.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
    return found


if __name__ == "__main__":
    sys.exit(main())
