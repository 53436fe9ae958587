"""YAML of a settings file: values as they stand there, and no references to be unfolded."""

from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases: a dozen of them can stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """See `yaml.composer.Composer`."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias (`*name`) is not taken: write its value out", problem_mark=mark
            )
        return super().compose_node(parent, index)


def plain_yaml(text: str) -> Any:
    """What a document holds.

    Raises:
        yaml.YAMLError: It is none, or has an alias.
        RecursionError: It is nested without end.

    >>> plain_yaml("k: 3")
    {'k': 3}
    """
    return yaml.load(text, Loader=_PlainLoader)  # noqa: S506  (a safe loader)
