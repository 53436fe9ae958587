"""What a PromQL expression asks for: names and labels, found by a parser and not by eye."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as ast


@dataclass(frozen=True)
class Selector:
    """One series selector: the metric, and the labels that its matchers name."""

    name: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Asked:
    """All that an expression names: its selectors, and the labels that it groups or joins by."""

    selectors: tuple[Selector, ...]
    grouped: frozenset[str]


def asked(expression: str) -> Asked:
    """Parse an expression; ValueError when it is none."""
    nodes = tuple(_walk(ast.parse(expression)))
    selectors = tuple(_selector(node) for node in nodes if isinstance(node, ast.VectorSelector))
    grouped = frozenset(label for node in nodes for label in _grouped(node))
    return Asked(selectors, grouped)


def _selector(node: ast.VectorSelector) -> Selector:
    assert node.name is not None, f"a selector of any metric: {node}"
    return Selector(node.name, frozenset(matcher.name for matcher in node.matchers.matchers))


def _walk(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, ast.MatrixSelector):
        yield from _walk(node.vector_selector)
    for part in ("lhs", "rhs", "expr", "param"):
        if (child := getattr(node, part, None)) is not None:
            yield from _walk(child)
    for argument in getattr(node, "args", ()):
        yield from _walk(argument)


def _grouped(node: Any) -> Iterator[str]:
    modifier = getattr(node, "modifier", None)
    if isinstance(node, ast.AggregateExpr) and modifier is not None:
        yield from modifier.labels
    if isinstance(node, ast.BinaryExpr) and modifier is not None:
        yield from modifier.matching.labels if modifier.matching else ()
        yield from modifier.group_labels or ()
