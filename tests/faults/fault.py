"""A fault as a value: how it is inflicted, what it does, what the operator sees of it, and how long it is felt."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum

import requests
from faults.stage import USUAL, Setting, Stage
from loopback import Answer, Loopback

from controller.reason import Reason

Inflict = Callable[[Stage], AbstractContextManager[object]]
"""The block is as long as the fault lasts."""


class Meanwhile(Enum):
    """What the engine runs while a fault lasts, in the words of the table."""

    HELD = "k stays as it was"
    LAUNCH = "k stays for the time to live, then the engine is at its launch schedule"
    AGAIN = "the launch schedule, until the first pass that reaches the engine"
    EITHER = "the launch schedule or ours, each of them whole"
    ANOTHER = "what is found there is judged anew"
    THEIRS = "the other's schedule stays, and nothing is explored"
    RESET = "the launch schedule stays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table in docs/reliability.md.

    Attributes:
        name: Of the fault; unique.
        happens: What goes wrong, in words.
        meanwhile: What the engine runs then.
        sees: The reasons that the operator finds in log and metrics; none where nothing is to be seen.
        normal_passes: So many passes after its end everything is as before it, at the latest; 0: it never was not.
    """

    name: str
    happens: str
    meanwhile: Meanwhile = Meanwhile.HELD
    sees: tuple[Reason, ...] = ()
    normal_passes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Row):
    """A fault that is played in virtual time.

    Attributes:
        inflict: Brings it about, and ends it.
        lasts_seconds: How long it is played.
        setting: What it finds when it comes.
    """

    inflict: Inflict
    lasts_seconds: float = 25.0
    setting: Setting = USUAL


def answers(end: str, answer: Answer) -> Inflict:
    """Something else is answered to requests for the path with this end."""

    @contextmanager
    def inflict(stage: Stage) -> Iterator[None]:
        stage.network.faults[end] = answer
        yield
        del stage.network.faults[end]

    return inflict


def edits(end: str, edit: Callable[[str], bytes]) -> Inflict:
    """The server's own document at this path, made another answer."""

    @contextmanager
    def inflict(stage: Stage) -> Iterator[None]:
        def act(loopback: Loopback, connection: socket.socket) -> None:
            connection.sendall(edit(requests.get(stage.server.url + end, timeout=10).text))

        stage.network.faults[end] = act
        yield
        del stage.network.faults[end]

    return inflict


def at_once(action: Callable[[Stage], object]) -> Inflict:
    """Happens, and is over."""

    @contextmanager
    def inflict(stage: Stage) -> Iterator[None]:
        action(stage)
        yield

    return inflict
