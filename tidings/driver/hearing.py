"""What a flow hears of its deliveries where no lane runs behind it.

flow ──► delivery ──► told: sent at once, opened after two minutes ──► signals, each in its time
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from tidings.log.memory import MemoryLog
from tidings.log.port import Append, Slot
from tidings.records import Delivery, Kind, Origin, decode_delivery
from tidings.runtime.signals import reply


class News(NamedTuple):
    """What became of a delivery, as the kind of an outcome, so many ms after it was written."""

    kind: str
    after: int


Told = Callable[[Delivery], Sequence[News]]
"""What a flow hears of a delivery that it waits for."""

SENT_AT_ONCE = (News(Kind.SENT.value, 0),)
"""What is assumed where nothing is known."""


class Hearing:
    """Tells a flow, in ``topic``, what ``told`` says of its ``deliveries``.

    ``more`` are signals that come anyway, each at its time (epoch ms).
    """

    def __init__(
        self,
        log: MemoryLog,
        topic: str,
        deliveries: Iterable[str],
        told: Told,
        more: Iterable[tuple[int, Append]] = (),
    ) -> None:
        self._reader = log.reader()
        self._topic = topic
        self._topics = [log.topic(name) for name in deliveries]
        self._written = 0
        self._seen = {
            Slot(held.settings.name, number): 0
            for held in self._topics
            for number in range(held.settings.partitions)
        }
        self._told = told
        self._order = count()  # signals of one instant stay in order
        self._due: list[tuple[int, int, Append]] = []
        for at, append in more:
            heappush(self._due, (at, next(self._order), append))

    def deadline(self) -> int:
        """The next instant at which a signal is due, 0 for none."""
        return self._due[0][0] if self._due else 0

    def due(self, now: int) -> Iterator[Append]:
        """The signals due by ``now``, those about what has just been delivered included."""
        written = sum([topic.written for topic in self._topics])
        if written > self._written:
            self._written = written
            self._look()
        while self._due and self._due[0][0] <= now:
            yield heappop(self._due)[2]

    def _look(self) -> None:
        """Find out what becomes of deliveries that are new."""
        for slot, seen in self._seen.items():
            first, end = self._reader.span(slot)
            for batch in self._reader.read(slot, max(first, seen), end):
                for record in batch:
                    delivery = decode_delivery(record.value or b"")
                    if delivery.reply_to == self._topic:
                        origin = Origin(slot.topic, slot.partition, record.offset)
                        for kind, after in self._told(delivery):
                            at, signal = delivery.created_at + after, reply(delivery, kind, origin)
                            heappush(self._due, (at, next(self._order), signal))
            self._seen[slot] = end
