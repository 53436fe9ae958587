"""The contracts of import-linter name every room: a new one cannot slip past those that list what is forbidden."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {each.stem for each in (ROOT / "controller").iterdir() if each.is_dir() or each.suffix == ".py"}
FREE = {"simulator": {"engine", "listener"}, "engine": set[str]()}
"""What these may import of the project: the simulator hosts the real plugin, and listens as the sidecar does."""


@pytest.mark.parametrize("house", FREE)
def test_what_stands_apart_may_import_nothing_else_of_ours(house: str) -> None:
    """The list is that of the folder."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = (
        each for each in contracts if each["type"] == "forbidden" and each["source_modules"] == [f"controller.{house}"]
    )
    named = {
        name.removeprefix("controller.") for name in contract["forbidden_modules"] if name.startswith("controller.")
    }
    rooms = {room for room in ROOMS if not room.startswith("__")}
    assert named == rooms - {house} - FREE[house]
