"""What the plugin counts: by workload and position, and steps by batch size and k."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.engine.ledger import HALF_LIFE_SECONDS, OTHER, WORKLOADS_MAX, Ledger, bucket_tops

K_MAX = 4
VERIFIED = st.integers(0, K_MAX).flatmap(lambda drafted: st.tuples(st.just(drafted), st.integers(0, drafted)))


def counted(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The workloads of the document by name."""
    return {workload["name"]: workload for workload in ledger.document()["workloads"]}


def verify(ledger: Ledger, workload: str, now_seconds: float = 0.0, drafted: int = 2, accepted: int = 1) -> None:
    """One request of a workload verifies once, and ends."""
    ledger.begin("request", workload, now_seconds)
    ledger.verified_by_request["request"][drafted][accepted + 1] += 1
    ledger.end(["request"])


@given(st.lists(VERIFIED, min_size=1))
def test_counts_by_position_are_those_of_the_verifications_one_by_one(verified: list[tuple[int, int]]) -> None:
    """Drafted: so far or further. Judged: drafted, and all before it accepted. Accepted: so many or more."""
    ledger = Ledger(K_MAX, 8)
    for drafted, accepted in verified:
        verify(ledger, "chat", 0.0, drafted, accepted)
    positions = range(1, K_MAX + 1)
    drafts = sum(d > 0 for d, _ in verified)
    told = counted(ledger)
    assert drafts or not told
    if drafts:
        assert told["chat"] == {
            "name": "chat",
            "drafts": drafts,
            "drafted": [sum(d >= j for d, _ in verified) for j in positions],
            "judged": [sum(d >= j and a >= j - 1 for d, a in verified) for j in positions],
            "accepted": [sum(a >= j for _, a in verified) for j in positions],
        }


@given(st.lists(st.tuples(st.integers(0, 90), st.floats(0, 5 * HALF_LIFE_SECONDS), st.integers(1, 6)), max_size=200))
def test_nothing_is_lost_whoever_takes_whose_slot(arrivals: list[tuple[int, float, int]]) -> None:
    """Also while a request of an evicted workload still runs: it goes on counting, into `other`."""
    ledger, now, verifications = Ledger(K_MAX, 8, ["kept"]), 0.0, 0
    ledger.begin("long", "workload-0", 0.0)
    for number in range(1, WORKLOADS_MAX + 1):
        verify(ledger, f"workload-{number}")
    for number, seconds, times in arrivals:
        now += seconds
        for _ in range(times):
            verify(ledger, f"workload-{number}", now)
        ledger.verified_by_request["long"][2][2] += 1
        verifications += times + 1
        told = counted(ledger)
        assert len(told.keys() - {OTHER}) <= WORKLOADS_MAX
        for key, expected in (("drafted", 2), ("judged", 2), ("accepted", 1)):
            total = sum(sum(workload[key]) for workload in told.values())
            assert total == expected * (WORKLOADS_MAX + verifications)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["chat", "code", OTHER]), st.booleans()),
        max_size=20,
    )
)
def test_counts_are_shared_exactly_while_every_running_request_is_of_one_workload(
    events: list[tuple[int, str, bool]],
) -> None:
    """Whoever begins and ends in whatever order; with nobody running it is no matter."""
    ledger, running = Ledger(K_MAX, 8), dict[str, str]()
    for number, workload, begins in events:
        request_id = str(number)
        if begins and request_id not in running:
            ledger.begin(request_id, workload, 0.0)
            running[request_id] = workload
        elif not begins:
            ledger.end([request_id])
            running.pop(request_id, None)
        if running:
            one = next(iter(ledger.verified_by_request.values()))
            assert ledger.shared is (one if len({*running.values()}) == 1 else None)


def test_counts_shared_by_requests_of_a_workload_that_lost_its_slot_are_those_of_other() -> None:
    """Or its verifications would be in nobody's counts."""
    ledger = Ledger(K_MAX, 8)
    for number in range(WORKLOADS_MAX):
        verify(ledger, f"w{number}", 1e6 * (number > 0))
    ledger.begin("long", "w0", 0.0)
    for _ in range(9):
        ledger.begin("short", "new", 1e6)
        ledger.end(["short"])
    assert ledger.shared is ledger.verified_by_request["long"]
    ledger.shared[2][2] += 1
    assert counted(ledger)[OTHER]["drafts"] == 2


def test_the_65th_workload_is_other_until_it_is_busier_than_the_quietest() -> None:
    """Then it takes the slot, and what the quiet one had counted is other's."""
    ledger = Ledger(K_MAX, 8)
    for number in range(WORKLOADS_MAX):
        for _ in range(10):
            verify(ledger, f"w{number}", float(number))
    ledger.begin("still running", "w0", 0.0)
    verify(ledger, "new", 100.0)
    assert counted(ledger)[OTHER]["drafts"] == 1
    hours_later = 30 * HALF_LIFE_SECONDS
    for number in range(1, WORKLOADS_MAX):
        verify(ledger, f"w{number}", hours_later)
    for _ in range(10):
        verify(ledger, "new", hours_later)
    told = counted(ledger)
    assert "w0" not in told
    assert told["w1"]["drafts"] == 11
    assert told["new"]["drafts"] + told[OTHER]["drafts"] == 11 + 10
    assert told["new"]["drafts"] >= 6
    ledger.verified_by_request["still running"][1][1] += 1
    assert counted(ledger)[OTHER]["drafts"] == told[OTHER]["drafts"] + 1


