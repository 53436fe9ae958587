"""Reading a page strictly: what a browser would mend is an error here."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

VOID: Final = frozenset({"meta", "link", "br", "img", "input", "hr"})


@dataclass
class Document:
    """What a page holds.

    Attributes:
        tags: Every element in order: its name and attributes.
        text: All text, white space made one.
        inside: Text by the name of the element that directly holds it.
    """

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    inside: dict[str, str] = field(default_factory=dict)

    def values(self, attribute: str) -> list[str]:
        """Of an attribute, wherever it stands."""
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name == attribute]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Document()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.found.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        where = self.open[-1] if self.open else ""
        self.found.inside[where] = self.found.inside.get(where, "") + data
        if where not in {"style", "script"}:
            self.found.text += f" {data} "


def read(page: bytes) -> Document:
    """The page; AssertionError when an element is not closed where it must be."""
    reader = _Reader()
    reader.feed(page.decode())
    reader.close()
    assert reader.open == []
    reader.found.text = " ".join(reader.found.text.split())
    return reader.found
