"""Whatever comes, an expression gives a value or says why not."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.expressions import (
    EvaluationError,
    Expression,
    parse,
)
from tidings.problems import Mark, ValueProblem

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
EVENTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON, max_size=3)

PIECES = [
    *("a", "b.c", "a[0]", "`q`", "1", "0", "2.5", "'x'", "true", "null", "'", "{", "="),
    *("(", ")", "[", "]", ",", ".", "-", "+", "*", "/", "%", "==", "!=", "<", ">="),
    *("and", "or", "not", "in", "if", "else"),
    *("len(", "lower(", "coalesce(", "exists(", "max(", "round(", "split(", "hash("),
]

ATOMS = [
    *("a", "b", "c", "a.b", "b[0]", "c['a']", "1", "0", "-2", "0.5", "'x'", "''"),
    *("true", "false", "null", "[1, 'x', true]", "['x', 'y']", "[]"),
]


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in"]
    one = ["lower", "len", "abs", "int", "float", "str", "round", "hash", "min", "coalesce"]
    two = ["contains", "starts_with", "max", "coalesce", "join", "split", "round"]
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(signs), inner),
        st.builds("(not {})".format, inner),
        st.builds("(-{})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("{}({})".format, st.sampled_from(one), inner),
        st.builds("{}({}, {})".format, st.sampled_from(two), inner, inner),
        st.builds("({})[{}]".format, inner, inner),
    )


EXPRESSIONS = st.recursive(st.sampled_from(ATOMS), _larger, max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join), EVENTS)
def test_any_text_parses_or_is_explained_and_then_gives_a_value_or_an_error(
    text: str, event: dict[str, Any]
) -> None:
    try:
        expression = parse(text)
    except ValueProblem as problem:
        placed = problem.at(Mark("f", 1, 1, max(1, len(text)), text), "x")
        assert placed.render()
        return
    _check_total(expression, event)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, EVENTS)
def test_any_expression_gives_a_value_or_an_error_and_the_same_again(
    text: str, event: dict[str, Any]
) -> None:
    try:
        expression = parse(text)
    except ValueProblem:
        return  # operands of kinds that fit no event
    _check_total(expression, event)


def _check_total(expression: Expression, event: dict[str, Any]) -> None:
    before = copy.deepcopy(event)
    (found,) = expression.over([event])
    (again,) = parse(expression.text).over([copy.deepcopy(event)])
    assert event == before
    if isinstance(found, EvaluationError):
        assert str(found) == str(again)
        with pytest.raises(EvaluationError):
            expression.of(event)
    else:
        assert json.dumps(found) == json.dumps(again) == json.dumps(expression.of(event))
