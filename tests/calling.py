"""Calling the command, and what its user sees of it: exit code, data, and words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pages import after, page, snapshot


@dataclass(frozen=True)
class Said:
    """What one call gave."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@dataclass(frozen=True)
class Saved:
    """Pages saved from one server."""

    folder: Path

    def __call__(self, content: str | bytes, name: str) -> Path:
        """Save something, and name the file."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    @property
    def before(self) -> Path:
        """A server at work."""
        return self(page(after(snapshot())), "before.txt")

    @property
    def after(self) -> Path:
        """The same server, some traffic later."""
        return self(page(after(after(snapshot()))), "after.txt")
