"""cap: how many notifications a person may get on a channel, across all flows.

A flow's own steps can't know that, so it is counted in Redis (or in SQLite), and where the channel
is chosen: `cap` says what is to be counted, `deliver` counts it, a whole batch in one round trip.
The time is the wall's. A window of the log's time would be hours behind in a flow that catches up,
and the counts of other flows would be gone.

What a lane hands on to the next channel, because one has failed, it counts there in the same way:
the delivery says against what.

A count goes by the notification's id: the same notification in a replay finds itself counted and
passes, for as long as two windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from tidings.contract import Batch, Cap, Category, Item, Operator, Part, Shape, Site, Spec
from tidings.durations import DurationType
from tidings.ids import cap_key
from tidings.ports import Caps, Count, Io, Person
from tidings.problems import ValueProblem, listed
from tidings.records import Allowance

CAPPED = "cap"  # the reason; also how the name of each cap that has no room begins
MARKETING = "marketing"
HOUR, DAY = 3_600_000, 86_400_000

DEFAULTS = (
    Cap("push", 3, HOUR),
    Cap("email", 1, DAY, MARKETING),
    Cap("sms", 5, DAY),
)
"""What is sensible where nobody has said otherwise."""


class CapSpec(Spec):
    """Lets a person get at most so many notifications on a channel, whichever flows they come from.

    Without fields these caps hold: 3 push an hour, 1 marketing e-mail a day, 5 text messages a
    day. With fields it is one cap; several steps make several. In any stretch of `within` no more
    than `at_most` pass; a calendar day would let as many pass just before midnight as just after
    it. Flows that cap the same channel over the same time share one count, and each holds to its
    own `at_most`.

    Where a channel has no room `deliver` takes the next one, and what no channel is left for ends
    as `suppressed`, reason `cap`. What is critical or transactional by its category passes, and
    still counts. It is counted when it is decided, and given back when the delivery ends as
    suppressed or expired. When a channel fails, the next one of `first_of` is counted by the lane
    that hands over to it; one without room is passed over, and the outcome says so. While Redis is
    down, normal and low priority wait, and high passes uncounted.
    """

    channel: str = ""
    """The channel, e.g. `push`."""

    at_most: int | None = Field(None, ge=1, le=1_000)
    """How many a person may get on it."""

    within: Annotated[int, DurationType(at_least="1s", at_most="31d")] | None = None
    """In any stretch of time of this length."""

    counts: str = ""
    """What is counted: the name of a category, or `marketing` for all such categories; by default
    everything on the channel."""

    exempt: tuple[str, ...] = ()
    """Further categories that pass, and still count."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = {"channel": self.channel, "at_most": self.at_most, "within": self.within}
        lacking = [name for name, value in needed.items() if not value]
        if lacking and (len(lacking) < len(needed) or self.counts):
            missing = listed(lacking, "and")
            raise ValueProblem(
                "missing-field",
                f"a cap needs {missing} as well",
                "cap: {channel: push, at_most: 3, within: 1h}; `cap` alone takes the defaults",
            )
        return self


class SayCaps:
    """Says what `deliver` is to count."""

    def __init__(self, spec: CapSpec, site: Site) -> None:
        if spec.channel:
            site.check_channel(spec.channel, "channel")
        if spec.counts not in ("", MARKETING):
            site.check_category(spec.counts, "counts")
        for name in spec.exempt:
            if name != MARKETING:
                site.check_category(name, "exempt", name)
        self._caps = tuple(caps_of(spec))

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Add the caps to each item's."""
        for item in batch.items:
            item.caps = (*item.caps, *self._caps)


def caps_of(spec: CapSpec) -> Iterator[Cap]:
    """The caps of a step."""
    exempt = frozenset(spec.exempt)
    if spec.channel and spec.at_most and spec.within:
        yield Cap(spec.channel, spec.at_most, spec.within, spec.counts, exempt)
        return
    for cap in DEFAULTS:
        yield Cap(cap.channel, cap.at_most, cap.within, cap.counts, exempt)


# ── Counting ──────────────────────────────────────────────────────────────────────────────────


class Wanted(NamedTuple):
    """A notification that is to go to a person, and what it is to be counted against."""

    person: Person
    notif_id: str
    allowances: tuple[Allowance, ...]


class Counted(NamedTuple):
    """Whether it may go; the names of what it was counted against, or of what had no room."""

    passes: bool
    names: tuple[str, ...]


def allowances(caps: Sequence[Cap], category: Category, channel: str) -> tuple[Allowance, ...]:
    """The caps that count a notification of this category on this channel; of several over one
    count the smallest.

    >>> allowances(DEFAULTS, Category("orders", transactional=True), "push")
    (Allowance(name='push/all/1h', at_most=3, within_ms=3600000, exempt=True),)
    """
    found: dict[str, Allowance] = {}
    for cap in caps:
        about = cap.counts
        if cap.channel == channel and (
            not about or about == category.name or (about == MARKETING and category.marketing)
        ):
            known = found.get(cap.name)
            if known is None or cap.at_most < known.at_most:
                exempt = category.critical or category.transactional or category.name in cap.exempt
                found[cap.name] = Allowance(cap.name, cap.at_most, cap.within, exempt)
    return tuple(found.values())


def count(wanted: Sequence[Wanted], caps: Caps, now: int) -> list[Counted]:
    """Count each against all of its allowances or none, in one round trip; ``now`` is the wall's.

    Raises Unavailable.
    """
    counts = [
        Count(
            cap_key(*each.person, one.name),
            each.notif_id,
            one.at_most,
            one.within_ms,
            one.exempt,
            together=place > 0,
        )
        for each in wanted
        for place, one in enumerate(each.allowances)
    ]
    verdicts = iter(caps.count(counts, now) if counts else ())
    answers: list[Counted] = []
    for each in wanted:
        room = {one.name: next(verdicts) for one in each.allowances}
        full = tuple(f"{CAPPED}:{name}" for name, passes in room.items() if not passes)
        answers.append(Counted(False, full) if full else Counted(True, tuple(room)))
    return answers


OPERATOR = Operator(
    name="cap",
    spec=CapSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.TAIL}),
    build=SayCaps,
    reads=lambda spec: frozenset(),
    timeless=True,
    example="""
step: {cap: {channel: push, at_most: 3, within: 1h}}
in:
  - {recipient_id: ana, text: "`deliver` counts it where it chooses the channel"}
out:
  - {recipient_id: ana, text: "`deliver` counts it where it chooses the channel"}
""",
)
