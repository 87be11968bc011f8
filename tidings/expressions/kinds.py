"""What an expression gives, as far as it is known before any event.

Enough to refuse `not 5` and `'a' < 3` when a flow is checked, and to spare the compiled code the
checks that can't fail.
"""

from __future__ import annotations

from tidings.expressions.functions import FUNCTIONS
from tidings.expressions.tokens import wrong
from tidings.expressions.tree import (
    Binary,
    Call,
    Choice,
    Constant,
    Items,
    Kind,
    Tree,
    Unary,
    walk,
)

_BOOLEAN_SIGNS = ("and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in")
_PROSE: dict[Kind, str] = {
    "boolean": "true or false",
    "number": "a number",
    "text": "a text",
    "null": "null",
    "list": "a list",
    "map": "a map",
}


def kind_of(tree: Tree) -> Kind:
    """The kind of value that a node gives, `any` where that depends on the event."""
    match tree:
        case Constant(value):
            return _kind_of_constant(value)
        case Items():
            return "list"
        case Unary(sign):
            return "boolean" if sign == "not" else "number"
        case Binary("+", left, right):
            kinds: set[Kind] = {kind_of(left), kind_of(right)} - {"any"}
            return kinds.pop() if len(kinds) == 1 else "any"
        case Binary(sign):
            return "boolean" if sign in _BOOLEAN_SIGNS else "number"
        case Choice(_, then, other):
            kind = kind_of(then)
            return kind if kind == kind_of(other) else "any"
        case Call(function):
            return FUNCTIONS[function].gives
        case _:
            return "any"


def check_kinds(tree: Tree, *, boolean: bool) -> None:
    """Refuse operands that can't fit any event; `boolean` asks true or false of the whole.

    Raises `ValueProblem` (`bad-expression`) at the operand.
    """
    if boolean:
        _want(tree, "a condition must be", "boolean")
    for node in walk(tree):
        match node:
            case Unary("not", operand):
                _want(operand, "`not` takes", "boolean")
            case Unary(_, operand):
                _want(operand, "`-` takes", "number")
            case Choice(test):
                _want(test, "`if` takes", "boolean")
            case Binary("and" | "or" as sign, left, right):
                _want(left, f"`{sign}` takes", "boolean")
                _want(right, f"`{sign}` takes", "boolean")
            case Binary("<" | "<=" | ">" | ">=" | "+" as sign, left, right):
                _want(left, f"`{sign}` takes", "number", "text")
                _want(right, f"`{sign}` takes", *_alike(left))
            case Binary("-" | "*" | "/" | "%" as sign, left, right):
                _want(left, f"`{sign}` takes", "number")
                _want(right, f"`{sign}` takes", "number")
            case Binary("in" | "not in" as sign, _, right):
                _want(right, f"behind `{sign}` stands", "list", "text", "map")


def _want(tree: Tree, what: str, *kinds: Kind) -> None:
    kind = kind_of(tree)
    if kind != "any" and kind not in kinds:
        wanted = " or ".join(_PROSE[each] for each in kinds)
        length = tree.end - tree.start
        raise wrong(f"{what} {wanted}, and this is {_PROSE[kind]}", None, tree.start, length)


def _alike(tree: Tree) -> tuple[Kind, ...]:
    kind = kind_of(tree)
    return (kind,) if kind in ("number", "text") else ("number", "text")


def _kind_of_constant(value: str | int | float | bool | None) -> Kind:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"
