"""expire: give what flows by a last moment, and let go of what is past it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tidings.contract import (
    Batch,
    Item,
    Operator,
    Part,
    Shape,
    Site,
    Spec,
    Work,
    reads_expressions,
)
from tidings.durations import PositiveDuration
from tidings.expressions import EvaluationError, Expression
from tidings.expressions.operations import kind_of
from tidings.ports import Io
from tidings.problems import ValueProblem
from tidings.records import Kind

_EARLIEST_MS = 10**11  # 1973
_LATEST_MS = 10**14  # 5138


class ExpireSpec(Spec):
    """Drops what has outlived its use; such things end as `expired`.

    In a flow it sets the moment, of several the earliest, and lets go of events that came into the
    log past it, so that a replay decides the same. The moment goes on with the deliveries and is
    handed to the provider. In a lane it takes no fields: a delivery brings its moment along, and
    ends when it is past.
    """

    after: PositiveDuration | None = None
    """How long an event lives from the moment at which it came into the log, e.g. `6h`."""

    at: Expression | None = None
    """A field or expression that gives the moment: epoch milliseconds, or a text such as
    `2026-07-01T12:00:00Z`. Where it is missing, null or the number 0, it sets none."""


class ExpireItems:
    """In a flow: sets the moment and drops what is past it."""

    def __init__(self, spec: ExpireSpec, site: Site) -> None:
        self._after = spec.after or 0
        self._at = spec.at.or_null() if spec.at is not None else None
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Set each item's moment; drop the items whose own time is past it."""
        kept: list[Item] = []
        for item in batch.items:
            try:
                moment = self._moment(item)
            except (EvaluationError, ValueError) as error:
                batch.dead(item, "expression", error, self._site)
                continue
            if moment and moment <= item.time:
                batch.drop(item, Kind.EXPIRED, "expired", self._site)
                continue
            item.expires_at = moment
            kept.append(item)
        batch.items = kept

    def _moment(self, item: Item) -> int:
        moment = item.expires_at
        if self._after:
            moment = _earlier(moment, item.time + self._after)
        if self._at is not None:
            moment = _earlier(moment, moment_of(self._at(item.data)))
        return moment


class ExpireWork:
    """In a lane: ends the deliveries that are past their moment."""

    def __init__(self, spec: ExpireSpec, site: Site) -> None:
        if spec.after is not None or spec.at is not None:
            raise ValueProblem(
                "unknown-field",
                "`expire` takes no fields in a lane",
                "a delivery brings its moment along: set it by `expires` of `deliver` in the flow",
            )
        self._site = site

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Drop the deliveries past their moment."""
        kept: list[Work] = []
        for work in batch.items:
            if 0 < work.delivery.expires_at <= now:
                batch.drop(work, Kind.EXPIRED, "expired", self._site)
            else:
                kept.append(work)
        batch.items = kept


def build(spec: ExpireSpec, site: Site) -> ExpireItems | ExpireWork:
    """The one for this part. Raises ValueProblem for fields given in a lane."""
    return ExpireWork(spec, site) if site.part is Part.LANE else ExpireItems(spec, site)


def moment_of(value: Any) -> int:
    """Epoch ms of a number of milliseconds or an ISO 8601 text with its zone; 0 for 0 and null.

    Raises ValueError for anything else, seconds included: they would lie in January 1970.
    """
    if value is None or (value == 0 and value is not False):
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        if _EARLIEST_MS <= value <= _LATEST_MS:
            return int(value)
    elif isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return int(moment.timestamp() * 1000) or -1  # 0 would say that there is none
    raise ValueError(
        f"expected a moment, got {kind_of(value)} that is none:"
        " give epoch milliseconds or a text like 2026-07-01T12:00:00Z"
    )


def _earlier(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


OPERATOR = Operator(
    name="expire",
    spec=ExpireSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.KEYED, Part.TAIL, Part.LANE}),
    build=build,
    reads=reads_expressions,
    timeless=True,
    example="""
step: {expire: {after: 6h, at: valid_until}}
now: 2026-07-01T12:00:00Z
in:
  - {sale: spring, valid_until: 2026-06-30T23:59:59Z}
  - {sale: summer, valid_until: 2026-07-31T23:59:59Z}
out:
  - {sale: summer, valid_until: 2026-07-31T23:59:59Z}
dropped:
  - {item: {sale: spring, valid_until: 2026-06-30T23:59:59Z}, kind: expired, reason: expired}
""",
)
