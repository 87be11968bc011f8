"""A group member of the SQLite log: one process reads, the others wait in `poll` for its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidings.log.port import (
    Listener,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Position,
    Record,
    Slot,
    Span,
)
from tidings.log.sqlite.group import Group
from tidings.log.sqlite.topic import TopicFile

_LOOK = 0.002  # seconds between two looks while a poll waits
_ASK_ANYHOW = 1.0  # seconds after which a file is asked though its pulse stands still
_log = logging.getLogger(__name__)


class SqliteConsumer:
    """Reads for a group while this process has the group's lock."""

    def __init__(self, folder: Path, group: str, on_out_of_range: OutOfRange) -> None:
        self._folder = folder
        self._group = Group(folder, group)
        self._policy = on_out_of_range
        self._topics: list[_Topic] = []
        self._listener: Listener | None = None
        self._places: dict[Slot, _Place] = {}
        self._turn = 0
        self._failure: OutOfRangeError | None = None

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Names the topics; the group is taken by the first poll that finds it free.

        Raises LogError for a topic that does not exist.
        """
        self._topics = [_Topic(TopicFile(self._folder, topic)) for topic in topics]
        self._listener = listener

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """Up to ``limit`` records; looks every 2 ms while it waits."""
        deadline = time.monotonic() + timeout if timeout > 0 else 0.0
        while True:
            records = self._read(limit) if self._is_member() else []
            if records or not deadline:
                return records
            rest = deadline - time.monotonic()
            if rest <= 0:
                return records
            time.sleep(min(_LOOK, rest))

    def assignment(self) -> frozenset[Slot]:
        """All partitions of the topics, or none."""
        return frozenset(self._places)

    def pause(self, slots: Sequence[Slot]) -> None:
        """Reads no more of ``slots`` until resumed."""
        for slot in slots:
            self._place(slot).paused = True

    def resume(self, slots: Sequence[Slot]) -> None:
        """Reads ``slots`` again."""
        for slot in slots:
            self._place(slot).paused = False

    def seek(self, slot: Slot, offset: int) -> None:
        """Reads on from ``offset``."""
        self._place(slot).move(offset)

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        """Saves positions of partitions that are held; here it is done at once either way."""
        held = {slot: position for slot, position in positions.items() if slot in self._places}
        if wait and len(held) < len(positions):
            others = ", ".join(f"{s.topic}[{s.partition}]" for s in positions if s not in held)
            raise LogError(
                f"{self._group.name}'s position was not saved: {others} is not held here"
            )
        if held:
            self._group.commit(held)

    def committed(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The saved positions, also where another process reads."""
        return self._group.positions(slots)

    def span(self, slot: Slot) -> Span:
        """What the partition holds."""
        return self._file(slot).span(slot.partition)

    def close(self) -> None:
        """Gives the partitions up and leaves the group."""
        try:
            if self._places and self._listener is not None:
                self._listener.revoked(list(self._places))
        finally:
            self._places = {}
            self._group.close()
            for topic in self._topics:
                topic.file.close()

    def _is_member(self) -> bool:
        if self._failure is not None:
            raise self._failure
        if self._listener is None:
            raise LogError("poll before subscribe: the consumer does not know what to read")
        if not self._group.held and self._group.take():
            try:
                self._assign(self._listener)
            except BaseException:
                self._group.release()
                raise
        return self._group.held

    def _assign(self, listener: Listener) -> None:
        slots = [
            Slot(topic.file.topic, partition)
            for topic in self._topics
            for partition in range(topic.file.partitions)
        ]
        positions = self._group.positions(slots)
        starts = listener.assigned(positions)
        places: dict[Slot, _Place] = {}
        for slot, position in positions.items():
            span = self.span(slot)
            start = starts.get(slot, span.first if position is None else position.offset)
            if not span.first <= start <= span.end:
                start = self._out_of_range(slot, start, span)
            places[slot] = _Place(start)
        fresh = {
            slot: Position(places[slot].position)
            for slot, position in positions.items()
            if position is None
        }
        self._places = places
        self.commit(fresh)

    def _out_of_range(self, slot: Slot, offset: int, span: Span) -> int:
        what = (
            f"{self._group.name} stands at {offset} in {slot.topic}[{slot.partition}], "
            f"which holds {span.first} to {span.end}"
        )
        if self._policy is OutOfRange.FAIL:
            self._failure = OutOfRangeError(
                f"{what}: the records in between are gone by retention, or the topic was made "
                "anew. To accept the loss start with on_out_of_range earliest or latest."
            )
            raise self._failure
        _log.warning("%s: going on from the %s record", what, self._policy)
        return span.first if self._policy is OutOfRange.EARLIEST else span.end

    def _read(self, limit: int) -> list[Record]:
        for topic in self._topics:
            if topic.changed():
                for slot, place in self._places.items():
                    if slot.topic == topic.file.topic:
                        place.behind = True
        waiting = [
            (slot, place)
            for slot, place in self._places.items()
            if not place.paused and (place.behind or place.ahead)
        ]
        records: list[Record] = []
        self._turn += 1
        for index in range(len(waiting)):
            slot, place = waiting[(index + self._turn) % len(waiting)]
            if not place.ahead:
                self._fill(slot, place, limit)
            records += place.take(limit - len(records))
            if len(records) == limit:
                break
        return records

    def _fill(self, slot: Slot, place: _Place, limit: int) -> None:
        file = self._file(slot)
        place.ahead = file.read(slot.partition, place.position, limit)
        place.behind = bool(place.ahead)
        if place.ahead and place.ahead[0].offset > place.position:
            span = file.span(slot.partition)
            if place.position < span.first:
                place.move(self._out_of_range(slot, place.position, span))
                place.ahead = file.read(slot.partition, place.position, limit)

    def _place(self, slot: Slot) -> _Place:
        place = self._places.get(slot)
        if place is None:
            raise LogError(f"{slot.topic}[{slot.partition}] is not assigned to this consumer")
        return place

    def _file(self, slot: Slot) -> TopicFile:
        for topic in self._topics:
            if topic.file.topic == slot.topic:
                return topic.file
        raise LogError(f"{self._group.name} is not subscribed to {slot.topic}")


class _Topic:
    """A topic, its pulse and the version of its file at the last look."""

    __slots__ = ("_ask_at", "_beat", "_seen", "file")

    def __init__(self, file: TopicFile) -> None:
        self.file = file
        self._beat = b""
        self._ask_at = 0.0
        self._seen = -1

    def changed(self) -> bool:
        beat, now = self.file.pulse.last(), time.monotonic()
        if beat == self._beat and now < self._ask_at:
            return False
        self._beat, self._ask_at = beat, now + _ASK_ANYHOW
        version = self.file.version()
        if version == self._seen:
            return False
        self._seen = version
        return True


class _Place:
    """Where a partition is read, and what was read ahead of it."""

    __slots__ = ("ahead", "behind", "paused", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self.ahead: list[Record] = []
        self.behind = True  # there may be records that were not read ahead
        self.paused = False

    def take(self, limit: int) -> list[Record]:
        if len(self.ahead) <= limit:
            taken, self.ahead = self.ahead, []
        else:
            taken, self.ahead = self.ahead[:limit], self.ahead[limit:]
        if taken:
            self.position = taken[-1].offset + 1
        return taken

    def move(self, offset: int) -> None:
        self.position = offset
        self.ahead = []
        self.behind = True
