"""The options of every verb, and where their values come from; they are declared once, in `options/`.

Flag, environment variable, YAML key, help and documentation all come from there. Precedence: flag > environment >
YAML file > default.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from controller.files import text_of
from controller.options.base import ENV_PREFIX, Options, SettingsError
from controller.plain import plain

FILE_BYTES_MAX: Final = 256 * 1024
"""Of a settings file."""
CONFIG_ENV: Final = f"{ENV_PREFIX}CONFIG"
_KUBERNETES: Final = re.compile(
    rf"{ENV_PREFIX}(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
)
"""Kubernetes gives every pod variables for each Service; one named adaptive-k must not stop the sidecar."""


class _Verbs(Mapping[str, type[Options]]):
    """The options of every verb; those of one that nobody asks for are not imported, for that takes its time."""

    _HOMES: Final = {
        "recommend": ("recommend", "RecommendOptions"),
        "run": ("run", "RunOptions"),
        "backtest": ("backtest", "BacktestOptions"),
        "reset": ("verbs", "ResetOptions"),
        "doctor": ("verbs", "DoctorOptions"),
        "calibrate": ("verbs", "CalibrateOptions"),
        "launch-config": ("verbs", "LaunchConfigOptions"),
        "simulate": ("verbs", "SimulateOptions"),
        "demo": ("verbs", "DemoOptions"),
        "whatif": ("whatif", "WhatIfOptions"),
        "schema": ("verbs", "SchemaOptions"),
    }

    def __getitem__(self, verb: str) -> type[Options]:
        module, name = self._HOMES[verb]
        found: type[Options] = getattr(import_module(f"controller.options.{module}"), name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._HOMES)

    def __len__(self) -> int:
        return len(self._HOMES)


VERBS: Final = _Verbs()
_SOURCES: Final = frozenset({"url", "prometheus_url", "source"})


def load(verb: str, flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Options:
    """The settings of one verb.

    Args:
        verb: A key of `VERBS`.
        flags: What the command line gave, by field name; and `config`, the YAML file.
        environment: The process's variables; only their names are looked at here.

    Raises:
        SettingsError: An unknown variable or key, or a value that does not fit.
    """
    given = dict(flags)
    variables = os.environ if environment is None else environment
    _refuse_unknown_variables(variables)
    config = given.pop("config", None) or variables.get(CONFIG_ENV)
    if given.keys() & _SOURCES and verb == "recommend":
        given = {"url": None, "prometheus_url": None, "source": ()} | given  # a flag beats the environment and the file
    options = VERBS[verb]
    # a class of its own carries the file's values, so that no state is shared between two loads
    bound = type(options.__name__, (options,), {"from_file": _yaml(Path(config)) if config else {}, "__doc__": None})
    try:
        settings: Options = bound(**given)
    except ValueError as error:
        raise SettingsError(_readable(error)) from error
    return settings


def known_fields() -> frozenset[str]:
    """The name of every option of every verb."""
    return frozenset(name for options in VERBS.values() for name in options.model_fields)


def _refuse_unknown_variables(variables: Iterable[str]) -> None:
    given = sorted(each for each in variables if each.startswith(ENV_PREFIX) and not _KUBERNETES.fullmatch(each))
    if not given:
        return
    known = sorted({name.upper() for name in known_fields()} | {CONFIG_ENV.removeprefix(ENV_PREFIX)})
    for name in given:
        option = name.removeprefix(ENV_PREFIX)
        if option not in known:
            raise SettingsError(
                f"The environment variable {plain(name)} is not an option{guess(option, known, ENV_PREFIX)}"
            )


def _yaml(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415  # only where there is a settings file

    from controller.plain_yaml import plain_yaml  # noqa: PLC0415

    try:
        content = plain_yaml(text_of(path, FILE_BYTES_MAX))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else "its end"
        raise SettingsError(
            f"The settings file {path} is not YAML at {line} ({plain(error.problem or 'no reason given', 120)}): write "
            "one `option: value` a line."
        ) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: 2026-13-45 is no date
        raise SettingsError(
            f"The settings file {path} cannot be read: {plain(' '.join(str(error).split()), 200)}"
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"The settings file {path} must hold `option: value` lines.")
    known = sorted(each.replace("_", "-") for each in known_fields())
    found = {str(key).replace("_", "-"): value for key, value in content.items()}
    for key in found:
        if key not in known:
            raise SettingsError(
                f"The settings file {path} has {plain(key)!r}, which is not an option{guess(key, known)}"
            )
    return {key.replace("-", "_"): value for key, value in found.items()}


def guess(name: str, known: Sequence[str], prefix: str = "") -> str:
    """The end of a sentence about a name that is not known."""
    name = name[:80]  # comparing takes its time
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else "."


def _readable(error: ValueError) -> str:
    """pydantic's findings as sentences, without the offending value where it might be a secret."""
    problems = []
    for problem in getattr(error, "errors", list)():
        where = ".".join(str(part) for part in problem["loc"])
        flag = f"--{where.replace('_', '-')}: " if where else ""
        said = "it must be given" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        problems.append(flag + said)
    if list_field := re.search(r'field "(\w+)"', str(error)):  # pydantic-settings decodes lists before it validates
        problems.append(f"{ENV_PREFIX}{list_field[1].upper()} must be a JSON list")
    return "; ".join(problems) or str(error)
