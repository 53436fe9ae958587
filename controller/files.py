"""Files from outside, read no further than they may be long."""

import errno
from pathlib import Path
from typing import Final

SECRET_BYTES_MAX: Final = 64 * 1024
"""Tokens, passwords, names: whatever is longer is another file."""
DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024


def text_of(path: Path, limit_bytes: int) -> str:
    """A file's text.

    Raises:
        OSError: It cannot be read, or is larger.
        UnicodeDecodeError: It is no UTF-8.
    """
    with path.open("rb") as file:
        body = file.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {limit_bytes} bytes")
    return body.decode("utf-8")
