"""switch takes the first way whose condition holds, fan_out all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.operators.support import built, item
from tidings.expressions import EvaluationError
from tidings.problems import ProblemsError

SWITCH = """
switch:
  cases:
    - {when: amount > 1000, steps: [expire]}
    - {when: amount > 100, steps: [expire]}
"""

FAN_OUT = """
fan_out:
  - steps: [expire]
  - {when: amount > 1000, steps: [expire]}
  - {when: amount > 100, steps: [expire]}
"""


@pytest.mark.parametrize(("amount", "arms"), [(5000, [0]), (500, [1]), (5, [])])
def test_switch_takes_the_first_case_or_goes_on_behind(amount: int, arms: Sequence[int]) -> None:
    assert list(built(SWITCH).arms(item({"amount": amount}))) == arms


def test_switch_counts_else_as_its_last_way() -> None:
    step = built(SWITCH + "  else: [expire]\n")

    assert list(step.arms(item({"amount": 500}))) == [1]
    assert list(step.arms(item({"amount": 5}))) == [2]


@pytest.mark.parametrize(("amount", "arms"), [(5000, [0, 1, 2]), (500, [0, 2]), (5, [0])])
def test_fan_out_takes_every_way_that_holds(amount: int, arms: Sequence[int]) -> None:
    assert list(built(FAN_OUT).arms(item({"amount": amount}))) == arms


@pytest.mark.parametrize("branch", [SWITCH, FAN_OUT])
def test_a_condition_that_can_not_be_worked_out_is_an_error(branch: str) -> None:
    with pytest.raises(EvaluationError, match="amount"):
        built(branch).arms(item({"amount": "much"}))


@pytest.mark.parametrize(
    "text",
    ["switch: {cases: []}", "switch: {cases: [{when: a > 1}]}", "fan_out: [{steps: []}]"],
)
def test_a_way_without_steps_is_a_problem(text: str) -> None:
    with pytest.raises(ProblemsError):
        built(text)
