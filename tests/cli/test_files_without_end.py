"""Files of 200 MB in the place of every file that a command reads: refused by name, and not held in memory."""

import tracemalloc
from pathlib import Path
from typing import Final

import pytest
from calling import Command, Saved
from loopback import Loopback, answer
from pages import after, page, snapshot

HUGE_BYTES: Final = 200_000_000
HELD_BYTES_MAX: Final = 40_000_000

READERS: Final[dict[str, tuple[str, ...]]] = {
    "token": ("recommend", "--url", "URL", "--token-file", "HUGE"),
    "user": ("recommend", "--prometheus-url", "URL", "--username-file", "HUGE", "--password-file", "HUGE"),
    "plugin token": ("reset", "--url", "URL", "--plugin-token-file", "HUGE"),
    "saved page": ("recommend", "--source", "HUGE", "HUGE"),
    "settings": ("recommend", "--config", "HUGE"),
    "profile": ("recommend", "--source", "BEFORE", "AFTER", "--profile", "HUGE"),
    "recommendation": ("launch-config", "--method", "eagle", "--recommendation", "HUGE"),
    "saved server": ("whatif", "--recommendation", "HUGE"),
}


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A file of zeros that takes no room."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)
    return path


@pytest.mark.parametrize("arguments", READERS.values(), ids=READERS)
def test_a_file_without_end_is_refused_by_name(
    arguments: tuple[str, ...], huge: Path, saved: Saved, command: Command
) -> None:
    """Read no further than such a file may be long."""
    with Loopback(answer(page(after(snapshot())))) as server:
        given = {"URL": server.url, "HUGE": huge, "BEFORE": saved.before, "AFTER": saved.after}
        tracemalloc.start()
        said = command(*(given.get(each, each) for each in arguments))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert said.code != 0
    assert str(huge) in said.err
    assert peak < HELD_BYTES_MAX
