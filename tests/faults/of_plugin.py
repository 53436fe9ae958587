"""Faults of the engine plugin, and what others do to it."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from faults.fault import Fault, Inflict, Meanwhile, answers, at_once, edits
from faults.stage import OWNER, PROSE, TOKEN, TTL_SECONDS, Stage
from loopback import Answer, Loopback, answer

from controller.observe.plugin import PATH
from controller.reason import Reason

SLOTS: Final = PROSE.max_num_seqs


def telling(**lie: Any) -> Inflict:
    """The plugin's own document, but for some fields."""
    return edits(PATH, lambda text: answer(json.dumps(json.loads(text) | lie)))


def lacking(*fields: str) -> Inflict:
    """The plugin's own document without some fields."""
    return edits(
        PATH,
        lambda text: answer(json.dumps({key: value for key, value in json.loads(text).items() if key not in fields})),
    )


@contextmanager
def rotated(stage: Stage) -> Iterator[None]:
    """The server's token is renewed before the sidecar's."""
    stage.tokens.write_text("another-token-than-before", "utf-8")
    yield
    stage.tokens.write_text(TOKEN, "utf-8")


@contextmanager
def tokenless(stage: Stage) -> Iterator[None]:
    """The sidecar's token file is away."""
    own = stage.folder / "own"
    own.unlink()
    yield
    own.write_text(TOKEN, "utf-8")


@contextmanager
def conflicting(stage: Stage) -> Iterator[None]:
    """Once, between our look and our change, somebody else of our name changes it: the pod before us, at its end."""

    def before(request: str) -> None:
        if request.startswith("PUT"):
            stage.network.before = lambda _: None
            stage.hold(((1, SLOTS, 4),), OWNER, TTL_SECONDS)

    stage.network.before = before
    yield


@contextmanager
def unanswered(stage: Stage) -> Iterator[None]:
    """A change is carried out, and the connection ends before that is told."""
    passed_on = stage.network.after

    def after(document: Any) -> None:
        passed_on(document)
        raise OSError("cut")

    stage.network.after = after
    yield
    stage.network.after = passed_on


@contextmanager
def ignored(stage: Stage) -> Iterator[None]:
    """The engine takes a schedule, and runs its launch schedule."""
    engine = stage.server.engines[0]
    obeys, told = engine.set_schedule, [engine.schedule]
    obeys(engine.launch_schedule)
    engine.set_schedule = told.append  # type: ignore[method-assign,assignment]
    yield
    engine.set_schedule = obeys  # type: ignore[method-assign]
    obeys(told[-1])


def taken(stage: Stage) -> None:
    """What we held is given back, and somebody else takes it."""
    stage.ask("DELETE")
    stage.hold(((1, SLOTS, 3),), "somebody", 90)


def plugin(name: str, happens: str, given: Answer, reason: Reason) -> Fault:
    """A fault that is another answer of the plugin."""
    return Fault(name=f"plugin: {name}", happens=happens, inflict=answers(PATH, given), sees=(reason,))


def drops(loopback: Loopback, connection: socket.socket) -> None:
    """Says nothing, and ends the connection."""


FAULTS: Final = (
    plugin("missing", "vLLM runs without it: 404.", answer("{}", "404 Not Found"), Reason.PLUGIN_MISSING),
    plugin("fails", "It answers with 503.", answer("{}", "503 Service Unavailable"), Reason.PLUGIN_UNREACHABLE),
    plugin("closed", "The connection ends without an answer.", drops, Reason.PLUGIN_UNREACHABLE),
    plugin("garbage", "It answers something else.", answer("[" * 9999), Reason.PLUGIN_ANSWER_BAD),
    Fault(
        name="plugin: missing for longer than the time to live",
        happens="It is away for two minutes.",
        inflict=answers(PATH, answer("{}", "404 Not Found")),
        lasts_seconds=120,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.PLUGIN_MISSING,),
    ),
    Fault(
        name="plugin: older",
        happens="It does not tell what this sidecar needs.",
        inflict=lacking("writable", "k_with_graph"),
        sees=(Reason.PLUGIN_ANSWER_BAD,),
    ),
    Fault(
        name="plugin: newer",
        happens="It speaks a newer protocol.",
        inflict=telling(protocol=2),
        sees=(Reason.PLUGIN_ANSWER_BAD,),
    ),
    Fault(
        name="plugin: of another server",
        happens="It tells of a k beyond the draft positions of the page.",
        inflict=telling(schedule=[[1, SLOTS, 9]], launch_schedule=[[1, SLOTS, 9]]),
        lasts_seconds=95,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.PLUGIN_ANSWER_BAD,),
    ),
    Fault(
        name="plugin: token wrong",
        happens="The server's token is renewed before the sidecar's.",
        inflict=rotated,
        lasts_seconds=95,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.PLUGIN_REFUSES,),
    ),
    Fault(
        name="plugin: token file gone",
        happens="The sidecar's token file is away.",
        inflict=tokenless,
        sees=(Reason.PLUGIN_REFUSES,),
    ),
    Fault(
        name="plugin: read-only",
        happens="k cannot be changed on this server.",
        inflict=telling(writable=False, read_only_because="the method has to draft the launched k"),
        lasts_seconds=95,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.PLUGIN_READ_ONLY,),
    ),
    Fault(
        name="plugin: generation conflict",
        happens="Between our look and our change somebody of our name changes the schedule.",
        inflict=conflicting,
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.PLUGIN_CONFLICT,),
    ),
    Fault(
        name="plugin: held by somebody else",
        happens="Another owner holds a schedule for a minute and a half, once ours was given back.",
        inflict=at_once(taken),
        lasts_seconds=85,
        meanwhile=Meanwhile.THEIRS,
        sees=(Reason.PLUGIN_CONFLICT,),
        normal_passes=2,
    ),
    Fault(
        name="plugin: reset by an operator",
        happens="`controller reset`; we keep out for `--stand-down-seconds`, here a minute.",
        inflict=at_once(lambda stage: stage.ask("DELETE")),
        lasts_seconds=55,
        meanwhile=Meanwhile.RESET,
        sees=(Reason.STOOD_DOWN,),
        normal_passes=2,
    ),
    Fault(
        name="plugin: the answer to a change is lost",
        happens="A change is carried out, and the connection ends before that is told.",
        inflict=unanswered,
        sees=(Reason.PLUGIN_UNREACHABLE,),
    ),
    Fault(
        name="plugin: a schedule that is ignored",
        happens="The engine runs another k than its schedule says.",
        inflict=ignored,
        lasts_seconds=95,
        meanwhile=Meanwhile.ANOTHER,
        sees=(Reason.NOT_APPLIED,),
        normal_passes=2,
    ),
)
