"""The log as a port: what intake, flow and lane need of Kafka, and of SQLite in its place.

    Consumer   a member of a group: ordered records per partition, positions with metadata
    Producer   keyed append with confirmation
    Reader     the whole of one partition, outside any group (to restore state, to tail)
    Admin      topics and their settings

Both adapters are held to one contract suite, ``tests/contract/test_log.py``. Nothing here reads a
clock for a decision: a record's ``time`` is the log's append time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

Headers = tuple[tuple[str, bytes], ...]

METADATA_LIMIT = 4096  # bytes of metadata in a commit: Kafka's `offset.metadata.max.bytes`


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it was read. ``time`` is the append time in epoch ms."""

    topic: str
    partition: int
    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Append(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One record to write. ``partition`` -1 lets the key decide (murmur2, as the Java client)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int = -1


class Slot(NamedTuple):
    """A topic's partition."""

    topic: str
    partition: int


class Position(NamedTuple):
    """A group's place in a partition: the next offset to read and metadata up to METADATA_LIMIT."""

    offset: int
    metadata: str = ""


class Span(NamedTuple):
    """What a partition holds: its first offset and the one after its last."""

    first: int
    end: int


class OutOfRange(StrEnum):
    """What to do when a group's position no longer exists in the log."""

    FAIL = "fail"
    EARLIEST = "earliest"
    LATEST = "latest"


class LogError(Exception):
    """The log refused or lost something; the message says what and the likely fix."""


class OutOfRangeError(LogError):
    """A position lies outside what the partition still holds; nothing was skipped."""


# Called once for each appended record: with None when the log has confirmed it, or with the error.
# The second argument belongs to the adapter and is to be ignored.
Ack = Callable[[object | None, object], None]


class Listener(Protocol):
    """Told of rebalances, always from inside ``Consumer.poll`` or ``Consumer.close``."""

    def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
        """Take partitions over; gives the offsets to start from for those that shall not start at
        their position (a partition with no position and none given starts at its first record).
        """
        ...

    def revoked(self, slots: Sequence[Slot]) -> None:
        """Give partitions up in order: the last chance to flush and to commit them."""
        ...

    def lost(self, slots: Sequence[Slot]) -> None:
        """Partitions are gone already: drop what is held of them, commit nothing."""
        ...


class Consumer(Protocol):
    """A member of a consumer group, subscribed to some topics. Not thread-safe."""

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Join the group. The first poll after it may serve the first assignment."""
        ...

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """Up to ``limit`` records, ordered per partition, after at most ``timeout`` seconds.

        Returns as soon as something is there. Raises OutOfRangeError under the policy FAIL, and
        LogError for what can't be repaired by waiting.
        """
        ...

    def assignment(self) -> frozenset[Slot]:
        """The partitions held now."""
        ...

    def pause(self, slots: Sequence[Slot]) -> None:
        """Read no more of these until resumed; the flag does not survive a rebalance."""
        ...

    def resume(self, slots: Sequence[Slot]) -> None:
        """Read these again."""
        ...

    def seek(self, slot: Slot, offset: int) -> None:
        """Read on from ``offset``; records of this slot that were read ahead are dropped."""
        ...

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        """Save the group's positions of partitions that are held.

        With ``wait`` raises LogError where they were not saved. Without it failures during a
        rebalance are retried, and what is no longer held is dropped.
        """
        ...

    def committed(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The group's saved positions."""
        ...

    def span(self, slot: Slot) -> Span:
        """What the partition holds now."""
        ...

    def close(self) -> None:
        """Leave the group (``revoked`` is called for what is held) and let go of everything."""
        ...


class Producer(Protocol):
    """Appends with confirmation, in order per partition, no duplicates from its own retries."""

    def append(self, records: Sequence[Append], ack: Ack) -> None:
        """Hand records over; ``ack`` is called for each, later, from ``poll`` or ``flush``.

        A record that can never be written (larger than the topic takes) is acked with a LogError.
        """
        ...

    def poll(self) -> None:
        """Serve acks that are due; never waits."""
        ...

    def flush(self, timeout: float) -> bool:
        """Serve acks until none is open, or ``timeout`` seconds have passed; tells if none is."""
        ...

    def close(self) -> None:
        """Flush shortly and let go."""
        ...


class Reader(Protocol):
    """Reads partitions from any offset without a group."""

    def read(self, slot: Slot, first: int, end: int) -> Iterator[list[Record]]:
        """The records of ``slot`` from ``first`` up to, not including, ``end``; in batches.

        Offsets may have gaps. Ends when the position reaches ``end``.
        """
        ...

    def span(self, slot: Slot) -> Span:
        """What the partition holds now."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic is to be. ``retention_ms`` -1 keeps for ever."""

    name: str
    partitions: int
    replication: int = 1
    retention_ms: int = 7 * 86_400_000
    compacted: bool = False
    max_record_bytes: int = 1_048_576


class Admin(Protocol):
    """Looks at topics and makes them."""

    def topics(self) -> dict[str, TopicSettings]:
        """All topics that exist, with their settings as they are."""
        ...

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Make topics. Raises LogError when one can't be made."""
        ...

    def alter(self, topic: TopicSettings) -> None:
        """Bring retention and record size of an existing topic to ``topic``'s; never partitions."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Log(Protocol):
    """One log, by its address: gives out the parts."""

    def consumer(
        self, group: str, *, on_out_of_range: OutOfRange = OutOfRange.FAIL
    ) -> Consumer: ...

    def producer(self, *, linger_ms: int = 2) -> Producer: ...

    def reader(self) -> Reader: ...

    def admin(self) -> Admin: ...
