"""The live actuator: at most one PUT a pass, with what the plugin needs to know; refusals are told and never raised."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from controlled import OWNER, TOKEN, URL, Served
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import ConnectTimeoutError, ProtocolError, SSLError

from controller.act.actuator import NOTHING_DONE, Acted, Order, Outcome
from controller.act.live import LiveActuator, LiveSettings, owner_name
from controller.decide.decision import Action, Decision, Schedule
from controller.engine.wanted import OWNER as OWNERS
from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.plugin import PATH, PluginSource
from controller.observe.speculation import Speculation
from controller.reason import ACTING_FAILED, Reason
from controller.simulator.inprocess import InProcessPools

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

DECISION: Final = Decision(Action.CHANGE, Reason.FASTER_K, "k=1 is faster.")
WANTED: Final[Schedule] = ((1, 8, 1), (9, 256, 0))
LAUNCHED: Final[Schedule] = ((1, 256, 5),)


class Hand:
    """A live actuator beside an idle server, with a note of all that is sent to the plugin."""

    def __init__(self, folder: Path, token: str = TOKEN, **settings: Any) -> None:
        self.served = Served("idle", folder)
        self.sent: list[tuple[str, Any]] = []
        self.answers: tuple[str, bytes] | Exception | None = None
        path = folder / "mine"
        path.write_text(token, "utf-8")
        self._fetcher = Fetcher(pools=InProcessPools(self._application), token_file=path)
        self.set(**settings)
        self._source = PluginSource(URL, Fetcher(pools=InProcessPools(self.served.application), token_file=path))

    def set(self, **settings: Any) -> None:
        """As after a start with these settings."""
        self.actuator = LiveActuator(URL, self._fetcher, LiveSettings(**({"owner": OWNER} | settings)))

    def _application(self, environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        body = environment["wsgi.input"].read()
        environment["wsgi.input"].seek(0)
        assert environment["PATH_INFO"] == PATH
        self.sent.append((environment["REQUEST_METHOD"], json.loads(body) if body else None))
        if isinstance(self.answers, Exception):
            raise self.answers
        if self.answers is not None:
            start(self.answers[0], [])
            return [self.answers[1]]
        return self.served.server.application(environment, start)

    @property
    def state(self) -> Speculation:
        """As a pass finds it."""
        return self._source.read()

    def act(self, wanted: Schedule = WANTED, state: Speculation | None = None) -> Acted:
        """One pass."""
        return self.actuator.act(Order("m", "0", DECISION, wanted, state or self.state))


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    """With the right token."""
    return Hand(tmp_path)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Hand:
    """The same for many examples."""
    return Hand(tmp_path_factory.mktemp("hand"))


def test_what_is_wanted_is_put_in_force_for_one_time_to_live(hand: Hand) -> None:
    """On the condition of the state that the pass has seen."""
    state = hand.state
    acted = hand.act()
    assert acted.outcome is Outcome.APPLIED
    assert hand.sent == [
        (
            "PUT",
            {
                "schedule": [list(each) for each in WANTED],
                "ttl_seconds": 120,
                "owner": OWNER,
                "expected": {"boot_id": state.boot_id, "generation": 0},
                "allow_k_without_graph": False,
            },
        )
    ]
    assert hand.served.engine.schedule == WANTED
    assert acted.speculation is not None
    assert acted.speculation == replace(hand.state, measured=None)
    assert (acted.speculation.owner, acted.speculation.expires_in_seconds) == (OWNER, 120)


def test_what_is_held_is_renewed_without_a_change(hand: Hand) -> None:
    """The generation stays, the end moves on."""
    hand.act()
    hand.served.server.advance_to(100)
    assert hand.state.expires_in_seconds == 20
    assert hand.act().outcome is Outcome.RENEWED
    assert (hand.state.generation, hand.state.expires_in_seconds) == (1, 120)
    assert hand.act(((1, 256, 2),)).outcome is Outcome.APPLIED
    assert hand.state.generation == 2


def test_what_is_held_is_not_renewed_while_two_thirds_of_its_time_are_left(hand: Hand) -> None:
    """Nothing is sent, and what the pass has read of the engine stands."""
    hand.act()
    hand.served.server.advance_to(39)
    hand.sent.clear()
    assert hand.act() == Acted(Outcome.HELD)
    assert hand.sent == []
    assert hand.state.expires_in_seconds == 81
    hand.served.server.advance_to(41)
    assert hand.act().outcome is Outcome.RENEWED
    assert hand.state.expires_in_seconds == 120


def test_what_is_held_is_renewed_whenever_its_end_or_our_token_is_in_doubt(hand: Hand) -> None:
    """It was held for longer than we may; the plugin's answer has no end, or no counts: those need the token."""
    hand.act()
    assert hand.act().outcome is Outcome.HELD
    for doubtful in ({"expires_in_seconds": 121.0}, {"expires_in_seconds": None}, {"measured": None}):
        assert hand.act(state=replace(hand.state, **doubtful)).outcome is Outcome.RENEWED


