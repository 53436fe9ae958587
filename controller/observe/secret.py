"""Secrets that are sent: where they come from, and that they are told to nobody else."""

import base64
import binascii
import contextlib
import re
from functools import lru_cache
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


def without_escaped_secret(text: str, authorization: str | None) -> str:
    r"""The same of an answer that may be JSON: once its escapes are resolved, the secret would stand in a sentence.

    It looks at every character in each spelling, and is for the short answers that are quoted.

    >>> without_escaped_secret(r'{"error": "not abc\/def\u002Bgh12345"}', "Bearer abc/def+gh12345")
    '{"error": "not [hidden]"}'
    """
    text = without_secret(text, authorization)
    if "\\" in text:
        for secret in _secrets(authorization or ""):
            text = _in_any_spelling(secret).sub(HIDDEN, text)
    return text


@lru_cache(maxsize=4)
def _in_any_spelling(secret: str) -> re.Pattern[str]:
    """A text as JSON may spell it: characters as they are, behind a backslash, or by their numbers."""
    spelt = (rf"(?:\\?{re.escape(each)}|\\u(?i:{ord(each):04x}))" for each in secret)
    return re.compile("".join(spelt))


def _secrets(authorization: str) -> tuple[str, ...]:
    scheme, _, sent = authorization.partition(" ")
    found = [sent]
    if scheme == "Basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(sent, validate=True).decode("utf-8").partition(":")[2])
    return tuple(each for each in found if len(each) >= SECRET_CHARACTERS_MIN)
