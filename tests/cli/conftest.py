"""The command in this process, with nothing of the machine's own settings."""

import os
import re
from pathlib import Path

import pytest
from calling import Command, Said, Saved

from controller.cli import main


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option comes from the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith("ADAPTIVE_K_"):
            monkeypatch.delenv(name)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command; what it prints holds neither a traceback nor terminal codes, whatever happens."""

    def call(*arguments: object) -> Said:
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        for text in (out, err):
            assert "Traceback" not in text
            assert re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text) is None
        return Said(code, out, err)

    return call


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A folder for saved pages."""
    return Saved(tmp_path)
