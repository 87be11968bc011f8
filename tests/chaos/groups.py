"""How far the parts have come, as their consumer groups say: on any log, outside the product."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos import scene
from tidings.log.port import Log, Slot
from tidings.receipts import PROVIDER_EVENTS, REPLIES

GROUPS = {  # the consumer group of each part, and what it reads
    "intake": ("tidings.social.intake", [scene.SOURCE, REPLIES]),
    "flow": ("tidings.social", [scene.ENTRIES]),
    "receipts": ("tidings.receipts", [PROVIDER_EVENTS]),
    "lane": ("tidings.lane.push.normal", [scene.DELIVERIES, *scene.LADDER]),
}


class Groups:
    """The groups of the scene on one log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._reader = log.reader()
        self._slots = {
            name: [Slot(name, number) for number in range(topic.partitions)]
            for name, topic in log.admin().topics().items()
        }

    def close(self) -> None:
        """Let go of the log."""
        self._reader.close()

    def lag(self, part: str) -> int:
        """How many records the group of ``part`` has not committed yet."""
        group, topics = GROUPS[part]
        slots = [slot for topic in topics for slot in self._slots[topic]]
        consumer = self._log.consumer(group)
        try:
            committed = consumer.committed(slots)
        finally:
            consumer.close()
        total = 0
        for slot in slots:
            position, span = committed[slot], self._reader.span(slot)
            total += span.end - (position.offset if position is not None else span.first)
        return total

    def has_position(self, part: str) -> bool:
        """Whether the group of ``part`` has taken its first partition: a position is saved."""
        group, topics = GROUPS[part]
        slot = self._slots[topics[0]][0]
        consumer = self._log.consumer(group)
        try:
            return consumer.committed([slot])[slot] is not None
        finally:
            consumer.close()

    def ends(self, topics: Sequence[str]) -> list[int]:
        """Where the partitions of ``topics`` end."""
        return [self._reader.span(slot).end for topic in topics for slot in self._slots[topic]]
