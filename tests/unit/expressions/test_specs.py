"""Expressions in the specs of steps."""

import copy
import json
import pickle

import pytest
from pydantic import BaseModel

from tests.unit.expressions.event import EVENT
from tidings.expressions import (
    FUNCTIONS,
    Condition,
    EvaluationError,
    Expression,
    FieldPath,
    parse,
)


class Spec(BaseModel):
    keep: Condition
    by: list[FieldPath] = []
    let: dict[str, Expression] = {}


def test_specs_hold_compiled_expressions_and_are_written_as_text() -> None:
    spec = Spec.model_validate({"keep": "amount > 1", "by": ["type"], "let": {"x": "amount * 2"}})
    assert (spec.keep.of(EVENT), spec.let["x"].of(EVENT)) == (True, 240)
    assert json.loads(spec.model_dump_json()) == {
        "keep": "amount > 1",
        "by": ["type"],
        "let": {"x": "amount * 2"},
    }
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_a_condition_must_give_true_or_false() -> None:
    condition = Spec(keep=parse("public")).keep
    assert condition.of(EVENT) is True
    with pytest.raises(EvaluationError, match="`public` is a text, not true or false"):
        condition.of({"public": "yes"})
    with pytest.raises(ValueError, match="a condition must be true or false, and this is a text"):
        Spec.model_validate({"keep": "'yes'"})


def test_specs_have_a_json_schema() -> None:
    properties = Spec.model_json_schema()["properties"]
    assert properties["keep"] == {
        "type": "string",
        "title": "Keep",
        "description": "a condition such as actor_id != recipient_id",
    }


def test_expressions_are_equal_by_text_and_can_be_pickled_and_copied() -> None:
    expression = parse("amount > 1")
    for twin in (pickle.loads(pickle.dumps(expression)), copy.deepcopy(expression)):
        assert twin == expression
        assert hash(twin) == hash(expression)
        assert twin.of(EVENT) is True
    assert expression != parse("amount > 2")
    assert expression != "amount > 1"


def test_every_function_says_how_it_is_used() -> None:
    for name, function in FUNCTIONS.items():
        assert function.usage.startswith(f"{name}(")
        assert function.about
