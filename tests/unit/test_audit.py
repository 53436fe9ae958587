"""The audit says what it heard, and never that all is well when it heard nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

sys.path.append(str(Path(__file__).parents[2] / "tools"))
import audit as tool

BAD: Final = {"name": "urllib3", "version": "1.26.4", "vulns": [{"id": "PYSEC-2021-108"}, {"id": "CVE-2021-33503"}]}
GOOD: Final = {"name": "numpy", "version": "2.4.6", "vulns": []}
UNHEARD: Final = {"name": "idna", "skip_reason": "Dependency not found on PyPI and could not be audited: idna (3.11)"}


@pytest.mark.parametrize(("entries", "knows"), [([BAD], True), ([GOOD], False), ([UNHEARD], False), ([], False)])
def test_only_a_service_that_knows_what_is_known_is_believed(entries: list[dict[str, Any]], *, knows: bool) -> None:
    """A mirror without advisories finds nothing wrong with anything."""
    assert tool.knows({"dependencies": entries}) is knows


def test_what_is_vulnerable_and_what_is_unknown_is_told_by_name() -> None:
    """With the identifiers to look up."""
    found = tool.heard({"dependencies": [BAD, GOOD, UNHEARD]})
    assert found.asked == 3
    assert found.vulnerable == ("urllib3 1.26.4: PYSEC-2021-108, CVE-2021-33503",)
    assert found.unknown == ("idna",)


@pytest.mark.parametrize(
    ("licence", "taken"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND MIT", True),
        ("MIT; Zlib", True),
        ("UNKNOWN", False),
        ("MIT AND GPL-3.0", False),
    ],
)
def test_a_licence_that_is_not_on_the_list_is_refused(licence: str, *, taken: bool) -> None:
    """All of its parts must be."""
    assert tool.refused([{"Name": "a", "License": licence}]) == (() if taken else (f"a: {licence}",))


def test_all_that_the_image_holds_is_audited() -> None:
    """Each line of the lock."""
    lock = tool.LOCK.read_text("utf-8")
    assert len(tool.locked()) == lock.count("==") > 10


@pytest.mark.parametrize(
    ("service", "licence", "flags", "status", "words"),
    [
        ([BAD], "MIT", (), 0, "0 vulnerable"),
        ([BAD], "GPL-3.0", (), 1, "not on the list"),
        ([GOOD], "MIT", (), 0, "NOT AUDITED"),
        ([GOOD], "MIT", ("--strict",), 1, "NOT AUDITED"),
        (None, "MIT", ("--strict",), 1, "NOT AUDITED"),
    ],
    ids=["all is well", "a licence", "a service that knows nothing", "and must", "no service"],
)
def test_the_exit_code_says_what_was_found(
    tmp_path: Path, service: list[dict[str, Any]] | None, licence: str, flags: tuple[str, ...], status: int, words: str
) -> None:
    """By the real script, with stand-ins for pip-audit and pip-licenses beside its interpreter."""
    ran = audit(tmp_path, service, [], licence, flags)
    assert ran.returncode == status, ran.stderr
    assert words in ran.stdout


def test_a_package_that_is_vulnerable_fails_the_audit(tmp_path: Path) -> None:
    """Once a service is believed, what it says of the lock counts."""
    ran = audit(tmp_path, [BAD], [BAD], "MIT", ())
    assert ran.returncode == 1
    assert "urllib3 1.26.4: PYSEC-2021-108" in ran.stdout


def audit(
    folder: Path,
    of_what_is_known: list[dict[str, Any]] | None,
    of_the_lock: list[dict[str, Any]],
    licence: str,
    flags: tuple[str, ...],
) -> subprocess.CompletedProcess[str]:
    """`tools/audit.py`, whose services answer so; None for one that is not reached."""
    names = [line.partition("==")[0] for line in tool.locked()]
    (folder / "python").symlink_to(sys.executable)
    (folder / "licences").write_text(json.dumps([{"Name": name, "License": licence} for name in names]), "utf-8")
    for name, entries in (("known", of_what_is_known), ("locked", of_the_lock)):
        (folder / name).write_text("" if entries is None else json.dumps({"dependencies": entries}), "utf-8")
    program(folder / "pip-licenses", f"cat {folder / 'licences'}")
    whole = f"if [ $(wc -w < $2) -gt 1 ]; then cat {folder / 'locked'}; else cat {folder / 'known'}; fi"
    program(folder / "pip-audit", whole)
    command = [str(folder / "python"), str(tool.__file__), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def program(path: Path, script: str) -> None:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o755)
