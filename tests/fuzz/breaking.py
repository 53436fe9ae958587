"""Breaks when an input begins with an exclamation mark: so that it is seen how a target that breaks is told."""


def check(data: bytes) -> None:
    """See `targets.Target`."""
    if data[:1] == b"!":
        raise RuntimeError("as it should")


def seeds() -> list[bytes]:
    """One byte away from it."""
    return [b" "]
