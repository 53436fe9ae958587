"""The words of a shell script, found without running it; only scripts simple enough to be sure of."""

from collections.abc import Iterator
from dataclasses import dataclass

_BREAKS = " \t\n;&|()<>"
"""Characters that end a word when they are not quoted."""


class UnsureError(ValueError):
    """The script uses something that this reader does not follow; the message names it."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written, quotes included: `script[start:end]`."""

    start: int
    end: int


def words(script: str) -> Iterator[Word]:
    r"""The words of a script in order; comments and operators are passed over.

    Quotes are kept together with their word, and a backslash takes the next character with it.

    Raises:
        UnsureError: A here-document, a backtick, `$(...)` outside single quotes, or a quote that is never closed:
            what is a word then depends on what the shell does.

    >>> script = "vllm serve m --x '{\"a\": 1}' \\\n  --port 80 # '"
    >>> [script[each.start : each.end] for each in words(script)]
    ['vllm', 'serve', 'm', '--x', '\'{"a": 1}\'', '--port', '80']
    """
    at = 0
    while at < len(script):
        if script.startswith("\\\n", at):
            at += 2
        elif script.startswith("<<", at):
            raise UnsureError("a here-document (<<)")
        elif script[at] == "#":
            at = (script.find("\n", at) + 1) or len(script)
        elif script[at] in _BREAKS:
            at += 1
        else:
            end = _word_end(script, at)
            yield Word(at, end)
            at = end


def _word_end(script: str, at: int) -> int:
    while at < len(script) and script[at] not in _BREAKS:
        if script[at] == "'":
            at = _closing(script, at)
        elif script[at] == '"':
            at = _double_quoted_end(script, at)
        elif script[at] == "\\":
            at += 2
        else:
            _refuse_substitution(script, at)
            at += 1
    return min(at, len(script))


def _double_quoted_end(script: str, at: int) -> int:
    at += 1
    while at < len(script) and script[at] != '"':
        _refuse_substitution(script, at)
        at += 2 if script[at] == "\\" else 1
    if at >= len(script):
        raise UnsureError("a double quote that is never closed")
    return at + 1


def _closing(script: str, at: int) -> int:
    end = script.find("'", at + 1)
    if end < 0:
        raise UnsureError("a single quote that is never closed")
    return end + 1


def _refuse_substitution(script: str, at: int) -> None:
    if script[at] == "`" or script.startswith("$(", at):
        raise UnsureError("a command substitution (backticks or $(...))")
