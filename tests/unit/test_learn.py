"""A window teaches what it measured, by the plugin's counts where there are any, and ages what it did not see."""

import math
from dataclasses import replace

import pytest
from windows import window

from controller.decide.present import Present
from controller.learn import ABSENT_DRAFTS, WORKLOADS_KEPT, Question, answers, learn
from controller.memory import Learnt
from controller.model.composition import Portion
from controller.model.drafter import HEAD, Drafting
from controller.model.evidence import AcceptanceEvidence
from controller.model.target import DENSE
from controller.observe.speculation import Measured, StepCounts, WorkloadCounts
from controller.observe.window import Window
from controller.sight import Sight

CODE = WorkloadCounts("code", 600.0, (600.0, 600.0), (600.0, 500.0), (500.0, 400.0))
PROSE = WorkloadCounts("prose", 400.0, (400.0, 0.0), (400.0, 0.0), (100.0, 0.0))
STEPS = (StepCounts(2, 3, 2, 300.0, 600.0, 3.0, 1500.0), StepCounts(4, 7, 1, 100.0, 400.0, 2.0, 500.0))
DRAFTED = window((600.0, 400.0), drafts=1000, draft_tokens=1600)
SILENT = window((0.0, 0.0), drafts=0, request_steps=1000)


def sight(seen: Window, measured: Measured | None = None, k: float | None = None) -> Sight:
    """One window of a method that always drafts k."""
    return Sight(seen, measured, Present(k, Drafting.FIXED), None, None, HEAD, None)


def evidence_of(learnt: Learnt) -> AcceptanceEvidence:
    """What is known by now."""
    assert learnt.evidence is not None
    return learnt.evidence


def test_the_plugins_counts_are_taken_where_there_are_any() -> None:
    """The second position was at risk in 500 drafts, which /metrics cannot tell; steps are told apart by k."""
    exact = learn(Learnt(), sight(DRAFTED, Measured((CODE, PROSE), STEPS)))
    assert evidence_of(exact).at_risk == (1000.0, 500.0)
    assert [(each.batch, each.drafts) for each in exact.table.cells] == [(2.0, 2.0), (4.0, 1.0)]


def test_without_the_plugin_the_page_tells_what_it_can() -> None:
    """One cell for the whole window, and no workloads."""
    plain = learn(Learnt(), sight(DRAFTED, k=1.6))
    assert evidence_of(plain).accepted == (600.0, 400.0)
    assert len(plain.table.cells) == 1
    assert plain.workloads == ()


def test_workloads_are_remembered_apart_and_add_up() -> None:
    """Each by its own counts; one that sends nothing now is kept."""
    first = learn(Learnt(), sight(DRAFTED, Measured((CODE, PROSE), STEPS)))
    then = learn(first, sight(DRAFTED, Measured((CODE,), STEPS)))
    drafts = {each.name: each.drafts for each in first.workloads}
    assert drafts == {"code": 600.0, "prose": 400.0}
    assert sum(drafts.values()) == evidence_of(first).drafts
    assert {each.name: each.evidence.drafts for each in then.workloads} == {"code": 1200.0, "prose": 400.0}
    assert sum(each.drafts for each in then.workloads) == pytest.approx(evidence_of(then).drafts)


def test_a_workload_that_sends_nothing_any_more_leaves_the_mix() -> None:
    """Its part fades with the drafts that are remembered, though what it was like is still known."""
    alike = replace(CODE, name="more")
    learnt = learn(Learnt(), sight(DRAFTED, Measured((CODE, alike), STEPS)))
    parts = []
    for _ in range(60):
        learnt = learn(learnt, sight(DRAFTED, Measured((CODE,), STEPS)))
        parts.append({each.name: each.drafts for each in learnt.workloads})
        assert sum(parts[-1].values()) == pytest.approx(evidence_of(learnt).drafts)
    gone = [part["more"] for part in parts]
    assert gone == sorted(gone, reverse=True)
    assert gone[0] > 500.0
    assert gone[-1] < ABSENT_DRAFTS
    assert {each.name: each.evidence.drafts for each in learnt.workloads}["more"] == 600.0
    assert [each.name for each in portions(learnt)] == ["code"]


