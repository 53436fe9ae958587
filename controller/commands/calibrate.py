"""`controller calibrate`: step times of servers launched at different k, merged into one profile."""

import os
import tempfile
from pathlib import Path

from controller.commands.exit_codes import FAILED, NO_EVIDENCE, OK
from controller.commands.say import say
from controller.commands.wiring import mixtures, profile
from controller.model.drafter import METHODS, UNKNOWN
from controller.model.profile import profile_json
from controller.model.step_table import StepTable, cell_of
from controller.model.step_time import fit
from controller.model.target import target_of
from controller.observe.errors import ObserveError, cause
from controller.observe.source import ReplaySource
from controller.observe.window import between
from controller.options.verbs import CalibrateOptions
from controller.report.explain import parameters


def calibrate(options: CalibrateOptions) -> int:
    """Read the pairs of pages, and print or save the profile they make together."""
    table = profile(options) or StepTable()
    pairs = list(zip(options.source[::2], options.source[1::2], strict=True))
    names: list[str] = []
    for before, after in pairs:
        try:
            table, found = _with_pair(table, before, after, options.page_limit_bytes)
        except ObserveError as error:
            say(f"controller calibrate: {error.message}")
            return FAILED
        names += found
    drafter = METHODS[options.method] if options.method else UNKNOWN
    step_time = fit(table, drafter, target=target_of(" ".join(names), mixtures(options)))
    if not names or step_time is None:
        say("controller calibrate: no tokens were decoded between these pages; save them around real traffic.")
        return NO_EVIDENCE
    say(f"{len(names)} windows make {len(table.cells)} cells\n" + "\n".join(parameters(step_time)))
    if options.save is None:
        print(profile_json(table), end="")
        return OK
    try:
        _save(options.save, profile_json(table))
    except OSError as error:
        say(f"controller calibrate: {options.save} cannot be written ({cause(error)}): choose another file.")
        return FAILED
    say(f"saved in {options.save}; use it with --profile {options.save}")
    return OK


def _with_pair(table: StepTable, before: Path, after: Path, limit_bytes: int) -> tuple[StepTable, list[str]]:
    """The table with the windows between two pages, and the models that they are of."""
    source = ReplaySource((before, after), limit_bytes=limit_bytes)
    early, late = ({snapshot.key: snapshot for snapshot in source.read()} for _ in range(2))
    names = []
    for key in early.keys() & late.keys():
        cell = cell_of(between(early[key], late[key]))
        if cell is not None:
            table = table.with_cell(cell)
            names.append(late[key].model_name)
    return table, names


def _save(path: Path, text: str) -> None:
    """Whole or not at all: a full disk or a kill leaves the old file as it was."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
