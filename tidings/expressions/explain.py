"""Why an expression failed on an event, in words; kinds of values are named, never values.

Each piece of a compiled expression carries, as its line number, which node of the tree it was
made of, so a traceback says where it happened and the hot path pays nothing for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tidings.expressions.operations import Unfit, kind_of
from tidings.expressions.tree import Path, Tree

FILENAME = "<expression>"

_HOLE = re.compile(r"\{(self|[0-9]+)\}")


class EvaluationError(Exception):
    """An expression can't be worked out for an event: `reason` says why.

    `offset` and `length` are the part of `expression` that failed.
    """

    def __init__(self, reason: str, expression: str, offset: int, length: int) -> None:
        super().__init__(f"{reason}, in `{expression}`")
        self.reason = reason
        self.expression = expression
        self.offset = offset
        self.length = length

    def __reduce__(self) -> tuple[Any, ...]:
        return EvaluationError, (self.reason, self.expression, self.offset, self.length)


class Explainer:
    """Makes an `EvaluationError` of whatever a compiled expression raised."""

    __slots__ = ("_nodes", "_text")

    def __init__(self, text: str, nodes: Sequence[Tree]) -> None:
        self._text = text
        self._nodes = nodes

    def __call__(self, error: Exception, event: Any) -> EvaluationError:
        node = self._node_of(error)
        missing = _why_missing(node, event) if isinstance(node, Path) else None
        if missing is not None:
            reason = missing
        elif isinstance(error, Unfit):
            reason = _HOLE.sub(lambda hole: self._shown(node, hole[1]), error.template)
        elif isinstance(error, RecursionError):
            reason = "the event is nested too deeply"
        else:
            reason = f"{self._shown(node, 'self')} failed with {type(error).__name__}: {error}"
        return EvaluationError(reason, self._text, node.start, node.end - node.start)

    def _node_of(self, error: Exception) -> Tree:
        line = 1
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == FILENAME:
                line = trace.tb_lineno
            trace = trace.tb_next
        return self._nodes[line - 1]

    def _shown(self, node: Tree, which: str) -> str:
        if which != "self":
            node = node.operands[min(int(which), len(node.operands) - 1)]
        return f"`{self._text[node.start : node.end]}`"


def _why_missing(path: Path, event: Any) -> str | None:
    """Where on a path it got lost; None where it did not."""
    value, walked = event, ""
    for part in path.parts:
        there = f"`{walked}`" if walked else "the event"
        shown = f"[{part}]" if isinstance(part, int) else f".{part}"
        goal = f"{walked}{shown}".lstrip(".")
        if isinstance(part, str) and isinstance(value, dict):
            if part not in value:
                return f"`{goal}` is missing: {there} has no `{part}`"
            value = value[part]
        elif isinstance(part, int) and isinstance(value, list):
            if not -len(value) <= part < len(value):
                return f"`{goal}` is missing: {there} has {len(value)} items"
            value = value[part]
        else:
            return f"`{goal}` is missing: {there} is {kind_of(value)}"
        walked = goal
    return None
