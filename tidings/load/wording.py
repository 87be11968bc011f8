"""pydantic's errors as prose: expected a whole number, got the text `ten`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from tidings.load.nodes import Node, Seq, Text, describe
from tidings.problems import ValueProblem, did_you_mean

_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a map of fields",
    "mapping": "a map of fields",
    "model": "a map of fields",
    "dataclass": "a map of fields",
    "date": "a date such as 2025-01-31",
    "datetime": "a date and time such as 2025-01-31T08:00:00Z",
    "time": "a time such as 22:00",
    "none": "nothing",
}

_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
}

_FORM = "string_pattern_mismatch"


def word(errors: Sequence[ErrorDetails], node: Node) -> ValueProblem:
    """Code, message and hint of what is wrong with a node; several errors are a union's."""
    nouns = list(dict.fromkeys(noun for error in errors if (noun := _expected(error))))
    choices = [choice for error in errors for choice in _choices(error)]
    near = did_you_mean(node.written, choices) if isinstance(node, Text) and choices else None
    raised = [problem for error in errors if (problem := _raised(error)) is not None]
    telling = [problem for problem in raised if problem.code != "wrong-kind"]
    if telling and near is None:
        return telling[0]
    if nouns:
        hint = next((problem.hint for problem in raised if problem.hint), None)
        return ValueProblem(
            "not-a-choice" if choices else "wrong-kind",
            f"expected {' or '.join(nouns)}, got {describe(node)}",
            f"did you mean {near}?" if near else _reshaped(nouns, node) or hint,
        )
    kind, context = errors[0]["type"], errors[0].get("ctx", {})
    if kind == _FORM:
        return ValueProblem(
            "bad-value",
            f"{describe(node)} does not have the form that is wanted here",
            f"it must fit {context['pattern']}",
        )
    if kind in _LIMITS:
        limit = {name: f"{value:g}" for name, value in context.items() if name != "error"}
        return ValueProblem(
            "out-of-range", f"{_LIMITS[kind].format(**limit)}, got {describe(node)}"
        )
    if kind in ("too_short", "too_long"):
        return _length(kind, context)
    message = errors[0]["msg"]
    return ValueProblem("bad-value", message[:1].lower() + message[1:])


def _raised(error: ErrorDetails) -> ValueProblem | None:
    """What one of our own types raised, or any other validator."""
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, ValueProblem):
        return raised
    return ValueProblem("bad-value", str(raised)) if isinstance(raised, Exception) else None


def _expected(error: ErrorDetails) -> str | None:
    """What an error of the wrong kind would have liked to see; None for other errors."""
    kind = error["type"]
    raised = _raised(error)
    if raised is not None:
        return raised.message.removeprefix("expected ") if raised.code == "wrong-kind" else None
    if choices := _choices(error):
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    if kind in _LIMITS or kind == _FORM:
        return None
    return next((noun for prefix, noun in _KINDS.items() if kind.startswith(f"{prefix}_")), None)


def _choices(error: ErrorDetails) -> list[str]:
    if error["type"] not in ("literal_error", "enum"):
        return []
    # pydantic lists them as: 'high', 'normal' or 'low'
    listed = str(error["ctx"]["expected"]).replace(" or ", ", ").split(", ")
    return [choice.strip("'") for choice in listed]


def _length(kind: str, context: dict[str, Any]) -> ValueProblem:
    short = kind == "too_short"
    count = context["min_length" if short else "max_length"]
    items = "item" if count == 1 else "items"
    return ValueProblem(
        "out-of-range", f"needs {'at least' if short else 'at most'} {count} {items}"
    )


def _reshaped(nouns: list[str], node: Node) -> str | None:
    """How to write what is there so that it fits."""
    if isinstance(node, Text) and node.is_null:
        return "write a value behind the `:`, or leave the line out"
    if isinstance(node, Text) and "a list" in nouns:
        return f"did you mean [{node.written}]?"
    if isinstance(node, Seq) and len(node) == 1 and isinstance(node.items[0], Text):
        return f"did you mean {node.items[0].written}?"
    return None
