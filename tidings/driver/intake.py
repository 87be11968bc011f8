"""A flow up to its cut, replayed: records in, entries out; of a flow without a cut it is the whole.

    records ──► items ──► step ──► step ──► entries
                           │ a step to which time matters is asked instant by instant

No unit moves it, for nothing can be lost here. Steps stand before one another and never hear of one
another, so each is asked about all that came in together, in order of time; but claims, caps, and
what a step of others may look at, are asked at the very instant of each record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter

import msgspec

from tidings.compile.units import ahead
from tidings.contract import Item
from tidings.driver.decided import AT_ONCE, Decided
from tidings.driver.tally import Tally
from tidings.ids import person_key
from tidings.log.port import Record
from tidings.plan import FlowPlan, alike
from tidings.ports import Io
from tidings.records import Entry, decode_entry, entry_decoder
from tidings.runtime.batch import Step
from tidings.settings import Settings
from tidings.stores.clock import ManualClock
from tidings.topics import entries


class Entered(msgspec.Struct, frozen=True, gc=False):
    """An entry: its record, and what that holds. Several may read it, so nobody changes it."""

    record: Record
    entry: Entry


class Entries:
    """Entries in order of time, for all versions that have their intake in common."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._read: dict[frozenset[str] | None, list[Entered]] = {}

    def read(self, fields: frozenset[str] | None) -> Sequence[Entered]:
        """All of them; of their events the fields that are looked at, None for the whole."""
        found = self._read.get(fields)
        if found is None:
            decode = _decoder(fields)
            found = [Entered(each, decode(each.value or b"")) for each in self._records]
            self._read[fields] = found
        return found


@cache
def _decoder(fields: frozenset[str] | None) -> Callable[[bytes], Entry]:
    return decode_entry if fields is None else entry_decoder(fields)


class Intake:
    """Takes in what is of its own topics; what it decides is in ``tally``.

    ``io.clock`` must be ``clock``. Raises Unavailable where a step can't decide.
    """

    def __init__(self, plan: FlowPlan, settings: Settings, io: Io, clock: ManualClock) -> None:
        self.plan = plan
        self.tally = Tally()
        self._io = io
        self._clock = clock
        self._topic = entries(plan.name)
        self._sources = frozenset(plan.source.names())
        self._entrance, self._steps, self._timed = ahead(plan, settings)
        self._decided = Decided(self.tally, self._topic)
        self._written = 0  # entries so far

    def feed(self, records: Iterable[Record]) -> Iterator[Entries]:
        """Take records in, in order of time; gives their entries little by little."""
        decided = self._decided
        items, bad = self._entrance.read([each for each in records if each.topic in self._sources])
        for item, reason, why in bad:
            decided.dead(item, reason, why, self._entrance.site)
        decided.begin(items, items[-1].time if items else 0)
        following = True
        while following:
            self._go_through()
            if self.plan.keyed:
                yield Entries([*self._entries(decided.items)])
            following = decided.follow(AT_ONCE) is not None
        decided.awaited.clear()
        decided.heard.clear()

    def serves(self, plan: FlowPlan) -> bool:
        """Whether another version would make the same entries."""
        own = self.plan
        return (
            bool(own.keyed and plan.keyed)
            and (own.name, own.source) == (plan.name, plan.source)
            and alike(own.intake, plan.intake)
        )

    def _go_through(self) -> None:
        """Move the batch through the steps from where it stands."""
        batch = self._decided
        for number, step in enumerate(self._steps):
            if number < batch.at or not batch.items:
                continue
            batch.at = number
            if step[0] in self._timed:
                self._at_each_instant(step)
            else:
                step[1](batch, self._io)
            batch.items.sort(key=_time)  # a branch puts together what stood in one topic

    def _at_each_instant(self, step: Step) -> None:
        batch, kept, more = self._decided, list[Item](), len(self._decided.rest)
        for time, items in groupby(batch.items, _time):
            self._clock.set(time)
            batch.now, batch.items = time, list(items)
            step[1](batch, self._io)
            kept += batch.items
            while len(batch.rest) > more:  # before what is of the next instant
                kept += batch.rest.pop()[1]
        batch.items = kept

    def _entries(self, items: Iterable[Item]) -> Iterator[Record]:
        """What items are in the flow's own topic."""
        topic, entry_of, decided = self._topic, self._entrance.entry, self._decided
        for item in items:
            if (value := entry_of(item, decided)) is not None:
                key = person_key(item.tenant, item.recipient_id).encode()
                yield Record(topic, 0, self._written, item.time, key, value)
                self._written += 1


_time: Callable[[Item], int] = attrgetter("time")
