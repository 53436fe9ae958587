"""A page of /metrics, then another: bytes -> `read_page` -> `between`."""

import math
from dataclasses import fields
from typing import Final

from pages import CAPTURES, after, page, snapshot

from controller.observe.errors import ObserveError
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import LIMIT, read_page
from controller.observe.window import Window, between
from fuzz.holding import fits

NEXT: Final = b"\n# next page\n"
"""Stands between two pages of one input."""


def check(data: bytes) -> None:
    """Each page is snapshots of finite counts or an `ObserveError`; two of one engine are a window or such an error."""
    first, _, second = data.partition(NEXT)
    early, late = _read(first, 0.0), _read(second, 10.0)
    known = {each.key: each for each in early}
    for each in late:
        if each.key in known:
            try:
                window = between(known[each.key], each)
            except ObserveError as error:
                fits(error.message)
            else:
                _possible(window)


def _read(body: bytes, at_seconds: float) -> tuple[Snapshot, ...]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:  # told by the fetcher, before the page is looked at
        return ()
    try:
        found = read_page(text, at_seconds)
    except ObserveError as error:
        fits(error.message)
        return ()
    assert found
    assert len({each.key for each in found}) == len(found)
    for each in found:
        for field in fields(each):
            value = getattr(each, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                assert not isinstance(number, float) or 0 <= number < LIMIT, field.name
    return found


def _possible(window: Window) -> None:
    for field in fields(window):
        value = getattr(window, field.name)
        assert not isinstance(value, float) or 0 <= value < LIMIT, field.name
    for name in (
        "decoded_tokens", "request_steps", "step_seconds", "decode_batch", "tpot_seconds", "mean_acceptance_length",
        "mean_draft_length", "drafting_share",
    ):  # fmt: skip
        value = getattr(window, name)
        assert value is None or (math.isfinite(value) and value >= 0), name


def seeds() -> list[bytes]:
    """Pages of vLLM, thinned to a tenth, and pages made as vLLM makes them."""
    one = after(snapshot(model_name="m", engine="0"))
    other = after(snapshot(model_name="m", engine="1"))
    plain = after(snapshot(k_max=None))
    made = [page(one).encode() + NEXT[1:] + page(after(one)).encode()]
    made.append(page(one, other).encode() + NEXT[1:] + page(after(one), after(other)).encode())
    made.append(page(plain).encode().replace(b"vllm:", b"vllm_") + NEXT[1:] + page(after(plain)).encode())
    taken = [b"\n".join(each.read_bytes().splitlines()[:80]) + b"\n" for each in CAPTURES[:2]]
    return [*made, *taken, b"", b"<html>", b"# HELP a b\n"]