@settings(deadline=None, max_examples=50)
@given(
    interval_seconds=st.floats(0.5, 300),
    ttl_seconds=st.integers(10, 3600),
    passes=st.lists(st.tuples(st.booleans(), st.floats(0.15, 1.1)), max_size=40),
)
def test_what_is_held_outlives_three_lost_passes(
    idle: Hand, interval_seconds: float, ttl_seconds: int, passes: list[tuple[bool, float]]
) -> None:
    """Whatever the interval and the pauses, as long as the time to live spans five intervals."""
    ttl_seconds = max(ttl_seconds, math.ceil(5 * interval_seconds))
    idle.set(ttl_seconds=ttl_seconds, interval_seconds=interval_seconds)
    idle.answers = None
    assert idle.act().outcome is not Outcome.FAILED
    generation, lost_in_a_row = idle.state.generation, 0
    for lost, pause in passes:
        idle.served.server.advance_to(idle.served.server.simulated_seconds + pause * interval_seconds)
        lost_in_a_row = lost_in_a_row + 1 if lost and lost_in_a_row < 3 else 0
        if not lost_in_a_row:
            assert idle.act().outcome in (Outcome.HELD, Outcome.RENEWED)
    assert idle.state.generation == generation
    idle.actuator.reset()


def test_the_operators_settings_are_sent(tmp_path: Path) -> None:
    """The time to live, and whether a k without a graph may run."""
    hand = Hand(tmp_path, ttl_seconds=30, allow_k_without_graph=True)
    assert hand.act().outcome is Outcome.APPLIED
    assert hand.sent[0][1]["allow_k_without_graph"] is True
    assert hand.state.expires_in_seconds == 30


def test_nothing_is_sent_while_there_is_nothing_to_hold(hand: Hand) -> None:
    """No schedule wanted, the launch schedule wanted and in force, or a plugin that could not be read."""
    assert hand.act(()) == hand.act(LAUNCHED) == NOTHING_DONE
    assert hand.actuator.act(Order("m", "0", DECISION, WANTED, None)) == NOTHING_DONE
    assert hand.sent == []


def test_the_launch_schedule_is_held_after_another_was(hand: Hand) -> None:
    """Like any other, so that its time to live does not end in between."""
    hand.act()
    assert hand.act(LAUNCHED).outcome is Outcome.APPLIED
    assert hand.act(LAUNCHED).outcome is Outcome.HELD
    assert (hand.state.owner, hand.state.schedule) == (OWNER, LAUNCHED)


def test_on_a_server_that_takes_no_schedule_none_is_sent(hand: Hand) -> None:
    """Its own reason is told, and what to do."""
    acted = hand.act(state=replace(hand.state, writable=False, read_only_because="parallel drafting"))
    assert (acted.outcome, acted.reason) == (Outcome.FAILED, Reason.PLUGIN_READ_ONLY)
    assert acted.message == "k cannot be changed on this server: parallel drafting. Use --mode recommend."
    assert hand.sent == []


def test_another_owners_schedule_is_not_taken_over(hand: Hand) -> None:
    """Not even the same one."""
    hand.served.hold(1, "somebody")
    for wanted in (WANTED, LAUNCHED, ((1, 256, 1),)):
        acted = hand.act(wanted)
        assert (acted.outcome, acted.reason) == (Outcome.FAILED, Reason.PLUGIN_CONFLICT)
        assert "somebody holds a schedule" in acted.message
    assert (hand.state.owner, hand.state.schedule) == ("somebody", ((1, 256, 1),))


