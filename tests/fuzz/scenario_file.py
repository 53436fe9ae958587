"""A scenario file of somebody else: bytes -> `read_traces`."""

import json
import tempfile
from pathlib import Path
from typing import Final

from controller.simulator.scenario_file import ScenarioFileError, read_traces
from fuzz.edits import edited, edits

MESSAGE_CHARACTERS_MAX: Final = 4000
_FOLDER: Final = tempfile.TemporaryDirectory(prefix="fuzz-scenario-")
_FILE: Final = Path(_FOLDER.name) / "scenario.json"
_SHIPPED: Final = Path(__file__).parents[2] / "benchmarks" / "scenarios"
_BASES: Final = tuple(json.loads((_SHIPPED / f"{name}.json").read_bytes()) for name in ("ngram", "bursts", "restarts"))


def check(data: bytes) -> None:
    """It is traces that last and have traffic, or a `ScenarioFileError`."""
    _FILE.write_bytes(edited(data, _BASES))
    try:
        traces = read_traces(_FILE)
    except ScenarioFileError as error:
        assert 0 < len(str(error)) <= MESSAGE_CHARACTERS_MAX
        return
    for each in traces:
        assert each.seconds >= 60
        assert each.scenario.phases[0].start_seconds == 0
        assert each.scenario.workloads
        assert isinstance(each.open_loop, bool)
        assert isinstance(each.steady, bool)


def seeds() -> list[bytes]:
    """Those, as they are and edited."""
    return [*(json.dumps(each).encode() for each in _BASES), *edits()]
