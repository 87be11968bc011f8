"""mask: all but the last characters of a field are hidden, "ends in 4242"."""

from __future__ import annotations

from pydantic import Field

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.expressions import EvaluationError, Expression
from tidings.ports import Io


class MaskSpec(Spec):
    """Hides all but the last characters of a text, and puts it into a field."""

    of: Expression
    """The text: a field or an expression."""

    into: str
    """The field that gets it."""

    shown: int = Field(4, ge=0, le=100)
    """How many characters are left."""


class Mask:
    """Works over a batch; what can't be worked out goes to the dead letters."""

    def __init__(self, spec: MaskSpec, site: Site) -> None:
        self._of, self._into, self._shown = spec.of.of, spec.into, spec.shown
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Give each item its field."""
        kept = []
        for item in batch.items:
            try:
                text = str(self._of(item.data))
            except EvaluationError as error:
                batch.dead(item, "expression", error, self._site)
                continue
            hidden = max(0, len(text) - self._shown)
            item.data = {**item.data, self._into: "•" * hidden + text[hidden:]}
            kept.append(item)
        batch.items = kept


OPERATOR = Operator(
    name="mask",
    spec=MaskSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.TAIL}),
    build=Mask,
    names=lambda spec: (spec.into,),
    reads=reads_expressions,
    changes=True,
    example="""
step: {mask: {of: card, into: card_end}}
in:
  - {card: "12344242"}
  - {other: x}
out:
  - {card: "12344242", card_end: "••••4242"}
dead:
  - {item: {other: x}, reason: expression}
""",
)
