"""The command line, made from the declarations in `settings`: no option is written down twice."""

import argparse
import types
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from controller.options.base import ENV_PREFIX, Options
from controller.plain import plain
from controller.settings import CONFIG_ENV, VERBS, guess

SHORT = {"output": "-o"}
_KINDS = {
    "str": ("text", "TEXT"),
    "float": ("number", "NUMBER"),
    "int": ("whole number", "N"),
    "bool": ("true or false", ""),
    "Path": ("file", "FILE"),
    "Folder": ("folder", "FOLDER"),
}
"""Types of options in words, and what stands for their values in the help."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong and where to look, without the usage of forty options before it."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        self.exit(2, f"{self.prog}: {plain(message, 1000)}\n`{self.prog} --help` lists the options.\n")


def parser(version: str, verbs: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of the whole command, or of some verbs of it."""
    root = _Parser(
        prog="controller",
        description="adaptive-k: which num_speculative_tokens a vLLM server should run, from its own metrics.",
        epilog="Every option may also be an environment variable or a line of the YAML file given by --config.",
    )
    root.add_argument("--version", action="version", version=f"adaptive-k {version}")
    subparsers = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in verbs:
        options = VERBS[verb]
        summary = (options.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(verb, help=summary, description=summary, argument_default=argparse.SUPPRESS)
        sub.add_argument("--config", metavar="FILE", help=f"YAML file with options ({CONFIG_ENV})")
        for name, field in options.model_fields.items():
            _add(sub, name, field)
    return root


def parse(arguments: Sequence[str], version: str) -> tuple[str, dict[str, Any]]:
    """The verb and what the command line gave, by field name; options left out are absent."""
    asked = [verb for verb in arguments[:1] if verb in VERBS]  # the others need not be made for it
    root = parser(version, asked or VERBS)
    found, unknown = root.parse_known_args(arguments)
    given = vars(found)
    verb = given.pop("verb")
    if unknown:
        root.prog += f" {verb}"
        name, known = unknown[0].partition("=")[0], ["--config", *map(_flag, VERBS[verb].model_fields)]
        what = "there is no option" if name.startswith("-") else "this stands alone, with no option before it:"
        root.error(f"{what} {plain(name)}{guess(name, known)}")
    return verb, given


def describe(field: FieldInfo) -> str:
    """An option's type in words.

    >>> from controller.options.recommend import RecommendOptions
    >>> describe(RecommendOptions.model_fields["output"])
    'table, json, yaml or config'
    """
    inner = _inner(field)
    if choices := _choices(inner):
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    if get_origin(inner) is tuple:
        return "files"
    return _KINDS[inner.__name__][0]


def default_text(field: FieldInfo) -> str:
    """An option's default in words; empty when there is none."""
    if field.is_required() or field.default in (None, ()):
        return ""
    value = field.default
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _add(sub: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    inner = _inner(field)
    default = default_text(field)
    notes = ", ".join(filter(None, [f"default {default}" if default else "", ENV_PREFIX + name.upper()]))
    names = [SHORT[name]] if name in SHORT else []
    names.append(_flag(name))
    arguments: dict[str, Any] = {"dest": name, "help": f"{field.description} ({notes})".replace("%", "%%")}
    if inner is bool:
        arguments["action"] = argparse.BooleanOptionalAction
    elif get_origin(inner) is tuple:
        arguments |= {"nargs": "+", "metavar": "FILE"}
    elif choices := _choices(inner):
        arguments["choices"] = choices
    else:
        arguments["metavar"] = _KINDS[inner.__name__][1]
    sub.add_argument(*names, **arguments)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _inner(field: FieldInfo) -> Any:
    """The type without Optional."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    return kind


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [each.value for each in kind] if isinstance(kind, type) and issubclass(kind, StrEnum) else []


__all__ = ["Options", "default_text", "describe", "parse", "parser"]
