"""The memory log's parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from tidings.log.memory.consumer import MemoryConsumer, MemoryGroup
from tidings.log.memory.topic import MemoryTopic
from tidings.log.port import (
    Ack,
    Append,
    LogError,
    OutOfRange,
    Record,
    Slot,
    Span,
    TopicSettings,
)

_BLOCK = 1_000  # records in a batch of a reader's


class MemoryLog:
    """A log that lives as long as the object; ``clock`` gives append times in epoch ms."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._topics: dict[str, MemoryTopic] = {}
        self._groups: dict[str, MemoryGroup] = {}

    def topic(self, name: str) -> MemoryTopic:
        """A topic by its name. Raises LogError where there is none."""
        try:
            return self._topics[name]
        except KeyError:
            raise LogError(
                f"there is no topic {name} in memory: make it by `tidings topics apply`"
            ) from None

    def consumer(
        self, group: str, *, on_out_of_range: OutOfRange = OutOfRange.FAIL
    ) -> MemoryConsumer:
        """A member of ``group``."""
        held = self._groups.setdefault(group, MemoryGroup(group))
        return MemoryConsumer(self.topic, held, on_out_of_range)

    def producer(self, *, linger_ms: int = 2) -> MemoryProducer:
        """A producer that writes at once."""
        return MemoryProducer(self.topic)

    def reader(self) -> MemoryReader:
        """A reader of whole partitions."""
        return MemoryReader(self.topic)

    def admin(self) -> MemoryAdmin:
        """Looks at topics and makes them."""
        return MemoryAdmin(self._topics, self._clock)


class MemoryProducer:
    """Writes at once; acks come from ``poll`` and ``flush``."""

    def __init__(self, topic: Callable[[str], MemoryTopic]) -> None:
        self._topic = topic
        self._written: deque[tuple[Ack, LogError | None]] = deque()

    def append(self, records: Sequence[Append], ack: Ack) -> None:
        """Writes the records."""
        topic = self._topic
        self._written.extend([(ack, topic(record.topic).append(record)) for record in records])

    def poll(self) -> None:
        """Serves acks."""
        written = self._written
        while written:
            ack, error = written.popleft()
            ack(error, None)

    def flush(self, timeout: float) -> bool:
        """Serves acks; then none is open."""
        self.poll()
        return True

    def close(self) -> None:
        """Serves acks."""
        self.poll()


class MemoryReader:
    """Reads partitions from any offset, outside any group."""

    def __init__(self, topic: Callable[[str], MemoryTopic]) -> None:
        self._topic = topic

    def read(self, slot: Slot, first: int, end: int) -> Iterator[list[Record]]:
        """The records from ``first`` up to, not including, ``end``; in batches."""
        records = self._topic(slot.topic).read(slot.partition, first, end)
        for start in range(0, len(records), _BLOCK):
            yield records[start : start + _BLOCK]

    def span(self, slot: Slot) -> Span:
        """What the partition holds."""
        return self._topic(slot.topic).span(slot.partition)

    def close(self) -> None:
        """Nothing is held."""


class MemoryAdmin:
    """Looks at topics and makes them."""

    def __init__(self, topics: dict[str, MemoryTopic], clock: Callable[[], int]) -> None:
        self._topics = topics
        self._clock = clock

    def topics(self) -> dict[str, TopicSettings]:
        """All topics, by name."""
        return {name: topic.settings for name, topic in sorted(self._topics.items())}

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Makes topics; raises LogError for one that exists."""
        for settings in topics:
            if settings.name in self._topics:
                raise LogError(f"the topic {settings.name} exists already")
            self._topics[settings.name] = MemoryTopic(settings, lambda _: self._clock())

    def alter(self, topic: TopicSettings) -> None:
        """Brings retention and record size to ``topic``'s."""
        held = self._topics[topic.name]
        held.settings = msgspec.structs.replace(
            held.settings,
            retention_ms=topic.retention_ms,
            max_record_bytes=topic.max_record_bytes,
        )

    def close(self) -> None:
        """Nothing is held."""
