"""A log in memory whose every misfortune is the test's to decide: unconfirmed outputs, rebalances,
frozen members, compaction, retention.

    log = PaperLog(clock, {"tidings.social": 2, …})
    log.group("tidings.social").share([one, other])   # who reads what; takes place in their polls
    log.stuck = {"notif_events"}                      # what is appended there waits
    group.evict(consumer); producer.die()             # kill -9

Records of one producer reach each partition in order, and a death cuts each partition's short at
a place of its own: as Kafka does it. With a ``random``, polls write and confirm as they like.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import cycle
from random import Random

from tidings.log.partitioner import partition_of
from tidings.log.port import (
    Ack,
    Append,
    Listener,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Position,
    Record,
    Slot,
    Span,
    TopicSettings,
)

READ = 50  # records that a reader gives at a time


class PaperLog:
    """The log: topics, groups, and the parts it has given out."""

    def __init__(
        self,
        clock: Callable[[], int],
        partitions: Mapping[str, int],
        random: Random | None = None,
    ) -> None:
        self.clock = clock
        self.partitions = dict(partitions)
        self.random = random
        self.stuck: Collection[str] = ()
        self.refuses: Callable[[Append], object | None] = lambda append: None
        self._records: defaultdict[Slot, list[Record]] = defaultdict(list)
        self._ends: defaultdict[Slot, int] = defaultdict(int)
        self._firsts: defaultdict[Slot, int] = defaultdict(int)
        self._groups: dict[str, PaperGroup] = {}

    # ── The port ──────────────────────────────────────────────────────────────────────────────

    def consumer(
        self, group: str, *, on_out_of_range: OutOfRange = OutOfRange.FAIL
    ) -> PaperConsumer:
        return PaperConsumer(self, self.group(group), on_out_of_range)

    def producer(self, *, linger_ms: int = 2) -> PaperProducer:
        return PaperProducer(self)

    def reader(self) -> PaperReader:
        return PaperReader(self)

    def admin(self) -> PaperAdmin:
        return PaperAdmin(self)

    # ── What a test does to it ────────────────────────────────────────────────────────────────

    def group(self, name: str) -> PaperGroup:
        return self._groups.setdefault(name, PaperGroup())

    def write(self, append: Append) -> Record:
        count, number = self.partitions[append.topic], append.partition
        if number < 0:
            number = partition_of(append.key, count) if append.key is not None else 0
        slot = Slot(append.topic, number)
        offset, self._ends[slot] = self._ends[slot], self._ends[slot] + 1
        record = Record(*slot, offset, self.clock(), append.key, append.value, append.headers)
        self._records[slot].append(record)
        return record

    def compact(self, topic: str) -> None:
        """Keep the last record of each key, and no tombstones."""
        for slot, records in self._records.items():
            if slot.topic == topic:
                last = {record.key: record.offset for record in records}
                records[:] = [
                    record
                    for record in records
                    if record.value is not None and last[record.key] == record.offset
                ]

    def expire(self, slot: Slot, first: int) -> None:
        """Retention takes what lies below ``first``."""
        self._firsts[slot] = first
        del self._records[slot][: self._place(slot, first)]

    def clear(self, topic: str) -> None:
        """The topic is deleted and made anew."""
        for slot in [slot for slot in self._ends if slot.topic == topic]:
            self._records[slot], self._ends[slot], self._firsts[slot] = [], 0, 0

    def between(self, slot: Slot, first: int, end: int, limit: int = -1) -> list[Record]:
        low, high = self._place(slot, first), self._place(slot, end)
        return self._records[slot][low : high if limit < 0 else min(high, low + limit)]

    def span(self, slot: Slot) -> Span:
        return Span(self._firsts[slot], self._ends[slot])

    def some(self, count: int) -> int:
        """How many of ``count`` are dealt with this time: all, or as chance has it."""
        return count if self.random is None else self.random.randint(0, count)

    def _place(self, slot: Slot, offset: int) -> int:
        return bisect_left(self._records[slot], offset, key=lambda record: record.offset)


class PaperProducer:
    """Appends that are written and confirmed by ``poll`` and ``flush``."""

    def __init__(self, log: PaperLog) -> None:
        self._log = log
        self._open: defaultdict[Slot, deque[tuple[Append, Ack]]] = defaultdict(deque)
        self._written: deque[tuple[Ack, object | None]] = deque()

    def append(self, records: Sequence[Append], ack: Ack) -> None:
        for record in records:
            topic, number = record.topic, record.partition
            if number < 0 and record.key is not None:
                number = partition_of(record.key, self._log.partitions[topic])
            self._open[Slot(topic, number)].append((record, ack))

    def poll(self) -> None:
        for queue in self._flowing():
            self._write(queue, self._log.some(len(queue)))
        self._confirm(self._log.some(len(self._written)))

    def flush(self, timeout: float) -> bool:
        for queue in self._flowing():
            self._write(queue, len(queue))
        self._confirm(len(self._written))
        return not any(self._open.values())

    def die(self) -> None:
        """Kill -9: of each partition some more may have got there, the rest is gone."""
        if self._log.random is not None:
            for queue in self._flowing():
                self._write(queue, self._log.some(len(queue)))
        self._open.clear()
        self._written.clear()

    def _flowing(self) -> list[deque[tuple[Append, Ack]]]:
        return [queue for slot, queue in self._open.items() if slot.topic not in self._log.stuck]

    def close(self) -> None:
        self.flush(5.0)

    def _write(self, queue: deque[tuple[Append, Ack]], count: int) -> None:
        for _ in range(count):
            record, ack = queue.popleft()
            error = self._log.refuses(record)
            if error is None:
                self._log.write(record)
            self._written.append((ack, error))

    def _confirm(self, count: int) -> None:
        for _ in range(count):
            ack, error = self._written.popleft()
            ack(error, None)


class PaperGroup:
    """Who reads what, and how far the group is. Members do what it wants in their own polls."""

    def __init__(self) -> None:
        self.positions: dict[Slot, Position] = {}
        self.owners: dict[Slot, PaperConsumer] = {}
        self.wanted: dict[Slot, PaperConsumer] = {}

    def share(self, shares: Mapping[Slot, PaperConsumer]) -> None:
        """Each slot to its consumer, as soon as the one that has it gives it up."""
        self.wanted = dict(shares)

    def evict(self, consumer: PaperConsumer) -> None:
        """The member did not answer: its slots are free, and it will learn of it when it polls."""
        for slots in (self.owners, self.wanted):
            for slot in [slot for slot, who in slots.items() if who is consumer]:
                del slots[slot]


class PaperConsumer:
    """A member of a group; does what the group has ordered in its polls."""

    def __init__(self, log: PaperLog, group: PaperGroup, policy: OutOfRange) -> None:
        self.places: dict[Slot, int] = {}
        self.paused: set[Slot] = set()
        self.fenced = False  # the group has moved on, and it does not know yet
        self._log = log
        self._group = group
        self._policy = policy
        self._turn = 0

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._topics = topics
        self._listener = listener

    def slots(self) -> list[Slot]:
        """All there is to read."""
        return [
            Slot(topic, n) for topic in self._topics for n in range(self._log.partitions[topic])
        ]

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        self._obey()
        if self._log.random is not None:
            limit = self._log.random.randint(1, min(20, limit))
        found: list[Record] = []
        self._turn += 1
        places = list(self.places)
        for index in range(len(places)):
            slot = places[(index + self._turn) % len(places)]
            if slot not in self.paused and len(found) < limit:
                first, end = self.places[slot], self._log.span(slot).end
                fresh = self._log.between(slot, first, end, limit - len(found))
                found += fresh
                self.places[slot] = fresh[-1].offset + 1 if fresh else first
        return found

    def _obey(self) -> None:
        owners, wanted = self._group.owners, self._group.wanted
        self._drop([slot for slot in self.places if owners.get(slot) is not self], lost=True)
        self._drop([slot for slot in self.places if wanted.get(slot) is not self], lost=False)
        fresh = [slot for slot, who in wanted.items() if who is self and slot not in owners]
        if fresh:
            owners.update(dict.fromkeys(fresh, self))
            self._take(fresh)

    def _take(self, slots: Sequence[Slot]) -> None:
        positions = {slot: self._group.positions.get(slot) for slot in slots}
        starts = self._listener.assigned(positions)
        for slot, position in positions.items():
            span = self._log.span(slot)
            start = starts.get(slot, span.first if position is None else position.offset)
            if not span.first <= start <= span.end:
                if self._policy is OutOfRange.FAIL:
                    raise OutOfRangeError(f"{slot} has {span}, and {start} is wanted")
                start = span.first if self._policy is OutOfRange.EARLIEST else span.end
            self.places[slot] = start
            self.paused.discard(slot)

    def _drop(self, slots: Sequence[Slot], *, lost: bool) -> None:
        if slots:
            (self._listener.lost if lost else self._listener.revoked)(slots)
            for slot in slots:
                del self.places[slot]
                if not lost:
                    del self._group.owners[slot]

    def assignment(self) -> frozenset[Slot]:
        return frozenset(self.places)

    def pause(self, slots: Sequence[Slot]) -> None:
        assert set(slots) <= set(self.places)
        self.paused.update(slots)

    def resume(self, slots: Sequence[Slot]) -> None:
        assert set(slots) <= set(self.places)
        self.paused.difference_update(slots)

    def seek(self, slot: Slot, offset: int) -> None:
        self.places[slot] = offset

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        for slot, position in positions.items():
            if self._group.owners.get(slot) is self and not self.fenced:
                before = self._group.positions.get(slot, Position(0)).offset
                back = position.offset < before <= self._log.span(slot).end
                assert not back, f"{slot} goes back from {before} to {position}"
                self._group.positions[slot] = position
            elif wait:
                raise LogError(f"the group has moved on, {slot} was not committed")

    def committed(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        return {slot: self._group.positions.get(slot) for slot in slots}

    def span(self, slot: Slot) -> Span:
        return self._log.span(slot)

    def close(self) -> None:
        for slot in [slot for slot, who in self._group.wanted.items() if who is self]:
            del self._group.wanted[slot]
        self._obey()


class PaperReader:
    """Reads from anywhere."""

    def __init__(self, log: PaperLog) -> None:
        self._log = log

    def read(self, slot: Slot, first: int, end: int) -> Iterator[list[Record]]:
        records = self._log.between(slot, first, end)
        for at in range(0, len(records), READ):
            yield records[at : at + READ]

    def span(self, slot: Slot) -> Span:
        return self._log.span(slot)

    def close(self) -> None:
        pass


class PaperAdmin:
    """Knows the topics."""

    def __init__(self, log: PaperLog) -> None:
        self._log = log

    def topics(self) -> dict[str, TopicSettings]:
        return {
            name: TopicSettings(name=name, partitions=count)
            for name, count in self._log.partitions.items()
        }

    def create(self, topics: Sequence[TopicSettings]) -> None:
        self._log.partitions |= {topic.name: topic.partitions for topic in topics}

    def alter(self, topic: TopicSettings) -> None:
        pass

    def close(self) -> None:
        pass


def dealt(slots: Sequence[Slot], consumers: Sequence[PaperConsumer]) -> dict[Slot, PaperConsumer]:
    """The slots, dealt round."""
    return dict(zip(slots, cycle(consumers), strict=False))
