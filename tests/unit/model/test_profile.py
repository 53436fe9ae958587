"""A profile is taken as it is written, or refused with the row and the reason."""

import json
import math
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.profile import KEPT_BATCHES, KEPT_KS, WEIGHT, profile_json, read_profile
from controller.model.step_table import CELLS_MAX, Cell, StepTable

PUBLISHED = Path(__file__).parents[3] / "benchmarks" / "tables" / "cost_llama31_8b_eagle_h100.csv"


def test_a_published_table_is_a_profile() -> None:
    """Columns that are not needed are ignored, comment lines too."""
    cells = read_profile(PUBLISHED.read_text("utf-8")).cells
    assert [(each.batch, each.drafts) for each in cells] == list(product((1, 4, 16, 64, 256), (0, 1, 3, 5)))
    assert math.exp(cells[0].log_seconds) == pytest.approx(0.0065206)


def test_the_three_forms_say_the_same() -> None:
    """CSV, a list of cells, and batch -> k -> milliseconds."""
    table = read_profile("batch,k,step_ms\n1,0,6.5\n8,3,9.5\n")
    cells = [{"batch": 1, "k": 0, "step_ms": 6.5}, {"batch": 8, "k": 3, "step_ms": 9.5}]
    assert table == read_profile(json.dumps({"cells": cells}))
    assert table == read_profile(json.dumps({"1": {"0": 6.5}, "8": {"3": 9.5}}))


@given(
    st.lists(
        st.tuples(st.integers(1, 512), st.integers(0, 16), st.floats(0.1, 1000), st.floats(0.01, 30)),
        min_size=1,
        max_size=KEPT_BATCHES * KEPT_KS,
        unique_by=lambda row: row[:2],
    )
)
def test_what_is_saved_is_read_again(rows: list[tuple[int, int, float, float]]) -> None:
    """The round trip keeps load, k and time; weights only up to that of a profile."""
    table = StepTable(tuple(Cell(b, k, float(k > 0), math.log(ms / 1e3), w) for b, k, ms, w in rows))
    found = {(each.batch, each.drafts): each for each in read_profile(profile_json(table)).cells}
    for cell in table.cells:
        again = found[cell.batch, cell.drafts]
        assert again.log_seconds == pytest.approx(cell.log_seconds, abs=1e-4)
        assert again.weight == pytest.approx(min(cell.weight, WEIGHT), abs=1e-3)


def test_a_large_grid_is_thinned_to_what_a_table_holds_with_its_ends() -> None:
    """A hundred batches by seventeen ks: no corner is lost, and room is left for what is measured here."""
    rows = [f"{batch},{k},{6 + batch * (1 + k) / 100}" for batch, k in product(range(1, 101), range(17))]
    cells = read_profile("batch,k,step_ms\n" + "\n".join(rows)).cells
    assert len(cells) == KEPT_BATCHES * KEPT_KS < CELLS_MAX
    assert {(cell.batch, cell.drafts) for cell in cells} >= set(product((1.0, 100.0), (0.0, 16.0)))


def test_a_profile_is_not_a_measurement_of_this_server() -> None:
    """Its cells inform the curve, but never label a baseline as measured."""
    table = read_profile("batch,k,step_ms\n8,0,6.5\n")
    assert table.measured(8, [0]) == (False,)
    assert table.with_cell(Cell(8.0, 0.0, 0.0, math.log(0.007), 1.0)).measured(8, [0]) == (True,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column batch is missing"),
        ("batch,k\n1,0\n", "column step_ms is missing"),
        ("batch,k,step_ms\n", "holds no cells"),
        ("batch,k,step_ms\n1,0,0.0065\n", r"row 1: .* is it in seconds\?"),
        ("batch,k,step_ms\n1,0,6.5\n1,1,7300000\n", r"row 2: .* is it in microseconds\?"),
        ("batch,k,step_ms\n1,0,6.5\n1,0,19\n", "row 2: 19 ms contradicts 6.5 ms"),
        ("batch,k,step_ms\n0,0,6.5\n", "row 1: batch is 0"),
        ("batch,k,step_ms\n1,-1,6.5\n", "row 1: k is -1"),
        ("batch,k,step_ms\n1,x,6.5\n", "row 1: k is not a number"),
        ("batch,k,step_ms\n1,0,nan\n", "row 1: step_ms is nan"),
        ("batch,k,step_ms\n1,0,inf\n", "row 1: step_ms is inf"),
        ("{}", "holds no cells"),
        ('{"cells": []}', "holds no cells"),
        ('{"cells": [3]}', "cell 1 is not an object"),
        ('{"cells": [{"batch": 1, "k": 0}]}', "cell 1: step_ms is not a number"),
        ('{"1": {"0": null}}', "batch 1, k 0: step_ms is not a number"),
        ('{"\\u001b[31m": {"0": null}}', r"batch \\x1b\[31m, k 0: batch is not a number"),
        (json.dumps({"9" * 1000: {"0": 1.0}}), r"^batch 9{19}…, k 0"),
        ("[1, 2]", "holds no cells"),
        ("{", "neither JSON nor CSV"),
        ("[" * 100_000, "neither JSON nor CSV"),
    ],
)
def test_what_cannot_be_true_is_refused_with_the_row_and_the_reason(text: str, words: str) -> None:
    """A wrong unit, an empty or contradictory table, a number that is none."""
    with pytest.raises(ValueError, match=words):
        read_profile(text)
