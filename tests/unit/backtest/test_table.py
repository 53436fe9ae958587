"""What people and machines read of a backtest: nothing is claimed that history cannot tell."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from backtests import BEGINNING, pods, replayed
from fleet import fleets
from fleet.remembered import remembered

from controller.backtest.account import followed
from controller.backtest.document import document, schema
from controller.backtest.outcome import Backtest, Span, Yield, together
from controller.backtest.picture import picture
from controller.backtest.table import table
from controller.cycle import Failure
from controller.decide.decision import Action, Bounded, Decision
from controller.model.economics import Score
from controller.reason import Reason
from controller.report.plots import save


@pytest.fixture(scope="module")
def found() -> Backtest:
    """Three workloads: one that drafts too little, one that is right, one that does not speculate."""
    fleet = [each for scenario in (fleets.SHARP, fleets.PLAIN, fleets.TIMID) for each in pods(scenario, 1)]
    return replayed(remembered(fleet, BEGINNING, 600), 600)


def test_the_document_keeps_to_the_published_schema(found: Backtest) -> None:
    """Whole, cut short, and of nothing at all."""
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    cut = replace(found, failure=Failure(Reason.STORE_TIMEOUT, "It took too long."))
    for each in (found, cut, replace(found, outcomes=(), first_unix_seconds=None)):
        check.validate(json.loads(json.dumps(document(each))))
    assert document(cut)["complete"] is False
    assert document(cut)["errors"] == [{"reason": "store_timeout", "message": "It took too long."}]


def test_the_largest_gain_comes_first_and_what_cannot_be_told_is_said(found: Backtest) -> None:
    """The workload under k=1, with what never ran there; the one without speculation last, with its reason."""
    text = table(found)
    order = [text.index(name) for name in ("timid-8b", "coder-8b", "plain-8b")]
    assert order == sorted(order)
    assert "nothing to decide: no_speculation" in text
    assert "k=1 -> k=5  faster_k: k=5 yields" in text
    assert "drafts beyond position 1 were never made" in text
    assert "k=0, 2, 3, 4, 5 never ran at these loads: their step times are modelled" in text


def test_what_was_never_run_is_called_modelled_and_what_ran_measured(found: Backtest) -> None:
    """In the table and in the document alike."""
    rows = [line for line in table(found).splitlines() if line.startswith("k=")]
    assert all(line.endswith("modelled") for line in rows[:1] + rows[2:6])
    assert rows[1].startswith("k=1")
    assert rows[1].endswith("as it ran                     measured")
    shares = [each["measured_share"] for each in document(found)["workloads"][0]["total"]["fixed"]]
    assert shares == pytest.approx([0, 1, 0, 0, 0, 0])


def test_hours_add_up_to_the_whole() -> None:
    """Windows, tokens and gains; an hour in which nothing could be priced counts as it ran, whatever k."""
    made = Yield(Bounded(110.0, 90.0, 130.0), 55.0)
    priced = Span(0.0, windows=2, busy_windows=2, tokens=100.0, would=made, fixed=(made, made))
    idle = Span(3600.0, windows=1, tokens=10.0, would=Yield(Bounded(10.0, 10.0, 10.0), 0.0, 10.0))
    for both in (together([priced, idle]), together([idle, priced])):
        assert (both.windows, both.tokens) == (3, 110.0)
        assert both.fixed is not None
        for each in (both.would, *both.fixed):
            assert each.tokens == Bounded(120.0, 100.0, 140.0)
            assert each.measured_share == 0.5
    assert priced.best_fixed_k == 0  # the smaller one of equals


def score(k: int, gain: float) -> Score:
    """A price of which only the gain matters."""
    return Score(k, 2.0, 0.01, 200.0, 150.0, 250.0, gain, 0.9 * gain, 1.1 * gain, True, False)


@pytest.mark.parametrize(
    ("standing", "action", "reason", "gain_of_2", "then"),
    [
        (None, Action.CHANGE, Reason.FASTER_K, 1.2, 2),
        (1, Action.CHANGE, Reason.FASTER_K, 1.2, 2),
        (2, Action.HOLD, Reason.GAIN_UNCERTAIN, 1.02, 2),
        (2, Action.HOLD, Reason.GAIN_UNCERTAIN, 0.99, None),
        (2, Action.HOLD, Reason.BEST_ALREADY, 1.02, None),
        (None, Action.HOLD, Reason.GAIN_UNCERTAIN, 1.02, None),
    ],
)
def test_who_follows_the_loop_goes_where_it_pays_and_back_when_it_no_longer_does(
    standing: int | None, action: Action, reason: Reason, gain_of_2: float, then: int | None
) -> None:
    """A change is made; a hold keeps it while it is expected to pay; the best that runs anyway ends it."""
    scores = (score(0, 0.5), score(1, 0.8), score(2, gain_of_2), score(3, 1.0))
    decision = Decision(action, reason, "", k_now=3.0, k=2, scores=scores)
    assert followed(standing, decision) == then


def test_a_name_with_dollars_is_drawn_as_it_is(found: Backtest, tmp_path: Path) -> None:
    """And not read as a formula, which may be none."""
    (outcome, *_) = found.outcomes
    odd = replace(found, outcomes=(replace(outcome, key=("org/a$x^^$b", "0", ())),))
    save(picture(odd), tmp_path / "odd.svg")
    assert "a$x^^$b" in (tmp_path / "odd.svg").read_text("utf-8")
