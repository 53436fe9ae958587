"""Documents a few edits away from good ones: what bytes alone rarely reach behind a strict parser."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

EDITED: Final = 0xFF
"""No text in UTF-8 begins with it: such an input is a choice of edits, any other is taken as it is."""
EDITS_MAX: Final = 8
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 5, 7, 100, 300, 0.5, 0.999, 1e-9, 1e-300, 1e4, 1e9, 1e15, 1e300, -1e300,
    float("nan"), float("inf"), 2**53, 2**63, -(2**63), 10**30, "", "0", "x", "a\nb\x1b[31m", "\ud800", [], {},
    [[]], [0, 0, 0], [1, 8, 2], [1, 1_000_000, 0], {"name": "x"}, 200 * "y",
)  # fmt: skip


def edited(data: bytes, bases: Sequence[Any]) -> bytes:
    """The input itself, or after `EDITED` a base by its number and what becomes of it, three bytes an edit."""
    if data[:1] != bytes((EDITED,)) or len(data) < 2:
        return data
    whole = [copy.deepcopy(bases[data[1] % len(bases)])]
    for at in range(2, min(len(data), 2 + 3 * EDITS_MAX) - 2, 3):
        places = list(_places(whole))
        if not places:
            break
        holder, key = places[int.from_bytes(data[at : at + 2]) % len(places)]
        _edit(holder, key, data[at + 2])
    return json.dumps(whole[0] if whole else None).encode()


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder)):
        yield holder, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _edit(holder: Any, key: Any, what: int) -> None:
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif what == 2 and isinstance(holder[key], int | float):
        holder[key] = -holder[key]
    else:
        holder[key] = copy.deepcopy(VALUES[what % len(VALUES)])


def edits() -> list[bytes]:
    """Inputs to start from."""
    return [bytes((EDITED, base, 0, place, what)) for base in range(3) for place, what in ((3, 0), (9, 17), (14, 40))]
