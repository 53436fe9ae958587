"""Carries decisions out in the running engine, by its plugin."""

import re
from dataclasses import dataclass
from typing import Final

from controller.act.actuator import NOTHING_DONE, Acted, Order, Outcome
from controller.decide.decision import Schedule
from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.plugin import ask, plugin_url
from controller.observe.speculation import Speculation
from controller.reason import Reason

RENEW_SHARE: Final = 2 / 3
"""What is held is renewed once less than this share of its time to live is left ..."""
RENEW_INTERVALS: Final = 5.0
"""... or no more than so many intervals: three passes in a row may be lost, and all be late by their jitter."""
_NOT_AN_OWNER: Final = re.compile(r"[^A-Za-z0-9._:/@-]")


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How schedules are held.

    Attributes:
        owner: Under which name.
        ttl_seconds: How long the engine keeps one that is not renewed.
        allow_k_without_graph: Whether a k may run for which vLLM captured no CUDA graph.
        interval_seconds: Between two passes.
    """

    owner: str
    ttl_seconds: int = 120
    allow_k_without_graph: bool = False
    interval_seconds: float = 10.0


class LiveActuator:
    """Puts the wanted schedule in force, and renews it long before the engine would forget it.

    The engine's time to live is the safety: whatever happens to this process, the engine returns to its launch
    schedule by itself. Nothing is retried within a pass; the next one is a few seconds away.
    """

    def __init__(self, url: str, fetcher: Fetcher, settings: LiveSettings) -> None:
        """Sends nothing yet; the fetcher carries the plugin's token."""
        self._url = plugin_url(url)
        self._fetcher = fetcher
        self._settings = settings

    def act(self, order: Order) -> Acted:
        """Hold the wanted schedule, for another time to live where that is due; see `Actuator`."""
        wanted, speculation = order.wanted, order.speculation
        if speculation is None:
            return NOTHING_DONE  # the plugin could not be read: that was told, and the time to live runs
        held_by_us = speculation.owner == self._settings.owner
        if not wanted or (speculation.owner is None and wanted == speculation.schedule):
            return NOTHING_DONE  # as launched is what is wanted: there is nothing to hold
        if not speculation.writable:
            return Acted(
                Outcome.FAILED,
                Reason.PLUGIN_READ_ONLY,
                f"k cannot be changed on this server: {speculation.read_only_because}. Use --mode recommend.",
            )
        same = held_by_us and wanted == speculation.schedule
        if same and self._lasts(speculation):
            return Acted(Outcome.HELD)
        try:
            after = self._put(wanted, speculation)
        except ObserveError as error:
            return Acted(Outcome.FAILED, error.reason, error.message)
        return Acted(Outcome.RENEWED if same else Outcome.APPLIED, speculation=after)

    def idle(self) -> None:
        """See `Actuator`: what is held runs out by itself."""

    def reset(self) -> Speculation:
        """Return the engine to its launch schedule at once, whoever holds another.

        Raises:
            ObserveError: It was not done; with the cause and the remedy.
        """
        return ask(self._fetcher, "DELETE", self._url)

    def _lasts(self, speculation: Speculation) -> bool:
        """Whether what is held need not be renewed in this pass.

        The engine's clock counts, not ours. Who held it before us may have asked for longer than we may. Without counts
        our token may be refused, which only a PUT would tell.
        """
        ttl_seconds = self._settings.ttl_seconds
        enough_seconds = max(RENEW_SHARE * ttl_seconds, RENEW_INTERVALS * self._settings.interval_seconds)
        left_seconds = speculation.expires_in_seconds or 0.0
        return speculation.measured is not None and enough_seconds < left_seconds <= ttl_seconds

    def _put(self, wanted: Schedule, speculation: Speculation) -> Speculation:
        return ask(
            self._fetcher,
            "PUT",
            self._url,
            {
                "schedule": wanted,
                "ttl_seconds": self._settings.ttl_seconds,
                "owner": self._settings.owner,
                "expected": {"boot_id": speculation.boot_id, "generation": speculation.generation},
                "allow_k_without_graph": self._settings.allow_k_without_graph,
            },
        )


def owner_name(hostname: str) -> str:
    """The name under which schedules are held when the operator gives none.

    >>> owner_name("node 7")
    'adaptive-k@node_7'
    """
    return f"adaptive-k@{_NOT_AN_OWNER.sub('_', hostname)}"[:128]
