"""The audit says what it heard, and never that all is well when it heard nothing."""

import runpy
from pathlib import Path
from typing import Any, Final

import pytest

AUDIT: Final = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "audit.py"))
BAD: Final = {"name": "urllib3", "version": "1.26.4", "vulns": [{"id": "PYSEC-2021-108"}, {"id": "CVE-2021-33503"}]}
GOOD: Final = {"name": "numpy", "version": "2.4.6", "vulns": []}
UNHEARD: Final = {"name": "idna", "skip_reason": "Dependency not found on PyPI and could not be audited: idna (3.11)"}


@pytest.mark.parametrize(("entries", "knows"), [([BAD], True), ([GOOD], False), ([UNHEARD], False), ([], False)])
def test_only_a_service_that_knows_what_is_known_is_believed(entries: list[dict[str, Any]], *, knows: bool) -> None:
    """A mirror without advisories finds nothing wrong with anything."""
    assert AUDIT["knows"]({"dependencies": entries}) is knows


def test_what_is_vulnerable_and_what_is_unknown_is_told_by_name() -> None:
    """With the identifiers to look up."""
    found = AUDIT["heard"]({"dependencies": [BAD, GOOD, UNHEARD]})
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
    assert AUDIT["refused"]([{"Name": "a", "License": licence}]) == (() if taken else (f"a: {licence}",))


def test_all_that_the_image_holds_is_audited() -> None:
    """Each line of the lock."""
    lock = AUDIT["LOCK"].read_text("utf-8")
    assert len(AUDIT["locked"]()) == lock.count("==") > 10
