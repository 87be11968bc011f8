"""A group member of the memory log: one reads, the others wait for its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tidings.log.memory.topic import MemoryTopic
from tidings.log.port import (
    METADATA_LIMIT,
    Listener,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Position,
    Record,
    Slot,
    Span,
)


class MemoryGroup:
    """A group's positions, and who reads for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.positions: dict[Slot, Position] = {}
        self.owner: MemoryConsumer | None = None


class MemoryConsumer:
    """Reads for a group while it owns it."""

    def __init__(
        self, topic: Callable[[str], MemoryTopic], group: MemoryGroup, policy: OutOfRange
    ) -> None:
        self._topic_of = topic
        self._group = group
        self._policy = policy
        self._topics: list[MemoryTopic] = []
        self._listener: Listener | None = None
        self._places: dict[Slot, int] = {}
        self._paused: set[Slot] = set()
        self._failure: OutOfRangeError | None = None
        self._seen = -1  # appends to all topics when nothing was left to read
        self._turn = 0

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Names the topics; the group is taken by the first poll that finds it free.

        Raises LogError for a topic that does not exist.
        """
        self._topics = [self._topic_of(topic) for topic in topics]
        self._listener = listener

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """Up to ``limit`` records. It never waits: in one thread nothing would come meanwhile."""
        if self._failure is not None:
            raise self._failure
        if self._listener is None:
            raise LogError("poll before subscribe: the consumer does not know what to read")
        if self._group.owner is None:
            self._assign(self._listener)
        written = sum([topic.written for topic in self._topics])
        if self._group.owner is not self or written == self._seen:
            return []
        records = self._read(limit)
        if not records and not self._paused:
            self._seen = written
        return records

    def assignment(self) -> frozenset[Slot]:
        """All partitions of the topics, or none."""
        return frozenset(self._places)

    def pause(self, slots: Sequence[Slot]) -> None:
        """Reads no more of ``slots`` until resumed."""
        self._paused.update(map(self._held, slots))

    def resume(self, slots: Sequence[Slot]) -> None:
        """Reads ``slots`` again."""
        self._paused.difference_update(map(self._held, slots))

    def seek(self, slot: Slot, offset: int) -> None:
        """Reads on from ``offset``."""
        self._places[self._held(slot)] = offset
        self._seen = -1

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        """Saves positions of partitions that are held; here it is done at once either way."""
        if wait:
            for slot, position in positions.items():
                if slot not in self._places:
                    raise LogError(
                        f"{self._group.name}'s position was not saved: "
                        f"{slot.topic}[{slot.partition}] is not held here"
                    )
                if len(position.metadata.encode()) > METADATA_LIMIT:
                    raise LogError(f"the metadata of a commit has more than {METADATA_LIMIT} bytes")
        self._group.positions.update(
            {slot: position for slot, position in positions.items() if slot in self._places}
        )

    def committed(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The saved positions."""
        return {slot: self._group.positions.get(slot) for slot in slots}

    def span(self, slot: Slot) -> Span:
        """What the partition holds."""
        return self._topic_of(slot.topic).span(slot.partition)

    def close(self) -> None:
        """Gives the partitions up and leaves the group."""
        try:
            if self._places and self._listener is not None:
                self._listener.revoked(list(self._places))
        finally:
            self._places = {}
            self._paused = set()
            if self._group.owner is self:
                self._group.owner = None

    def _assign(self, listener: Listener) -> None:
        slots = [
            Slot(topic.settings.name, number)
            for topic in self._topics
            for number in range(topic.settings.partitions)
        ]
        positions = self.committed(slots)
        starts = listener.assigned(positions)
        places: dict[Slot, int] = {}
        for slot, position in positions.items():
            span = self.span(slot)
            start = starts.get(slot, span.first if position is None else position.offset)
            if not span.first <= start <= span.end:
                start = self._out_of_range(slot, start, span)
            places[slot] = start
        self._group.owner = self
        self._places = places
        fresh = [slot for slot, position in positions.items() if position is None]
        self.commit({slot: Position(places[slot]) for slot in fresh})

    def _out_of_range(self, slot: Slot, offset: int, span: Span) -> int:
        if self._policy is OutOfRange.FAIL:
            self._failure = OutOfRangeError(
                f"{self._group.name} stands at {offset} in {slot.topic}[{slot.partition}], "
                f"which holds {span.first} to {span.end}. To accept the loss start with "
                "on_out_of_range earliest or latest."
            )
            raise self._failure
        return span.first if self._policy is OutOfRange.EARLIEST else span.end

    def _read(self, limit: int) -> list[Record]:
        found: list[Record] = []
        slots = [slot for slot in self._places if slot not in self._paused]
        self._turn += 1
        for index in range(len(slots)):
            slot = slots[(index + self._turn) % len(slots)]
            place = self._places[slot]
            rest = limit - len(found)
            fresh = self._topic_of(slot.topic).read(slot.partition, place, place + rest)
            if fresh:
                self._places[slot] = fresh[-1].offset + 1
                found += fresh
                if len(found) == limit:
                    break
        return found

    def _held(self, slot: Slot) -> Slot:
        if slot not in self._places:
            raise LogError(f"{slot.topic}[{slot.partition}] is not assigned to this consumer")
        return slot
