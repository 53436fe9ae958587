"""Text from outside, made fit for a terminal and a sentence."""

from collections.abc import Sequence


def plain(text: str, limit: int = 80) -> str:
    r"""Foreign text on one line, short, and without characters that steer a terminal.

    >>> plain("two\nlines, \x1b[31mred")
    'two\\nlines, \\x1b[31mred'
    >>> plain("meta-llama/Llama-3.1-8B", 10)
    'meta-llam…'
    """
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[: limit + 1])
    return shown if len(text) <= limit and len(shown) <= limit else f"{shown[: limit - 1]}…"


def listed(texts: Sequence[str], limit: int) -> str:
    """The first few of some texts, each fit for a sentence already, and how many more there are.

    >>> listed(["a", "b", "c"], 2), listed(["a"], 2)
    ('a, b and 1 more', 'a')
    """
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")
