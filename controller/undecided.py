"""What a pass says of an engine about which nothing can be decided yet, and why."""

from typing import Final

from controller.cycle import EngineCycle
from controller.decide.decision import Action, Decision
from controller.observe.snapshot import Snapshot
from controller.reason import Reason
from controller.sight import Sight

NO_SPECULATION: Final = (
    "The server shows no speculative-decoding counters: it was started without --speculative-config. "
    "Start it with one (see `controller launch-config`); adaptive-k can then tell which k pays."
)
WARMING_UP: Final = "This is the first page of this server; the next one makes a window."
IDLE: Final = "No tokens were decoded in the window: send traffic, or watch for longer."
NOTHING_DRAFTED: Final = (
    "Tokens were decoded, but nothing was drafted: k is 0 now, or the drafter found no match. Acceptance is not known "
    "until something is drafted."
)


def undecided(snapshot: Snapshot, reason: Reason, sentence: str) -> EngineCycle:
    """An engine about which this pass, with a window or without, does not decide."""
    decision = Decision(Action.HOLD, reason, sentence)
    return EngineCycle(
        snapshot.model_name,
        snapshot.engine,
        snapshot.k_max,
        decision,
        labels=snapshot.labels,
        replicas=snapshot.replicas,
    )


def unready(sight: Sight) -> tuple[Reason, str]:
    """Why nothing follows from a window, by name and in words."""
    return (Reason.NOTHING_DRAFTED, NOTHING_DRAFTED) if sight.busy else (Reason.IDLE, IDLE)
