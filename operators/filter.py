"""filter: let on only what a condition holds for."""

from __future__ import annotations

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.expressions import Condition
from tidings.ports import Io
from tidings.records import Kind


class FilterSpec(Spec):
    """Keeps the events for which a condition is true and drops the others, with a reason.

    What is dropped ends as `suppressed`. An event on which the condition can't be worked out
    (a field that is missing, a text where a number is needed) goes to the dead letters.
    """

    keep: Condition
    """The condition that has to hold, e.g. `actor_id != recipient_id`."""

    reason: str = "filtered"
    """What the outcome gives as the reason for what is dropped."""


class Filter:
    """Runs one condition over a batch."""

    def __init__(self, spec: FilterSpec, site: Site) -> None:
        self._keep = spec.keep.over
        self._reason = spec.reason
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Keep, drop or dead-letter each item."""
        verdicts = self._keep([item.data for item in batch.items])
        kept: list[Item] = []
        for item, holds in zip(batch.items, verdicts, strict=True):
            if holds is True:
                kept.append(item)
            elif holds is False:
                batch.drop(item, Kind.SUPPRESSED, self._reason, self._site)
            else:
                batch.dead(item, "expression", holds, self._site)
        batch.items = kept


OPERATOR = Operator(
    name="filter",
    spec=FilterSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.KEYED, Part.TAIL}),
    build=Filter,
    shorthand="keep",
    reads=reads_expressions,
    timeless=True,
    example="""
step: {filter: {keep: actor_id != recipient_id, reason: own_action}}
in:
  - {actor_id: bob, recipient_id: ana}
  - {actor_id: ana, recipient_id: ana}
  - {recipient_id: ana}
out:
  - {actor_id: bob, recipient_id: ana}
dropped:
  - {item: {actor_id: ana, recipient_id: ana}, kind: suppressed, reason: own_action}
dead:
  - {item: {recipient_id: ana}, reason: expression}
""",
)
