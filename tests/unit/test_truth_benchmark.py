"""The truth benchmark holds its targets on the published cost tables, and refuses what cannot be true."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(tables: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The benchmark as a person runs it."""
    command = [sys.executable, str(ROOT / "benchmarks" / "truth.py"), "--tables", str(tables), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_step_times_and_choices_hold_their_targets_on_the_published_tables() -> None:
    """Step error 4% and regret 1.5% with a cell left out, regret 3% from both ends, none with every cell known."""
    cost = json.loads(run(ROOT / "benchmarks" / "tables", "--json").stdout)["cost"]
    assert cost["leave_one_cell_out"]["cells"] == 42
    assert cost["leave_one_cell_out"]["step_error_mean"] <= 0.04
    assert cost["leave_one_cell_out"]["regret_mean"] <= 0.015
    assert cost["ends_only"]["regret_mean"] <= 0.03
    assert cost["nothing_left_out"]["regret_max"] == 0.0


def test_what_a_protocol_lacks_is_named(tmp_path: Path) -> None:
    """Tables of another form, and configs with fewer than four timed cells, are skipped in words."""
    for name in ("best_k_by_family.csv", "cost_qwen3_32b_draft_1_7b.csv", "cost_llama3_8b_eagle_bs1_early.csv"):
        shutil.copy(ROOT / "benchmarks" / "tables" / name, tmp_path)
    said = run(tmp_path).stdout
    assert "skipped best_k_by_family.csv" in said
    assert "skipped for cost: qwen3-32b+qwen3-1.7b/draft-model, 2 timed cells where 4 are needed" in said


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("c,1,0,1,6500000,1", "row 1: step_ms 6500000 is not a step in milliseconds"),
        ("c,1,x,1,6.5,1", "row 1: k is 'x'"),
        ("c,1,0,1,6.5,1\nc,1,0,1,7.5,1", "contradicts an earlier row"),
    ],
)
def test_a_row_that_cannot_be_true_is_refused_with_its_place(tmp_path: Path, rows: str, words: str) -> None:
    """A wrong unit, a word for a number, two truths in one place."""
    header = "config,batch,k,acceptance_length,step_ms,tokens_per_second"
    (tmp_path / "cost.csv").write_text(f"{header}\n{rows}\n", "utf-8")
    refused = run(tmp_path)
    assert refused.returncode != 0
    assert words in refused.stderr
