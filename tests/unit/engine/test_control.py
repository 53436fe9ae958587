"""Who holds which schedule until when."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.engine.control import Control, Launched
from controller.engine.wanted import Wanted

N, K_MAX = 8, 4
BOOT = "ab12"
LAUNCHED = Launched("ngram", K_MAX, N, (K_MAX,) * (N + 1))
OFF = [[1, N, 0]]


def wanted(ranges: list[list[int]], control: Control, **others: Any) -> Wanted:
    """A schedule for an hour, on what the engine is at."""
    engine = {"boot_id": control.boot_id, "generation": control.generation}
    fields: dict[str, Any] = {"ttl_seconds": 60, "owner": "a"} | engine | others
    return Wanted(ranges, **fields)


def control(**changes: Any) -> Control:
    """A freshly launched engine."""
    return Control(replace(LAUNCHED, **changes), BOOT)


def test_a_schedule_holds_until_its_time_is_over() -> None:
    """To the second at which it ends, and then the launch schedule holds again, with a generation of its own."""
    engine = control()
    status, told = engine.put(wanted(OFF, engine), 100.0)
    assert (status, told["schedule"], told["owner"], told["expires_in_seconds"]) == (200, OFF, "a", 60.0)
    held = engine.held  # by another name: mypy would take the property to stay so
    assert held == (0,) * (N + 1)
    assert not engine.expire(159.9)
    assert engine.expire(160.0)
    assert engine.held is None
    assert engine.document(160.0)["schedule"] == [[1, N, K_MAX]]
    assert engine.generation == 2


def test_a_renewal_is_no_change() -> None:
    """The same table by the same owner: a new end, the old generation; said in other ranges it is the same table."""
    engine = control()
    engine.put(wanted(OFF, engine), 0.0)
    status, told = engine.put(wanted([[1, 3, 0], [4, 900, 0]], engine), 50.0)
    assert (status, told["generation"], told["expires_in_seconds"]) == (200, 1, 60.0)


def test_another_owner_waits_for_the_end() -> None:
    """And is told how long; afterwards it is its turn."""
    engine = control()
    engine.put(wanted(OFF, engine), 0.0)
    status, told = engine.put(wanted([[1, N, 1]], engine, owner="b"), 20.0)
    assert (status, told["error"]) == (409, "a holds a schedule for 40 more seconds; wait for its end, or DELETE it")
    assert engine.owner == "a"
    assert engine.put(wanted([[1, N, 1]], engine, owner="b", generation=2), 60.0)[0] == 200


def test_a_restarted_engine_is_never_mistaken_for_the_old_one() -> None:
    """Its generations begin anew, but its boot_id is another."""
    engine = control()
    status, told = engine.put(wanted(OFF, engine, boot_id="cd34"), 0.0)
    assert (status, engine.held) == (409, None)
    assert "restarted" in told["error"]
    assert told["current"]["boot_id"] == BOOT


def test_of_two_writers_that_saw_the_same_one_wins() -> None:
    """The other is told to look anew."""
    engine = control()
    first, second = wanted(OFF, engine), wanted([[1, N, 1]], engine)
    assert engine.put(first, 0.0)[0] == 200
    status, told = engine.put(second, 0.0)
    assert (status, told["error"]) == (409, "expected.generation is 0, the engine is at 1; GET anew")


def test_reset_returns_whoever_holds_and_twice_is_once() -> None:
    """No owner is asked for: it is the command for when something is wrong."""
    engine = control()
    engine.put(wanted(OFF, engine), 0.0)
    told = [engine.reset(1.0)[1] for _ in range(2)]
    assert told[0] == told[1]
    assert (told[0]["schedule"], told[0]["owner"], told[0]["generation"]) == ([[1, N, K_MAX]], None, 2)


def test_a_k_above_the_launched_one_is_impossible() -> None:
    """Even for batches that never occur: a typing error is not to pass."""
    engine = control()
    status, told = engine.put(wanted([[1, N, 1], [100, 200, 5]], engine), 0.0)
    assert (status, told["error"]) == (422, "k 5 is above 4, the num_speculative_tokens of the launch")


def test_a_k_without_a_graph_is_taken_only_when_allowed() -> None:
    """Where vLLM captures full graphs for the ks of the launch alone."""
    engine = control(graphs=frozenset({0, 4}))
    ranges = [[1, 2, 4], [3, 4, 2], [5, N, 0], [99, 99, 3]]
    status, told = engine.put(wanted(ranges, engine), 0.0)
    assert status == 422
    assert told["error"].startswith("vLLM captured no full CUDA graph for k 2:")
    assert engine.put(wanted(ranges, engine, allow_k_without_graph=True), 0.0)[0] == 200


def test_a_server_on_which_k_cannot_change_says_so() -> None:
    """In GET and to who tries; and reset still answers."""
    engine = Control(Launched(None, 0, N, (), refusal="launched without speculation"), BOOT)
    told = engine.document(0.0)
    assert (told["k_max"], told["schedule"], told["writable"]) == (None, [], False)
    assert told["read_only_because"] == "launched without speculation"
    status, refused = engine.put(wanted(OFF, engine), 0.0)
    assert (status, refused["error"]) == (409, "launched without speculation")
    assert engine.reset(0.0)[0] == 200


class Histories(RuleBasedStateMachine):
    """Any history of writers, resets and waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.engine, self.now = control(), 0.0
        self.ends: float | None = None

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        """Time passes, and a step begins."""
        self.now += seconds
        before, held = self.engine.generation, self.engine.held
        expired = self.engine.expire(self.now)
        assert self.engine.generation == before + expired
        assert expired == (held is not None and self.ends is not None and self.now >= self.ends)

    @rule(k=st.integers(0, 6), owner=st.sampled_from("ab"), behind=st.integers(0, 1), ttl=st.integers(10, 90))
    def write(self, k: int, owner: str, behind: int, ttl: int) -> None:
        """Taken or refused, whole; a refusal changes nothing."""
        generation = max(0, self.engine.generation - behind)
        before = self.engine.document(self.now)
        asked = wanted([[1, N, k]], self.engine, owner=owner, generation=generation, ttl_seconds=ttl)
        status, told = self.engine.put(asked, self.now)
        if status == 200:
            assert told["schedule"] == [[1, N, k]]
            assert before["owner"] in {None, owner}
            self.ends = self.now + ttl
        else:
            assert self.engine.document(self.now) == before

    @rule()
    def reset(self) -> None:
        """As launched."""
        assert self.engine.reset(self.now)[1]["schedule"] == [[1, N, K_MAX]]

    @invariant()
    def k_is_possible(self) -> None:
        """At every batch size."""
        held = self.engine.held
        assert held is None or (len(held) == N + 1 and 0 <= min(held) <= max(held) <= K_MAX)
        assert (held is None) == (self.engine.owner is None)


TestHistories = Histories.TestCase


@pytest.mark.parametrize("elapsed", [59.0, 60.0, 1e6])
def test_get_never_tells_a_negative_time(elapsed: float) -> None:
    """Also between the end of a schedule and the step that notices."""
    engine = control()
    engine.put(wanted(OFF, engine), 0.0)
    assert engine.document(elapsed)["expires_in_seconds"] >= 0.0
