"""fan_out: every branch whose condition holds gets the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tidings.contract import Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.expressions import Condition


class Branch(Spec):
    """One way, and when to take it."""

    name: str = ""
    """What it is called in the ids of its steps; by default its number. A branch with a keyed step
    needs one."""

    when: Condition | None = None
    """The condition, e.g. `amount > 1000`; without one, every event goes this way."""

    steps: tuple[Any, ...] = Field(min_length=1)
    """The steps of this way; at their end it joins the others again."""


class FanOutSpec(Spec):
    """Sends each event down every way whose condition holds, as a copy of its own.

    An event that no way takes goes on behind the branches. What comes out of a branch joins the
    rest again, so a branch that is all there is to do for it ends in a `deliver`; where several
    reach one `deliver` behind the branches, each is a notification of its own. An event on which
    a condition can't be worked out goes to the dead letters, and down no way at all.
    """

    branches: tuple[Branch, ...] = Field(min_length=1)
    """The ways, walked in the order in which they stand."""


class FanOut:
    """Chooses the ways; the engine walks them."""

    several = True

    def __init__(self, spec: FanOutSpec, site: Site) -> None:
        self._conditions = [
            each.when.of if each.when is not None else None for each in spec.branches
        ]

    def arms(self, item: Item) -> Sequence[int]:
        """The numbers of the ways to go; empty to go on behind.

        Raises EvaluationError where a condition can't be worked out.
        """
        data = item.data
        return [
            number for number, holds in enumerate(self._conditions) if holds is None or holds(data)
        ]


OPERATOR = Operator(
    name="fan_out",
    spec=FanOutSpec,
    shape=Shape.BRANCH,
    parts=frozenset({Part.INTAKE, Part.KEYED, Part.TAIL}),
    build=FanOut,
    shorthand="branches",
    reads=reads_expressions,
    timeless=True,
    example="""
step:
  fan_out:
    - steps: [{set: {kind: "'receipt'"}}]
    - {when: amount > 1000, steps: [{set: {kind: "'thanks'"}}]}
in:
  - {amount: 5}
  - {amount: 5000}
  - {amount: much}
arms: [[0], [0, 1]]
dead:
  - {item: {amount: much}, reason: expression}
""",
)
