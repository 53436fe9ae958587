"""A file of scenarios: read, checked, and told what is wrong with it and where."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from controller.simulator.scenario_document import FileDocument
from controller.simulator.trace import Trace, WrongError, traces_of

LIMIT_BYTES: Final = 1024 * 1024
"""A larger file is refused."""


class ScenarioFileError(ValueError):
    """A scenario file that cannot be used: where, why, and what to do."""


def read_traces(path: Path) -> tuple[Trace, ...]:
    """The traces of a scenario file.

    Raises:
        ScenarioFileError: It cannot be read, or breaks the schema or a rule beyond it.
    """
    try:
        with path.open("rb") as file:
            body = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise ScenarioFileError(f"{path}: cannot be read ({error.strerror}). Name a scenario file.") from error
    if len(body) > LIMIT_BYTES:
        raise ScenarioFileError(f"{path}: is larger than {LIMIT_BYTES} bytes. Split it into several files.")
    try:
        document = FileDocument.model_validate_json(body)
        return tuple(traces_of(document))
    except ValidationError as error:
        raise ScenarioFileError(_complaint(path, error)) from error
    except WrongError as error:
        raise ScenarioFileError(f"{path}: {_place(error.where)}: {error}") from error


def _complaint(path: Path, error: ValidationError) -> str:
    found = [each for each in error.errors() if each["type"] != "too_short" or not each["input"]]  # the rest follow
    lines = [f"{path}: {_place(each['loc'])}: {_words(each)}" for each in found[:8]]
    more = len(found) - len(lines)
    return "\n".join(lines + ([f"and {more} more"] if more else []))


def _words(detail: Any) -> str:
    if detail["type"] == "missing":
        return "is missing: add it"
    if detail["type"] == "extra_forbidden":
        return "is not known: remove it, or correct its spelling"
    if detail["type"] == "json_invalid":
        return f"this is not JSON: {detail['msg']}"
    given = repr(detail["input"])
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}; it is {given if len(given) <= 60 else given[:57] + '...'}"


def _place(where: Sequence[str | int]) -> str:
    """The place as people write it.

    >>> _place(("scenarios", 0, "load", 2, "concurrency"))
    'scenarios[0].load[2].concurrency'
    """
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in where)
    return text.removeprefix(".") or "the document"
