"""switch: the first case that holds is the way to go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tidings.contract import Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.expressions import Condition


class Case(Spec):
    """One way, and when to take it."""

    name: str = ""
    """What it is called in the ids of its steps; by default its number. A branch with a keyed step
    needs one."""

    when: Condition
    """The condition, e.g. `amount > 1000`."""

    steps: tuple[Any, ...] = Field(min_length=1)
    """The steps of this way; at their end it joins the others again."""


class SwitchSpec(Spec):
    """Sends each event down one way: that of the first case whose condition holds.

    An event for which none holds takes `else`, or goes on behind the switch where there is none.
    All ways join again behind it, unless they end in a `deliver`. An event on which a condition
    can't be worked out goes to the dead letters.
    """

    cases: tuple[Case, ...] = Field(min_length=1)
    """The cases, asked in the order in which they stand."""

    otherwise: tuple[Any, ...] = Field(default=(), alias="else")
    """The steps for events for which no case holds."""


class Switch:
    """Chooses the way; the engine walks it."""

    several = False

    def __init__(self, spec: SwitchSpec, site: Site) -> None:
        self._cases = [(each.when.of, (number,)) for number, each in enumerate(spec.cases)]
        self._otherwise = (len(spec.cases),) if spec.otherwise else ()

    def arms(self, item: Item) -> Sequence[int]:
        """The number of the one way to go, `else` counting as the last; empty to go on behind.

        Raises EvaluationError where a condition can't be worked out.
        """
        for holds, number in self._cases:
            if holds(item.data):
                return number
        return self._otherwise


OPERATOR = Operator(
    name="switch",
    spec=SwitchSpec,
    shape=Shape.BRANCH,
    parts=frozenset({Part.INTAKE, Part.KEYED, Part.TAIL}),
    build=Switch,
    reads=reads_expressions,
    timeless=True,
    example="""
step:
  switch:
    cases:
      - {when: amount > 1000, steps: [{set: {team: "'fraud'"}}]}
      - {when: amount > 100, steps: [{set: {team: "'service'"}}]}
in:
  - {amount: 5000}
  - {amount: 500}
  - {amount: 5}
  - {amount: much}
arms: [[0], [1], []]
dead:
  - {item: {amount: much}, reason: expression}
""",
)
