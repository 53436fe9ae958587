"""The generated documents are those of the present declarations."""

import sys
from pathlib import Path

import pytest

from controller.reason import MEANING, Reason
from controller.settings import VERBS

sys.path.append(str(Path(__file__).parents[2] / "docs"))
from generate import documents

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["configuration.md", "metrics.md", "reasons.md", "reliability.md"])
def test_a_generated_document_is_up_to_date(name: str) -> None:
    """Otherwise: `make docs`."""
    assert documents()[DOCS / name] == (DOCS / name).read_text("utf-8"), "stale: run `make docs`"


def test_every_option_of_every_verb_is_documented() -> None:
    """Flag, variable and meaning, on one line of a table."""
    text = (DOCS / "configuration.md").read_text("utf-8")
    for verb, options in VERBS.items():
        section = text.split(f"## controller {verb}\n")[1].split("\n## ")[0]
        for name, field in options.model_fields.items():
            (row,) = (line for line in section.splitlines() if line.startswith(f"| `--{name.replace('_', '-')}`"))
            assert f"`ADAPTIVE_K_{name.upper()}`" in row
            assert (field.description or "").replace("|", "\\|") in row


def test_every_reason_is_documented_once() -> None:
    """And has a meaning."""
    text = (DOCS / "reasons.md").read_text("utf-8")
    assert {reason: text.count(f"| `{reason.value}` |") for reason in Reason} == dict.fromkeys(MEANING, 1)