def test_a_mix_that_turned_into_another_one_at_once_has_no_part_of_the_old() -> None:
    """A window that differs too much to be chance drops what was known of the whole mix, its parts included."""
    learnt = learn(Learnt(), sight(DRAFTED, Measured((CODE,), STEPS)))
    hard = WorkloadCounts("prose", 1000.0, (1000.0, 1000.0), (1000.0, 100.0), (100.0, 10.0))
    learnt = learn(learnt, sight(window((100.0, 10.0), drafts=1000), Measured((hard,), STEPS)))
    assert {each.name: each.drafts for each in learnt.workloads} == {"prose": 1000.0, "code": 0.0}


def portions(learnt: Learnt) -> tuple[Portion, ...]:
    """The mix of the next window."""
    return answers([Question(learnt, sight(DRAFTED), math.inf, DENSE)])[0].portions


def test_shares_of_the_mix_add_up_to_one_the_largest_first_and_equal_ones_by_name() -> None:
    """By the drafts that are remembered; so two passes print the same table."""
    learnt = learn(Learnt(), sight(DRAFTED, Measured((PROSE, replace(PROSE, name="chat"), CODE), STEPS)))
    found = portions(learnt)
    assert [each.name for each in found] == ["code", "chat", "prose"]
    assert sum(each.share for each in found) == pytest.approx(1.0)
    assert [each.share for each in found] == pytest.approx([600 / 1400, 400 / 1400, 400 / 1400])


def test_a_plugin_that_counts_no_steps_leaves_them_to_the_page() -> None:
    """An engine of which only the drafts are told still has a step time."""
    found = learn(Learnt(), sight(DRAFTED, Measured((CODE, PROSE))))
    assert evidence_of(found).at_risk == (1000.0, 500.0)
    assert len(found.table.cells) == 1


@pytest.mark.parametrize("measured", [None, Measured((), STEPS[:1])], ids=["page", "plugin"])
def test_what_nobody_saw_for_a_window_counts_for_less_and_steps_are_learnt_all_the_same(
    measured: Measured | None,
) -> None:
    """Decoding without drafts ages acceptance, in all and by workload."""
    known = learn(Learnt(), sight(DRAFTED, Measured((CODE, PROSE), STEPS)))
    later = learn(known, sight(SILENT, measured, 0.0))
    assert 0 < evidence_of(later).drafts < evidence_of(known).drafts
    for old, new in ((a.evidence, b.evidence) for a, b in zip(known.workloads, later.workloads, strict=True)):
        assert 0 < new.drafts < old.drafts
    assert later.table != known.table


def test_an_idle_window_teaches_nothing_and_ages_nothing() -> None:
    """Without traffic there is nothing that could have changed."""
    known = learn(Learnt(), sight(DRAFTED, Measured((CODE, PROSE), STEPS)))
    idle = window((0.0, 0.0), drafts=0, request_steps=0)
    assert learn(known, sight(idle, Measured((), ()))) == known


def test_clients_that_invent_names_do_not_fill_the_memory() -> None:
    """Workloads come and go in the plugin's slots for weeks: those seen last are kept."""
    known = Learnt()
    for number in range(3 * WORKLOADS_KEPT):
        one = replace(CODE, name=f"invented-{number}")
        known = learn(known, sight(DRAFTED, Measured((one, PROSE), STEPS)))
    names = [each.name for each in known.workloads]
    assert len(names) == WORKLOADS_KEPT
    assert {"prose", f"invented-{3 * WORKLOADS_KEPT - 1}"} <= set(names)


def test_many_engines_are_known_as_each_of_them_alone() -> None:
    """Whatever each has seen: nothing at all, steps without a draft, a mix of workloads, or fewer positions."""
    mixed = learn(Learnt(), sight(DRAFTED, Measured((CODE, PROSE), STEPS)))
    short = learn(Learnt(), sight(window((300.0,), drafts=500, draft_tokens=500)))
    asked = [
        Question(learnt, sight(DRAFTED), limit, DENSE)
        for learnt in (Learnt(), mixed, learn(Learnt(), sight(SILENT)), short, learn(mixed, sight(DRAFTED)))
        for limit in (math.inf, 64.0)
    ]
    for each, found in zip(asked, answers(asked), strict=True):
        (alone,) = answers([each])
        assert (found.acceptance_seen, found.portions) == (alone.acceptance_seen, alone.portions)
        assert (found.market is None, found.step_time is None) == (alone.market is None, alone.step_time is None)
        if found.market is not None and alone.market is not None:
            assert found.market.prices([8.0], 1.0).scores(0) == alone.market.prices([8.0], 1.0).scores(0)
