"""set: add fields that are worked out from others."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ConfigDict

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.expressions import EvaluationError, Expression
from tidings.ports import Io


class SetSpec(Spec):
    """Sets fields of the event, each to the value of an expression.

    The fields are worked out in the order in which they stand, so that a later one can use an
    earlier one; a field that is there already is replaced.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Expression]

    def fields(self) -> dict[str, Expression]:
        """The expressions by the field that they set."""
        return self.__pydantic_extra__


class Set:
    """Computes fields for each item of a batch."""

    def __init__(self, spec: SetSpec, site: Site) -> None:
        self._fields = [(name, expression.of) for name, expression in spec.fields().items()]
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Give each item a copy of its data with the fields set."""
        kept: list[Item] = []
        for item in batch.items:
            data = item.data.copy()  # another branch may hold the same data
            try:
                for name, value_of in self._fields:
                    data[name] = value_of(data)
            except EvaluationError as error:
                batch.dead(item, "expression", error, self._site)
                continue
            item.data = data
            kept.append(item)
        batch.items = kept


def _names(spec: SetSpec) -> Iterable[str]:
    return spec.fields()


OPERATOR = Operator(
    name="set",
    spec=SetSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.KEYED, Part.TAIL}),
    build=Set,
    names=_names,
    reads=reads_expressions,
    changes=True,
    timeless=True,
    example="""
step: {set: {total: price * quantity, large: total > 100}}
in:
  - {price: 30, quantity: 4}
  - {price: 30}
out:
  - {price: 30, quantity: 4, total: 120, large: true}
dead:
  - {item: {price: 30}, reason: expression}
""",
)