def test_workloads_that_are_about_as_busy_do_not_take_turns() -> None:
    """Neither from those that were first, nor from one that took its slot over a moment ago."""
    ledger = Ledger(K_MAX, 8)
    for number in range(WORKLOADS_MAX):
        for _ in range(10):
            verify(ledger, f"w{number}")
    for _ in range(19):
        verify(ledger, "late")
    assert "late" not in counted(ledger)
    verify(ledger, "late")
    for _ in range(19):
        verify(ledger, "later")
    told = counted(ledger)
    assert told["late"]["drafts"] == 1
    assert "later" not in told
    lost = {f"w{number}" for number in range(WORKLOADS_MAX)} - told.keys()
    assert len(lost) == 1
    for number in set(range(WORKLOADS_MAX)) - {int(name[1:]) for name in lost}:
        for _ in range(90):
            verify(ledger, f"w{number}")
    for _ in range(20):
        verify(ledger, "later")
    assert "late" in counted(ledger)
    verify(ledger, "later")
    assert "late" not in counted(ledger)


def test_a_client_that_invents_a_label_per_request_takes_nobodys_slot() -> None:
    """However many, and however quiet the others are."""
    ledger = Ledger(K_MAX, 8)
    for number in range(WORKLOADS_MAX):
        verify(ledger, f"w{number}")
    for number in range(2_000):
        verify(ledger, f"invented-{number}", 50 * HALF_LIFE_SECONDS)
    told = counted(ledger)
    assert told.keys() == {f"w{number}" for number in range(WORKLOADS_MAX)} | {OTHER}
    assert told[OTHER]["drafts"] == 2_000


def test_configured_names_keep_their_slots_though_they_are_quiet() -> None:
    """All 64 of them: then nobody else gets one."""
    names = [f"kept-{number}" for number in range(WORKLOADS_MAX)]
    ledger = Ledger(K_MAX, 8, names)
    for _ in range(100):
        verify(ledger, "busy", 50 * HALF_LIFE_SECONDS)
    verify(ledger, names[-1], 51 * HALF_LIFE_SECONDS)
    told = counted(ledger)
    assert told.keys() == {OTHER, names[-1]}
    assert told[OTHER]["drafts"] == 100


def test_what_is_held_is_bounded_whatever_requests_call_themselves() -> None:
    """10,000 labels and 10,000 requests that ended leave no more than 64 of each behind."""
    ledger = Ledger(K_MAX, 8)
    for number in range(10_000):
        verify(ledger, f"w{number}", float(number))
    sizes = {name: len(value) for name, value in vars(ledger).items() if hasattr(value, "__len__")}
    assert max(sizes.values()) <= WORKLOADS_MAX
    assert sizes["verified_by_request"] == 0


@given(st.integers(1, 5000))
def test_each_batch_size_is_in_one_bucket_and_buckets_are_narrow(largest: int) -> None:
    """Up to 16 each on its own; above, the largest batch of a bucket is at most a fifth above its smallest."""
    tops = bucket_tops(largest)
    assert tops[-1] == largest
    assert tops[:16] == tuple(range(1, min(largest, 16) + 1))
    assert all(below < top <= 1.2 * (below + 1) for below, top in pairwise(tops[15:]))


PARTS = ("batch_min", "batch_max", "k", "steps", "request_steps", "seconds", "tokens", "prompt_tokens")


def test_steps_are_kept_by_bucket_and_k_and_those_beside_prompts_apart() -> None:
    """17 and 19 share a bucket, 20 has another; what was not measured is not told."""
    ledger = Ledger(K_MAX, 32)
    ledger.step(17, 3, 0.02, 40)
    ledger.step(18, 3, 0.25, 41, 900)
    ledger.step(19, 3, 0.03, 45)
    ledger.step(17, 3, 0.5, 39, 1)
    ledger.step(20, 3, 0.04, 50)
    ledger.step(19, 0, 0.01, 19)
    ledger.other_step(0.5, 6)
    told = ledger.document()
    assert [tuple(each[part] for part in PARTS) for each in told["steps"]] == [
        (17, 19, 0, 1, 19, 0.01, 19, 0),
        (17, 19, 3, 2, 36, 0.05, 85, 0),
        (17, 19, 3, 2, 35, 0.75, 80, 901),
        (20, 22, 3, 1, 20, 0.04, 50, 0),
    ]
    assert all(each.keys() == set(PARTS) for each in told["steps"])
    assert told["other_steps"] == {"steps": 1, "seconds": 0.5, "tokens": 6}
    assert told["workloads"] == []


def test_without_speculation_steps_are_counted_and_workloads_are_not() -> None:
    """There is nothing to verify, but a step still takes its time."""
    ledger = Ledger(0, 8)
    ledger.step(3, 0, 0.01, 3)
    assert ledger.document()["steps"][0]["k"] == 0
    assert ledger.document()["workloads"] == []
