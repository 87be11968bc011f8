"""Expressions against an interpreter of four kinds of nodes, written the other way round."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.expressions import (
    EvaluationError,
    parse,
)
from tidings.problems import ValueProblem

SMALL = st.recursive(
    st.sampled_from(["a", "b", "c"]).map(lambda name: ("field", name))
    | st.sampled_from([0, 1, 2, 1.0, True, False, None, "x", ""]).map(lambda v: ("value", v)),
    lambda inner: (
        st.tuples(
            st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "and", "or", "in"]), inner, inner
        )
        | st.tuples(st.just("not"), inner)
        | st.tuples(st.just("if"), inner, inner, inner)
        | st.tuples(st.just("coalesce"), inner, inner)
        | st.tuples(st.sampled_from(["+", "-", "*"]), inner, inner)
    ),
    max_leaves=6,
)


class Fails(Exception):
    """The reference has no value either."""


class Lacks(Fails):
    """Because a field is missing."""


def written(tree: Any) -> str:
    match tree:
        case ("field", name):
            return str(name)
        case ("value", literal):
            return json.dumps(literal)
        case ("not", operand):
            return f"(not {written(operand)})"
        case ("if", then, test, other):
            return f"({written(then)} if {written(test)} else {written(other)})"
        case ("coalesce", first, second):
            return f"coalesce({written(first)}, {written(second)})"
        case (sign, left, right):
            return f"({written(left)} {sign} {written(right)})"
    raise AssertionError(tree)


def _canonical(item: Any) -> str:
    """Values are equal for JSON exactly when their texts are; 1 and 1.0 are one number."""
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, list):
        return f"[{','.join(map(_canonical, item))}]"
    if isinstance(item, dict):
        return "{" + ",".join(f"{k!r}:{_canonical(v)}" for k, v in sorted(item.items())) + "}"
    return json.dumps(item)


def _boolean(item: Any) -> bool:
    if not isinstance(item, bool):
        raise Fails
    return item


def _is_number(item: Any) -> bool:
    return isinstance(item, (int, float)) and not isinstance(item, bool)


def reference(tree: Any, event: dict[str, Any]) -> Any:
    match tree:
        case ("field", name):
            if name not in event:
                raise Lacks
            return event[name]
        case ("value", literal):
            return literal
        case ("not", operand):
            return not _boolean(reference(operand, event))
        case ("and", left, right):
            return _boolean(reference(left, event)) and _boolean(reference(right, event))
        case ("or", left, right):
            return _boolean(reference(left, event)) or _boolean(reference(right, event))
        case ("if", then, test, other):
            return reference(then if _boolean(reference(test, event)) else other, event)
        case ("coalesce", first, second):
            for each in (first, second):
                try:
                    # Inside `coalesce`, a field that is null is as good as missing.
                    there = {k: v for k, v in event.items() if v is not None}
                    found = reference(each, there)
                except Lacks:
                    continue
                if found is not None:
                    return found
            return None
    sign, left, right = tree[0], reference(tree[1], event), reference(tree[2], event)
    numbers = _is_number(left) and _is_number(right)
    texts = isinstance(left, str) and isinstance(right, str)
    match sign:
        case "==":
            return _canonical(left) == _canonical(right)
        case "!=":
            return _canonical(left) != _canonical(right)
        case "in" if isinstance(right, list):
            return _canonical(left) in map(_canonical, right)
        case "in" if texts or (isinstance(left, str) and isinstance(right, dict)):
            return left in right
        case "<" | "<=" | ">" | ">=" if numbers or texts:
            order = (left > right) - (left < right)
            return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[sign]
        case "+" if texts:
            return f"{left}{right}"
        case "+" | "-" | "*" if numbers:
            made = {"+": left + right, "-": left - right, "*": left * right}[sign]
            if -(2**63) <= made < 2**64:
                return made
    raise Fails


@settings(max_examples=500, deadline=None)
@given(
    SMALL,
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.recursive(
            st.sampled_from([0, 1, 2, 1.0, True, False, None, "x", "", "xy"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    ),
)
def test_expressions_agree_with_the_reference(tree: Any, event: dict[str, Any]) -> None:
    try:
        expected: Any = _canonical(reference(tree, event))
    except Fails:
        expected = Fails
    try:
        expression = parse(written(tree))
    except ValueProblem:
        return  # refused by its kinds already, whatever a branch of it would have given
    (found,) = expression.over([event])
    assert (Fails if isinstance(found, EvaluationError) else _canonical(found)) == expected
