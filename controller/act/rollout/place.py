"""Where in a workload the speculative config stands: an argument, a word of a shell script, or a variable."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.act.rollout.shell import UnsureError, Word, words
from controller.act.rollout.workload import templates_of
from controller.plain import listed, plain

FLAGS: Final = ("--speculative-config", "--speculative_config", "-sc")
"""vLLM reads underscores as dashes, and knows the short form."""
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash"})
_SCRIPT_FLAG: Final = re.compile(r"-[a-z]*c")
_KUBERNETES_REFERENCE: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_SHELL_REFERENCE: Final = re.compile(r'"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))"')
_MENTION: Final = re.compile(r"(?<![\w-])(?:--speculative[-_]config|-sc)(?![\w-])")
_PARALLEL: Final = ("--data-parallel-size", "--data_parallel_size", "-dp")
_SEVERAL: Final = re.compile(r"0*(?:[2-9]|[1-9][0-9]+)")
"""A whole number above 1."""
_NAMED_MAX: Final = 5
"""Containers and places that a sentence names; of more it gives the number."""


@dataclass(frozen=True, slots=True)
class Place:
    """The speculative config within one string of the workload.

    Attributes:
        container: The container's name.
        container_pointer: JSON pointer of the container.
        pointer: JSON pointer of the string.
        whole: That string.
        start: Where the config begins in it.
        end: Where it ends.
        data_parallel: Whether the arguments ask for more than one data-parallel rank: vLLM then ignores a schedule.
    """

    container: str
    container_pointer: str
    pointer: str
    whole: str
    start: int
    end: int
    data_parallel: bool = False

    @property
    def text(self) -> str:
        """The config itself."""
        return self.whole[self.start : self.end]

    @property
    def address(self) -> str:
        """Where it stands, for a sentence."""
        return f"{plain(self.container)} ({self.pointer})"

    def with_text(self, text: str) -> str:
        """The whole string with another config in its place."""
        return self.whole[: self.start] + text + self.whole[self.end :]


def find_place(workload: dict[str, Any], container: str | None, variable: str | None) -> Place:
    """The one place of the speculative config.

    Args:
        workload: As the API server gives it.
        container: The container to look into; None where only one has the config.
        variable: The environment variable that holds it; None to look for the argument.

    Raises:
        RolloutStop: There is none, there are several, or it cannot be edited surely; with the remedy.
    """
    containers = [
        (f"{pointer}/spec/containers/{index}", each)
        for pointer, template in templates_of(workload)
        for index, each in enumerate(template["spec"]["containers"])
    ]
    chosen = [(at, each) for at, each in containers if container in (None, each["name"])]
    if not chosen:
        names = listed([plain(each["name"]) for _, each in containers], _NAMED_MAX)
        raise RolloutStop(
            RolloutOutcome.NO_ARGUMENT,
            f"The workload has no container named {container}; it has {names}: name vLLM's.",
        )
    found = [place for at, each in chosen for place in _in_container(at, each, variable)]
    if len(found) > 1:
        raise RolloutStop(
            RolloutOutcome.AMBIGUOUS,
            f"The speculative config stands in {len(found)} places: "
            f"{listed([place.address for place in found], _NAMED_MAX)}. Name vLLM's container, and give the config "
            "once.",
        )
    if not found:
        what = f"variable {variable}" if variable else "argument --speculative-config"
        raise RolloutStop(
            RolloutOutcome.NO_ARGUMENT,
            f"No container of the workload has the {what}: a config from a file, or given as "
            "--speculative-config.KEY, cannot be edited. Give it as one JSON argument, or name the variable that "
            "holds it.",
        )
    return found[0]


def _in_container(at: str, container: dict[str, Any], variable: str | None) -> Iterator[Place]:
    strings = [
        (f"{at}/{part}/{position}", text)
        for part in ("command", "args")
        for position, text in enumerate(container.get(part) or [])
    ]
    parallel = _data_parallel([text for _, text in strings])
    if variable is not None:
        yield from _variable(at, container, variable, parallel=parallel)
        return
    shell = _is_shell([text for _, text in strings])
    for position, (pointer, text) in enumerate(strings):
        name, equals, _ = text.partition("=")
        if name in FLAGS and equals:
            yield from _value(at, container, pointer, text, len(name) + 1, parallel=parallel)
        elif text in FLAGS and position + 1 < len(strings):
            yield from _value(at, container, *strings[position + 1], 0, parallel=parallel)
        elif shell and _MENTION.search(text):
            yield from _in_script(at, container, pointer, text, parallel=parallel)


def _value(
    at: str, container: dict[str, Any], pointer: str, whole: str, start: int, *, parallel: bool
) -> Iterator[Place]:
    """The rest of an argument; or, where that is nothing but $(NAME), the variable."""
    reference = _KUBERNETES_REFERENCE.fullmatch(whole, start)
    if reference:
        yield from _variable(at, container, reference[1], parallel=parallel)
    else:
        yield Place(container["name"], at, pointer, whole, start, len(whole), parallel)


def _variable(at: str, container: dict[str, Any], name: str, *, parallel: bool) -> Iterator[Place]:
    for position, each in enumerate(container.get("env") or []):
        if each["name"] != name:
            continue
        if "valueFrom" in each:
            raise RolloutStop(
                RolloutOutcome.NOT_POSSIBLE,
                f"The variable {plain(name)} of container {plain(container['name'])} comes from elsewhere (valueFrom): "
                "give its value in the workload itself.",
            )
        whole = each.get("value", "")
        yield Place(container["name"], at, f"{at}/env/{position}/value", whole, 0, len(whole), parallel)


def _is_shell(strings: list[str]) -> bool:
    """Whether the strings run a shell on a script: `sh -c SCRIPT`, `bash -euc SCRIPT`, and through `env` or `tini`."""
    return any(
        text.rpartition("/")[2] in _SHELLS and any(_SCRIPT_FLAG.fullmatch(later) for later in strings[position + 1 :])
        for position, text in enumerate(strings)
    )


def _in_script(at: str, container: dict[str, Any], pointer: str, script: str, *, parallel: bool) -> Iterator[Place]:
    try:
        found = list(words(script))
    except UnsureError as error:
        raise _unsure(container, f"the script has {error}") from error
    texts = [script[word.start : word.end] for word in found]
    parallel = parallel or _data_parallel(texts)
    seen = 0
    for position, word in enumerate(found):
        flag = next((flag for flag in FLAGS if texts[position] == flag or texts[position].startswith(f"{flag}=")), None)
        if flag is None:
            continue
        seen += 1
        if texts[position] != flag:
            value = Word(word.start + len(flag) + 1, word.end)
        elif position + 1 < len(found):
            value = found[position + 1]
        else:
            raise _unsure(container, "nothing follows the argument")
        yield from _quoted(at, container, pointer, script, value, parallel=parallel)
    if seen != len(_MENTION.findall(script)):
        raise _unsure(container, "the argument also stands within quotes or a comment")


def _quoted(
    at: str, container: dict[str, Any], pointer: str, script: str, value: Word, *, parallel: bool
) -> Iterator[Place]:
    text = script[value.start : value.end]
    reference = _SHELL_REFERENCE.fullmatch(text)
    if reference:
        name = reference[1] or reference[2]
        if re.search(rf"(?<!\w){name}=", script):
            raise _unsure(container, f"the script sets {plain(name)} itself")
        yield from _variable(at, container, name, parallel=parallel)
    elif len(text) > 1 and text[0] == text[-1] == "'" and text.count("'") == 2:
        yield Place(container["name"], at, pointer, script, value.start + 1, value.end - 1, parallel)
    else:
        raise _unsure(container, "the value is not in single quotes")


def _unsure(container: dict[str, Any], what: str) -> RolloutStop:
    return RolloutStop(
        RolloutOutcome.NOT_POSSIBLE,
        f"The shell script of container {plain(container['name'])} cannot be edited surely: {what}. Give the JSON "
        "once, in single quotes, or give --speculative-config in args of its own.",
    )


def _data_parallel(strings: list[str]) -> bool:
    """Whether the arguments ask for two data-parallel ranks or more."""
    pairs = [*(text.partition("=")[::2] for text in strings), *itertools.pairwise(strings)]
    return any(name in _PARALLEL and _SEVERAL.fullmatch(value) for name, value in pairs)
