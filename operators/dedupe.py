"""dedupe: the first of its kind passes, later ones are let go.

A claim names its claimer by the coordinates of its record. So the replay of a record, after a crash
or out of the dead letters, passes again, while a second record with the same content does not: the
usual set-if-absent loses a message when a crash comes between the claim and what follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field, field_validator

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.durations import PositiveDuration
from tidings.expressions import EvaluationError, Expression
from tidings.ids import id_of
from tidings.ports import Io
from tidings.records import Kind, Priority
from tidings.stores.claims_local import LocalClaims
from tidings.stores.claims_sheltered import ShelteredClaims

REMEMBERED = 100_000
"""Claims that a process of high priority remembers by itself; some 25 MB, and as much again where
it was asked of so many while Redis was away."""


class DedupeSpec(Spec):
    """Drops events that were seen before, within a time, for the same recipient.

    What is dropped ends as `suppressed` with the reason `duplicate`; the outcome says which record
    came first. The memory is Redis, asked once per batch. While Redis is down, flows of normal and
    low priority wait for it; those of high priority go on with what this process has seen itself,
    and tell Redis of it when it is back.
    """

    by: tuple[Expression, ...] = Field(default=())
    """What makes two events the same, e.g. `order_id` or `[order_id, status]`; by default the
    event's id. An event for which all of it is missing, null or empty passes: nothing
    is known about it."""

    within: PositiveDuration = 86_400_000
    """For how long the first one is remembered, counted from when it came."""

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Dedupe:
    """Claims the keys of a batch in one round trip."""

    def __init__(self, spec: DedupeSpec, site: Site) -> None:
        by_id = [each.text for each in spec.by] in ([], ["event_id"])
        self._by: Sequence[Callable[[dict[str, Any]], Any]] = (
            [] if by_id else [each.or_null() for each in spec.by]
        )
        self._within = spec.within
        self._site = site
        self._is_high = site.priority == Priority.HIGH
        self._sheltered: ShelteredClaims | None = None

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Keep what is first. Raises Unavailable, with nothing changed, unless priority is high."""
        asked: list[tuple[Item, str]] = []
        claims: list[tuple[str, str]] = []
        bad: list[tuple[Item, EvaluationError]] = []
        for item in batch.items:
            try:
                key = self._key(item)
            except EvaluationError as error:
                bad.append((item, error))
                continue
            origin = str(item.origin) if key else ""
            asked.append((item, origin))
            if key:
                claims.append((key, origin))
        holders = iter(self._holders(claims, io))

        for item, why in bad:
            batch.dead(item, "expression", why, self._site)
        kept: list[Item] = []
        for item, origin in asked:
            if not origin or (holder := next(holders)) == origin:
                kept.append(item)
            else:
                first = f"the first was {holder}"
                batch.drop(item, Kind.SUPPRESSED, "duplicate", self._site, first)
        batch.items = kept

    def _key(self, item: Item) -> str:
        """What is claimed; empty where nothing can be said."""
        if not self._by:
            return id_of("c", item.tenant, self._site.path, item.recipient_id, item.event_id)
        values = [value_of(item.data) for value_of in self._by]
        if all(value is None or value == "" for value in values):
            return ""
        # repr tells the text "1" from the number 1.
        parts = map(repr, values)
        return id_of("c", item.tenant, self._site.path, item.recipient_id, *parts)

    def _holders(self, claims: list[tuple[str, str]], io: Io) -> list[str]:
        """The origin that holds each claim, as far as can be told now."""
        if not claims:
            return []
        if not self._is_high:
            return io.claims.first(claims, self._within)
        if self._sheltered is None:
            own = LocalClaims(io.clock, REMEMBERED)
            self._sheltered = ShelteredClaims(io.claims, own, io.clock)
        return self._sheltered.first(claims, self._within)


OPERATOR = Operator(
    name="dedupe",
    spec=DedupeSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.TAIL}),
    build=Dedupe,
    shorthand="by",
    asks=True,
    reads=reads_expressions,
    example="""
step: {dedupe: {by: event_id, within: 24h}}
in:
  - {event_id: e1, text: first}
  - {event_id: e1, text: again}
  - {event_id: e2, text: another}
out:
  - {event_id: e1, text: first}
  - {event_id: e2, text: another}
dropped:
  - {item: {event_id: e1, text: again}, kind: suppressed, reason: duplicate}
""",
)
