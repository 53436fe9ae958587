"""Secrets that are sent: where they come from, and that they are told to nobody else."""

import base64
import binascii
import contextlib
from typing import Final

HIDDEN: Final = "[hidden]"
SECRET_CHARACTERS_MIN: Final = 8
"""What is shorter is no secret, and may stand in any page by chance."""


def without_secret(text: str, authorization: str | None) -> str:
    """An answer without what was sent to prove who we are: a server, or a proxy before it, may repeat it.

    >>> without_secret("no user with token abcdefgh12345678", "Bearer abcdefgh12345678")
    'no user with token [hidden]'
    >>> without_secret("wrong: secret-word", "Basic " + base64.b64encode(b"me:secret-word").decode())
    'wrong: [hidden]'
    """
    for secret in _secrets(authorization or ""):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(authorization: str) -> tuple[str, ...]:
    scheme, _, sent = authorization.partition(" ")
    found = [sent]
    if scheme == "Basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(sent, validate=True).decode("utf-8").partition(":")[2])
    return tuple(each for each in found if len(each) >= SECRET_CHARACTERS_MIN)
