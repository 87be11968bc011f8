"""What the operators do with values, where Python's own would do too much.

Compiled expressions call these. Values are those of decoded JSON, told apart by their exact class
(a bool is an int in Python, and must not pass for one). What does not fit raises `Unfit`, whose
template names operands by number: `{0}`, `{1}`; `{self}` is the whole operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

MAX_TEXT = 65_536
"""Characters of a text that an expression may make."""

_SMALLEST, _GREATEST = -(2**63), 2**64 - 1
_NUMBERS = (int, float)
_ORDERED = (int, float, str)

_KINDS: dict[type, str] = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "a map",
}


class Unfit(Exception):
    """An operation that can't be done with the values at hand."""

    def __init__(self, template: str) -> None:
        super().__init__(template)
        self.template = template


class Missing(Unfit):
    """A key or index that is not there; `coalesce` and `exists` forgive it."""


def kind_of(value: Any) -> str:
    """A value's kind as prose."""
    return _KINDS.get(value.__class__, "of no kind that JSON has")


def same(left: Any, right: Any) -> bool:
    """Whether two values that Python holds for equal are so for JSON: `true` is not `1`."""
    kind, other = left.__class__, right.__class__
    if kind is list and other is list:
        return all(map(same, left, right))
    if kind is dict and other is dict:
        return all(same(value, right[name]) for name, value in left.items())
    return (kind is bool) is (other is bool)


def less(left: Any, right: Any) -> bool:
    """`<`, of two numbers or two texts."""
    _check_order(left, right)
    return bool(left < right)


def at_most(left: Any, right: Any) -> bool:
    """`<=`, of two numbers or two texts."""
    _check_order(left, right)
    return bool(left <= right)


def greater(left: Any, right: Any) -> bool:
    """`>`, of two numbers or two texts."""
    _check_order(left, right)
    return bool(left > right)


def at_least(left: Any, right: Any) -> bool:
    """`>=`, of two numbers or two texts."""
    _check_order(left, right)
    return bool(left >= right)


def within(item: Any, container: Any) -> bool:
    """`in`: an item of a list, a part of a text, a key of a map."""
    kind = container.__class__
    if kind is list:
        return any(item == other and same(item, other) for other in container)
    if kind is not str and kind is not dict:
        raise Unfit(f"{{1}} is {kind_of(container)}, and nothing can be in it")
    if item.__class__ is not str:
        raise Unfit(f"{{0}} is {kind_of(item)}; only a text can be in {kind_of(container)}")
    return item in container


def add(left: Any, right: Any) -> Any:
    """`+`, of two numbers or two texts."""
    if left.__class__ is str and right.__class__ is str:
        if len(left) + len(right) > MAX_TEXT:
            raise Unfit(f"{{self}} would make a text of more than {MAX_TEXT} characters")
        return left + right
    if left.__class__ in _NUMBERS and right.__class__ in _NUMBERS:
        return bounded(left + right)
    if left.__class__ is str or right.__class__ is str:
        _mismatch(left, right, "added; write str(…) around what is no text")
    _check_numbers(left, right)
    return left + right


def subtract(left: Any, right: Any) -> Any:
    """`-`, of numbers."""
    _check_numbers(left, right)
    return bounded(left - right)


def multiply(left: Any, right: Any) -> Any:
    """`*`, of numbers."""
    _check_numbers(left, right)
    return bounded(left * right)


def divide(left: Any, right: Any) -> Any:
    """`/`, of numbers; always a float."""
    _check_numbers(left, right)
    if right == 0:
        raise Unfit("{1} is zero: nothing can be divided by it")
    return bounded(left / right)


def remainder(left: Any, right: Any) -> Any:
    """`%`, of numbers, with the sign of the right one."""
    _check_numbers(left, right)
    if right == 0:
        raise Unfit("{1} is zero: nothing can be divided by it")
    return bounded(left % right)


def negate(value: Any) -> Any:
    """`-a`, of a number."""
    if value.__class__ not in _NUMBERS:
        raise Unfit(f"{{0}} is {kind_of(value)}, not a number")
    return bounded(-value)


def bounded(number: Any) -> Any:
    """A number that others can store: 64 bits, and neither infinite nor NaN."""
    if number.__class__ is int:
        if _SMALLEST <= number <= _GREATEST:
            return number
    elif math.isfinite(number):
        return number
    raise Unfit("{self} is too large for a number of 64 bits")


def not_boolean(value: Any) -> NoReturn:
    """Refuse a value where true or false is needed."""
    raise Unfit(f"{{self}} is {kind_of(value)}, not true or false")


def item(container: Any, index: Any) -> Any:
    """`a[b]`: an index of a list, counted from its end where negative, or a key of a map."""
    kind = container.__class__
    if kind is dict and index.__class__ is str:
        if index not in container:
            raise Missing("{self} is missing: {0} has no such key")
        return container[index]
    if kind is list and index.__class__ is int:
        if not -len(container) <= index < len(container):
            raise Missing(f"{{self}} is missing: {{0}} has {len(container)} items")
        return container[index]
    if kind is dict or kind is list:
        wanted = "text" if kind is dict else "whole number"
        raise Unfit(
            f"{{1}} is {kind_of(index)}; {{0}} is {kind_of(container)}: a {wanted} leads in"
        )
    raise Missing(f"{{self}} is missing: {{0}} is {kind_of(container)}")


def find(event: Any, parts: tuple[str | int, ...]) -> Any:
    """The field at the end of a path; None where it leads nowhere."""
    value = event
    for part in parts:
        kind = value.__class__
        if kind is dict and part.__class__ is str:
            value = value.get(part)
        elif kind is list and part.__class__ is int and -len(value) <= part < len(value):
            value = value[part]
        else:
            return None
    return value


def need(event: Any, parts: tuple[str | int, ...]) -> Any:
    """The field at the end of a path; raises `Missing` where it leads nowhere or to null."""
    value = find(event, parts)
    if value is None:
        raise Missing("{self} is missing")
    return value


def attempt(compute: Callable[[], Any]) -> Any:
    """A value that may lack a field: then None."""
    try:
        return compute()
    except Missing:
        return None


def _check_order(left: Any, right: Any) -> None:
    kind, other = left.__class__, right.__class__
    if kind not in _ORDERED or other not in _ORDERED or (kind is str) is not (other is str):
        _mismatch(left, right, "compared by size")


def _check_numbers(left: Any, right: Any) -> None:
    if left.__class__ not in _NUMBERS:
        raise Unfit(f"{{0}} is {kind_of(left)}, not a number")
    if right.__class__ not in _NUMBERS:
        raise Unfit(f"{{1}} is {kind_of(right)}, not a number")


def _mismatch(left: Any, right: Any, what: str) -> NoReturn:
    raise Unfit(f"{{0}} is {kind_of(left)} and {{1}} is {kind_of(right)}: they can't be {what}")
