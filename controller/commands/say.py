"""What is told to a person rather than to a program."""

import sys


def say(text: str) -> None:
    """A line for the person at the terminal; data goes to stdout, this does not."""
    print(text, file=sys.stderr, flush=True)
