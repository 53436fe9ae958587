"""Who may write: the bearer tokens of a file."""

import hmac
from hashlib import sha256
from pathlib import Path

VARIABLE = "AK_VLLM_TOKEN_FILE"
"""Not ADAPTIVE_K_*: the sidecar refuses variables of that prefix that it does not know, and not VLLM_*: vLLM does."""
TOKENS_MAX = 2
"""The one in use and the one that replaces it."""
TOKEN_CHARACTERS_MIN = 16
FILE_BYTES_MAX = 4096


class NoTokensError(Exception):
    """Nobody can write; the message says what is missing."""


def read_tokens(path: str | None) -> tuple[bytes, ...]:
    """The tokens of a file, one a line; read anew for every request that needs one, so that a change holds at once.

    Raises:
        NoTokensError: There is no usable token; then nobody writes, which is the safe side.
    """
    if not path:
        raise NoTokensError(f"no token is configured: {VARIABLE} names no file")
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise NoTokensError(f"the token file that {VARIABLE} names cannot be read: {error.strerror}") from error
    tokens = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not tokens:
        raise NoTokensError(f"the token file that {VARIABLE} names is empty")
    if len(content) > FILE_BYTES_MAX or len(tokens) > TOKENS_MAX:
        raise NoTokensError(f"the token file that {VARIABLE} names holds more than {TOKENS_MAX} lines or 4 KiB")
    if min(map(len, tokens)) < TOKEN_CHARACTERS_MIN:
        raise NoTokensError(
            f"a token of the file that {VARIABLE} names is shorter than {TOKEN_CHARACTERS_MIN} characters"
        )
    return tokens


def is_bearer(authorization: bytes | None, tokens: tuple[bytes, ...]) -> bool:
    """Whether an Authorization header carries one of the tokens; takes as long for a near miss as for nonsense."""
    scheme, _, presented = (authorization or b"").partition(b" ")
    digest = sha256(presented.strip()).digest()
    matches = [hmac.compare_digest(digest, sha256(token).digest()) for token in tokens]
    return scheme.lower() == b"bearer" and any(matches)
