"""A flow on a driver that hears of its deliveries, one thing after the other: units and all.

This is what a backtest has to come to, by the longest way.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count, groupby

from tidings.driver import Driver
from tidings.driver.replay import Heard, Told
from tidings.log.port import Append, Record
from tidings.records import Origin, Signal, decode_delivery
from tidings.runtime.signals import signal_append
from tidings.topics import entries


class Hearing:
    """Moves ``driver``; the ``flow`` hears what ``told`` says of deliveries, and ``heard``."""

    def __init__(self, driver: Driver, flow: str, told: Told, heard: Iterable[Heard] = ()) -> None:
        self.driver = driver
        self._topic = entries(flow)
        self._told = told
        self._seen: set[tuple[str, int]] = set()
        self._order = count()
        self._due: list[tuple[int, int, Append]] = []
        for each in heard:
            self._expect(*each)

    def feed(self, records: Iterable[Record]) -> None:
        """Events, or entries, in order of time."""
        for time, together in groupby(records, lambda record: record.time):
            self.advance(time)
            for record in together:
                self.driver.write(record.topic, record.key, record.value)
            self.driver.settle()

    def advance(self, until: int) -> None:
        """Go to an instant, from one thing to the next."""
        driver = self.driver
        self._look()
        while due := min(filter(None, (driver.deadline(), self._next())), default=0):
            if due > until:
                break
            driver.advance(max(due, driver.clock.now()))
            self._look()
            while 0 < self._next() <= driver.clock.now():
                append = heappop(self._due)[2]
                driver.write(append.topic, append.key, append.value)
            driver.settle()
            self._look()
        driver.advance(until)

    def _next(self) -> int:
        return self._due[0][0] if self._due else 0

    def _look(self) -> None:
        for topic in [name for name in self.driver.topics if name.startswith("deliveries.")]:
            for record in self.driver.records(topic):
                if (topic, record.offset) not in self._seen:
                    self._seen.add((topic, record.offset))
                    delivery = decode_delivery(record.value or b"")
                    if delivery.reply_to == self._topic:
                        for kind, after in self._told(delivery):
                            signal = Signal(delivery.wait, kind, delivery.round)
                            whose = delivery.tenant, delivery.recipient_id
                            self._expect(delivery.created_at + after, *whose, signal)

    def _expect(self, at: int, tenant: str, recipient: str, signal: Signal) -> None:
        append = signal_append(self._topic, tenant, recipient, Origin(self._topic, 0, 0), signal)
        heappush(self._due, (at, next(self._order), append))