def test_what_changed_since_the_pass_looked_is_not_overwritten(hand: Hand) -> None:
    """Also when it was our own doing: the next pass looks again."""
    state = hand.state
    assert hand.act(state=state).outcome is Outcome.APPLIED
    acted = hand.act(((1, 256, 0),), state)
    assert (acted.outcome, acted.reason) == (Outcome.FAILED, Reason.PLUGIN_CONFLICT)
    assert hand.served.engine.schedule == WANTED
    assert hand.act(((1, 256, 0),)).outcome is Outcome.APPLIED


def test_a_schedule_that_the_engine_cannot_run_is_told(hand: Hand) -> None:
    """In the plugin's words."""
    acted = hand.act(((1, 256, 9),))
    assert (acted.outcome, acted.reason) == (Outcome.FAILED, Reason.PLUGIN_REJECTS)
    assert "k 9 is above 5" in acted.message
    assert hand.state.owner is None


def test_a_wrong_token_changes_nothing_and_is_not_told(tmp_path: Path) -> None:
    """That it is wrong is; what it is, is not."""
    hand = Hand(tmp_path, token="a-secret-of-somebody-else")
    acted = hand.act()
    assert (acted.outcome, acted.reason) == (Outcome.FAILED, Reason.PLUGIN_REFUSES)
    assert "--plugin-token-file" in acted.message
    assert "secret" not in repr(acted)
    assert hand.served.told()["generation"] == 0


def test_a_rotated_token_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    """The file is read for each request."""
    hand = Hand(tmp_path, token="the-token-of-last-week")
    assert hand.act().reason is Reason.PLUGIN_REFUSES
    (tmp_path / "mine").write_text(TOKEN, "utf-8")
    assert hand.act().outcome is Outcome.APPLIED


@given(
    st.one_of(
        st.tuples(
            st.sampled_from(
                ["200 OK", "204 No", "301 Moved", "400 Bad", "401 No", "404 No", "409 No", "422 No", "599 No"]
            ),
            st.binary(max_size=200) | st.sampled_from([b"null", b"{}", b'{"error": null}', b'{"error": [1]}', b"[]"]),
        ),
        st.sampled_from([ProtocolError("x"), ConnectTimeoutError("x"), SSLError("x"), OSError("x")]),
    )
)
def test_whatever_the_plugin_answers_is_told_and_never_raised(
    idle: Hand, answers: tuple[str, bytes] | Exception
) -> None:
    """Under a reason that the metrics and the alerts know; and one request is all that a pass sends."""
    idle.answers = answers
    idle.sent.clear()
    acted = idle.act()
    assert acted.outcome is Outcome.FAILED
    assert acted.reason in ACTING_FAILED
    assert acted.message.isprintable()
    assert acted.message.endswith(".")
    assert acted.speculation is None
    assert len(idle.sent) == 1


def test_a_reset_returns_to_the_launch_schedule_whoever_holds_another(hand: Hand) -> None:
    """And does no harm a second time."""
    hand.served.hold(1, "somebody")
    for _ in range(2):
        after = hand.actuator.reset()
        assert (after.owner, after.schedule) == (None, LAUNCHED)
    assert hand.sent == [("DELETE", None)] * 2
    assert hand.served.engine.schedule == LAUNCHED


def test_a_reset_that_was_not_done_is_an_error(tmp_path: Path) -> None:
    """Whoever asked for it must know."""
    hand = Hand(tmp_path, token="a-secret-of-somebody-else")
    hand.served.hold(1, "somebody")
    with pytest.raises(ObserveError) as caught:
        hand.actuator.reset()
    assert caught.value.reason is Reason.PLUGIN_REFUSES
    assert hand.state.owner == "somebody"


@given(st.text(max_size=300))
def test_any_hostname_makes_a_name_that_the_plugin_takes(hostname: str) -> None:
    """The plugin's own rule."""
    assert OWNERS.fullmatch(owner_name(hostname))
