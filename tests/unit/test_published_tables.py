"""The textbook against what three publications printed; `benchmarks/textbook.py` shows the same numbers as tables."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import textbook

EXPECTATIONS = textbook.expectations()
BEST_KS = textbook.best_ks()


@pytest.mark.parametrize("row", EXPECTATIONS, ids=lambda row: row.name)
def test_the_papers_own_expectation_is_reproduced(row: textbook.Expectation) -> None:
    """Leviathan et al., tables 2 and 4: within 0.1, their rounding; .066 at worst."""
    assert row.ours == pytest.approx(row.published, abs=0.1)


def test_every_row_of_the_paper_is_there() -> None:
    """Three drafters, two tasks, two temperatures."""
    assert len(EXPECTATIONS) == 12


def test_the_best_k_of_ten_drafters_is_within_one_in_nine_of_them() -> None:
    """alpha from the published speedup, c = 1/scaling; GPT2-XL with its smallest draft is off by two (3, not 5)."""
    off = [abs(row.ours - row.published) for row in BEST_KS]
    assert len(off) == 10
    assert sum(each <= 1 for each in off) >= 9
    assert max(off) <= 2


def test_the_best_k_from_a_constant_rate_errs_downward() -> None:
    """Never above the published k, .9 below on average: text in phrases makes late drafts worth more."""
    bias = [row.ours - row.published for row in BEST_KS]
    assert max(bias) <= 0
    assert np.mean(bias) == pytest.approx(-0.9, abs=0.05)


def test_the_published_k_is_nowhere_more_than_five_percent_from_our_best() -> None:
    """The optimum is flat, so that being off by one costs little."""
    assert max(row.regret for row in BEST_KS) < 0.05


def test_the_draft_model_analysis_is_reproduced_whole() -> None:
    """Qwen3-32B with Qwen3-1.7B: implied draft time, expected times, speedups, and the best k under both."""
    found = textbook.draft_model()
    assert found.implied_draft_seconds == pytest.approx(2.6647, abs=5e-5)
    assert found.slowdown == pytest.approx(1.17, abs=0.005)
    assert found.expected_seconds[4] == pytest.approx(9.979, abs=5e-4)
    assert found.current_seconds[4] == pytest.approx(10.46, abs=5e-3)
    assert found.current_seconds[5] == pytest.approx(10.47, abs=5e-3)
    assert (found.expected_best_k, found.current_best_k) == (5, 4)
    assert found.expected_speedup == pytest.approx(23.65 / 9.979, abs=1e-3)
    assert found.actual_speedup == pytest.approx(23.65 / 10.46, abs=1e-3)


def test_every_table_names_its_source() -> None:
    """The first line of each is a comment that says where the numbers come from."""
    tables = sorted(textbook.TABLES.glob("*.csv"))
    assert len(tables) >= 7
    for table in tables:
        first = table.read_text("utf-8").splitlines()[0]
        assert first.startswith("# "), table.name
        assert len(first) > 60, table.name


def test_the_benchmark_prints_its_comparisons(capsys: pytest.CaptureFixture[str]) -> None:
    """Four tables, on stdout."""
    assert textbook.main([]) == 0
    said = capsys.readouterr().out
    for words in ("within 1 in 9 of 10", "-0.9 on average", "2.6647 ms", "variance / constant's"):
        assert words in said
