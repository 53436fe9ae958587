"""The threat model names tests that there are."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "security.md").read_text("utf-8")
THREATS: Final = [
    line for line in TEXT.split("## Threats")[1].split("\n## ")[0].splitlines()[3:] if line.startswith("| ")
]
NAMED: Final = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("threat", THREATS, ids=range(len(THREATS)))
def test_every_threat_has_a_control_and_tests_that_exist(threat: str) -> None:
    """By file and name, in the suites that CI runs."""
    _, _, attempt, control, tests, _ = threat.split("|")
    named = NAMED.findall(tests)
    assert attempt.strip()
    assert control.strip()
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_the_table_is_read_whole() -> None:
    """A row that is no row would not be checked."""
    assert len(THREATS) == TEXT.split("## Bounds")[0].count("\n| ") - 1


@pytest.mark.parametrize(
    ("file", "constant", "words"),
    [
        ("controller/files.py", "SECRET_BYTES_MAX", "64 KiB"),
        ("controller/files.py", "DOCUMENT_BYTES_MAX", "4 MiB"),
        ("controller/settings.py", "FILE_BYTES_MAX", "256 KiB"),
        ("controller/checkpoint.py", "LIMIT_BYTES", "4 MiB"),
        ("controller/act/rollout/api.py", "LIMIT_BYTES", "8 MiB"),
        ("controller/act/rollout/speculative_config.py", "LIMIT_CHARACTERS", "16 KiB"),
        ("controller/observe/vllm_metrics.py", "NAME_CHARACTERS_MAX", "8 KiB"),
        ("controller/observe/prometheus/answer.py", "LABELS_CHARACTERS_MAX", "16 KiB"),
        ("controller/engine/wanted.py", "BODY_BYTES_MAX", "64 KiB"),
        ("controller/engine/tokens.py", "FILE_BYTES_MAX", "4 KiB"),
        ("controller/listener.py", "HEADER_BYTES_MAX", "16 KiB"),
        ("controller/simulator/scenario_file.py", "LIMIT_BYTES", "1 MiB"),
    ],
)
def test_the_bounds_are_those_of_the_code(file: str, constant: str, words: str) -> None:
    """As they are declared."""
    number, unit = words.split()
    source = (ROOT / file).read_text("utf-8")
    (declared,) = re.findall(rf"^{constant}(?:: Final)? = ([\d *]+)$", source, re.MULTILINE)
    assert eval(declared, {}) == int(number) * {"KiB": 1024, "MiB": 1024**2}[unit]  # digits and stars
    assert words in TEXT.split("## Bounds")[1].split("\n## ")[0]
