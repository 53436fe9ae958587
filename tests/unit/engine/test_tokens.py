"""Who may write."""

from pathlib import Path

import pytest

from controller.engine.tokens import NoTokensError, is_bearer, read_tokens

OLD, NEW = b"the-old-token-of-all", b"the-new-token-of-all"


def file(folder: Path, content: bytes) -> str:
    """A token file."""
    path = folder / "tokens"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("content", [OLD, OLD + b"\n", OLD + b"\r\n", b"\n  " + OLD + b" \n\n"])
def test_a_token_is_a_line(tmp_path: Path, content: bytes) -> None:
    """However an editor ends it."""
    assert read_tokens(file(tmp_path, content)) == (OLD,)


def test_two_are_valid_during_rotation_and_a_change_holds_at_once(tmp_path: Path) -> None:
    """Same path, new content, no restart."""
    assert read_tokens(file(tmp_path, OLD + b"\n" + NEW)) == (OLD, NEW)
    assert read_tokens(file(tmp_path, NEW)) == (NEW,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\n".join([OLD, NEW, OLD]), "more than 2"),
        (b"short", "shorter than 16"),
        (OLD + b"\nshort", "shorter than 16"),
        (b"x" * 5000, "4 KiB"),
    ],
)
def test_a_file_that_is_not_right_lets_nobody_write(tmp_path: Path, content: bytes, reason: str) -> None:
    """It fails to the safe side, and says why; never what it holds."""
    with pytest.raises(NoTokensError, match=reason) as refused:
        read_tokens(file(tmp_path, content))
    assert OLD.decode() not in str(refused.value)


@pytest.mark.parametrize(("path", "reason"), [(None, "names no file"), ("", "names no file"), ("/nowhere/t", "cannot")])
def test_without_a_file_nobody_writes(path: str | None, reason: str) -> None:
    """The state of a plugin that nobody configured."""
    with pytest.raises(NoTokensError, match=reason):
        read_tokens(path)


@pytest.mark.parametrize("header", [b"Bearer " + OLD, b"bearer " + NEW, b"BEARER  " + OLD + b" "])
def test_either_token_opens(header: bytes) -> None:
    """The scheme is written as one likes."""
    assert is_bearer(header, (OLD, NEW))


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer ", OLD, b"Basic " + OLD, b"Bearer " + OLD[:-1]])
def test_nothing_else_does(header: bytes | None) -> None:
    """No header, no scheme, another scheme, a piece of a token."""
    assert not is_bearer(header, (OLD, NEW))


@pytest.mark.parametrize("header", [b"Bearer " + OLD, b"Bearer " + NEW, b"Bearer x", b"Bearer " + 5000 * b"x", None])
def test_every_token_is_compared_in_constant_time_whatever_comes(
    header: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests of one length, by `hmac.compare_digest`, and the second token also when the first has matched."""
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    is_bearer(header, (OLD, NEW))
    assert compared == [(32, 32), (32, 32)]
