"""`controller recommend`: one window, one answer."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from controller.commands.exit_codes import FAILED
from controller.commands.say import say
from controller.observe.errors import ObserveError
from controller.options.recommend import RecommendOptions

FLEET_SECONDS: Final = 300.0
"""How far back a store is asked: a window holds many scrapes, which are 15 to 60 s apart."""


def recommend(options: RecommendOptions) -> int:
    """Watch a window, or read the saved pages, and print what k should be."""
    with _without_collecting():
        try:
            return _recommended(options)
        except ObserveError as error:
            say(f"controller recommend: {error.message}")
            return FAILED


def _recommended(options: RecommendOptions) -> int:
    """What judges is imported while the store, if there is one, works on the first queries."""
    window = None
    if options.prometheus_url:
        from controller.commands.store import last_window  # noqa: PLC0415  # only where there is a store

        window = last_window(options, options.window_seconds or FLEET_SECONDS)
    from controller.commands.recommendation import judged, told  # noqa: PLC0415

    return told(judged(options, window), options)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Nearly all that is made here lives to the end: to look for garbage in it takes a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()  # nor at the end of the process
            gc.enable()
