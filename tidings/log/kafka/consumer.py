"""A member of a Kafka consumer group: librdkafka's consumer, with its traps closed.

- The pause flag of a partition survives revocation, loss and a new assignment: it is cleared.
- A commit during a rebalance fails without a word: it is tried again.
- ``consume(n, timeout)`` waits its whole time-out: a single poll waits in its place.
- An exception in a rebalance callback makes librdkafka assign by itself: none leaves a callback,
  ``poll`` raises it.
- What was polled before a rebalance in the same call may belong to a partition that is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tidings.log.kafka.client import (
    ANSWER,
    FENCED,
    Settings,
    ask,
    common,
    consumers,
    is_final,
    librdkafka_log,
    raise_first_error,
    records_of,
    slot_of,
    span_of,
)
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

_COMMIT_RETRY = 0.05  # seconds between two tries to save a position
_log = logging.getLogger(__name__)


def member_settings(brokers: str, group: str, settings: Settings) -> dict[str, Any]:
    """librdkafka's settings for a member of ``group``; those of the address win where that is safe.

    In the protocol `consumer` the session and the way of assigning are the broker's to say.
    """
    merged = {
        **common(brokers),
        "fetch.queue.backoff.ms": 2,  # the default of 1 s caps reading at 30,000 records/s
        "fetch.wait.max.ms": 100,  # a seek or a new partition waits for the fetch on the road
        "fetch.error.backoff.ms": 100,
        "queued.max.messages.kbytes": 16_384,
        "allow.auto.create.topics": False,
        "session.timeout.ms": "6000",
        **consumers(settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
    }
    if merged.get("group.protocol") == "consumer":
        del merged["session.timeout.ms"]
        return merged
    return {
        "heartbeat.interval.ms": int(merged["session.timeout.ms"]) // 4,
        **merged,
        "partition.assignment.strategy": "cooperative-sticky",
    }


class KafkaConsumer:
    """A subscribed group member; see the port for what its methods promise."""

    def __init__(
        self, brokers: str, group: str, settings: Settings, on_out_of_range: OutOfRange
    ) -> None:
        self._group = group
        self._policy = on_out_of_range
        self._client = Client(
            member_settings(brokers, group, settings),
            logger=librdkafka_log(),
            on_commit=self._on_commit,
        )
        self._listener: Listener | None = None
        self._assigned: set[Slot] = set()
        # Given up in the poll that runs, and where it starts if it was assigned again in the same.
        self._left: dict[Slot, int | None] = {}
        self._failure: BaseException | None = None
        self._latest: dict[Slot, Position] = {}  # the last position asked to be saved
        self._unsaved: set[Slot] = set()  # of these saving failed
        self._save_again = 0.0  # when to try it again, monotonic
        self._closed = False

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Joins the group, connected beforehand so that the first records come at once.

        Raises LogError for a topic that does not exist, or where no broker answers in 30 s.
        """
        for topic in topics:
            self._warm(topic)
        self._listener = listener
        self._client.subscribe(
            list(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _warm(self, topic: str) -> None:
        what = f"{self._group} can't look at {topic}"
        found = ask(lambda: self._client.list_topics(topic, ANSWER), what).topics[topic]
        if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise LogError(f"there is no topic {topic}: make it by `tidings topics apply`")
        for partition in {p.leader: p.id for p in found.partitions.values()}.values():
            self.span(Slot(topic, partition))

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """Up to ``limit`` records; serves rebalances and what is left of commits on the way."""
        self._check()
        if self._unsaved and time.monotonic() >= self._save_again:
            self._save()
        self._left.clear()
        messages = self._client.consume(limit, 0)
        if not messages and timeout > 0 and self._failure is None:
            first = self._client.poll(timeout)
            if first is not None:
                messages = [first, *self._client.consume(limit - 1, 0)] if limit > 1 else [first]
        if self._failure is not None:
            self._check()
        records = records_of(messages)
        if len(records) < len(messages):
            for message in messages:
                self._judge(message)
        return self._without_left(records) if self._left else records

    def _without_left(self, records: list[Record]) -> list[Record]:
        for slot, start in self._left.items():
            if start is not None:
                self.seek(slot, start)
        return [r for r in records if Slot(r.topic, r.partition) not in self._left]

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._listener is None:
            raise LogError("poll before subscribe: the consumer does not know what to read")

    def _judge(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            slot = Slot(message.topic() or "", message.partition() or 0)
            if slot in self._assigned:
                self._jump(slot, message.offset() or 0)
        elif is_final(error):
            raise LogError(f"{self._group} can't read on: {error.str()} ({error.name()})")
        else:
            librdkafka_log().warning("%s: %s", error.name(), error.str())

    def _jump(self, slot: Slot, offset: int) -> None:
        self.seek(slot, self._in_range(slot, offset, self.span(slot)))

    def _in_range(self, slot: Slot, offset: int, span: Span) -> int:
        if span.first <= offset <= span.end:
            return offset
        what = (
            f"{self._group} stands at {offset} in {slot.topic}[{slot.partition}], "
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

    def assignment(self) -> frozenset[Slot]:
        """The partitions held now."""
        return frozenset(self._assigned)

    def pause(self, slots: Sequence[Slot]) -> None:
        """Reads no more of ``slots`` until resumed."""
        self._client.pause(self._partitions(slots))

    def resume(self, slots: Sequence[Slot]) -> None:
        """Reads ``slots`` again."""
        self._client.resume(self._partitions(slots))

    def seek(self, slot: Slot, offset: int) -> None:
        """Reads on from ``offset``."""
        [partition] = self._partitions([slot])
        partition.offset = offset
        try:
            self._client.seek(partition)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise LogError(f"{slot} can't be read from {offset}: {error.args[0]}") from error
            # It is not being read: only just assigned, or stopped because it was out of range.
            self._client.incremental_unassign([partition])
            self._client.incremental_assign([partition])

    def _partitions(self, slots: Sequence[Slot]) -> list[TopicPartition]:
        for slot in slots:
            if slot not in self._assigned:
                raise LogError(f"{slot.topic}[{slot.partition}] is not assigned to this consumer")
        return [TopicPartition(*slot) for slot in slots]

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        """Saves positions of partitions that are held.

        With ``wait`` raises LogError where they were not saved, also because the group has moved
        on without this process. Without it, what failed is tried again by the next polls, as long
        as the partition is held.
        """
        held = {slot: position for slot, position in positions.items() if slot in self._assigned}
        if wait and len(held) < len(positions):
            others = ", ".join(f"{s.topic}[{s.partition}]" for s in positions if s not in held)
            raise LogError(f"{self._group}'s position was not saved: {others} is not held here")
        for slot, position in held.items():
            if len(position.metadata.encode()) > METADATA_LIMIT:
                raise LogError(f"the metadata of {slot} is longer than {METADATA_LIMIT} bytes")
        if not held:
            return
        self._latest.update(held)
        self._unsaved.difference_update(held)
        partitions = [TopicPartition(*slot, *position) for slot, position in held.items()]
        if wait:
            ask(
                lambda: raise_first_error(
                    self._client.commit(offsets=partitions, asynchronous=False)
                ),
                f"{self._group}'s position was not saved",
                FENCED,
            )
        else:
            self._commit(partitions)

    def _commit(self, partitions: list[TopicPartition]) -> None:
        try:
            self._client.commit(offsets=partitions, asynchronous=True)
        except KafkaException as error:
            self._on_commit(error.args[0], partitions)

    def _on_commit(self, failed: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            error = failed or partition.error
            slot = slot_of(partition)
            if error is None or slot not in self._assigned:
                continue
            _log.debug("the position of %s was not saved, again soon: %s", slot, error)
            self._unsaved.add(slot)
            self._save_again = time.monotonic() + _COMMIT_RETRY

    def _save(self) -> None:
        partitions = [TopicPartition(*slot, *self._latest[slot]) for slot in self._unsaved]
        self._unsaved.clear()
        self._commit(partitions)

    def committed(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The group's saved positions."""

        def question() -> list[TopicPartition]:
            found = self._client.committed([TopicPartition(*slot) for slot in slots], ANSWER)
            raise_first_error(found)
            return found

        answer = ask(question, f"{self._group}'s positions can't be read")
        return {
            slot_of(found): Position(found.offset, found.metadata or "")
            if found.offset >= 0
            else None
            for found in answer
        }

    def span(self, slot: Slot) -> Span:
        """What the partition holds now."""
        return span_of(self._client, slot)

    def close(self) -> None:
        """Gives partitions up, leaves the group, and lets go; raises what the listener raised."""
        if self._closed:
            return
        self._closed = True
        before, self._failure = self._failure, None
        self._client.close()
        failure, self._failure = self._failure, before or self._failure
        if failure is not None:
            raise failure

    # librdkafka calls these from inside a poll, and no exception may leave them.

    def _on_assign(self, client: Client, partitions: list[TopicPartition]) -> None:
        if self._closed:
            return
        with self._kept():
            slots = [slot_of(partition) for partition in partitions]
            positions = self.committed(slots)
            starts = self._starts(positions)
            client.incremental_assign([TopicPartition(*slot, at) for slot, at in starts.items()])
            client.resume(partitions)
            self._assigned.update(slots)
            self._left.update((slot, starts[slot]) for slot in slots if slot in self._left)
            self.commit({s: Position(starts[s]) for s in slots if positions[s] is None})

    def _starts(self, positions: Mapping[Slot, Position | None]) -> dict[Slot, int]:
        assert self._listener is not None
        chosen = self._listener.assigned(positions)
        starts: dict[Slot, int] = {}
        for slot, position in positions.items():
            span = self.span(slot)
            start = chosen.get(slot, span.first if position is None else position.offset)
            starts[slot] = self._in_range(slot, start, span)
        return starts

    def _on_revoke(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._give_up(client, partitions, lambda listener: listener.revoked)

    def _on_lost(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._give_up(client, partitions, lambda listener: listener.lost)

    def _give_up(
        self,
        client: Client,
        partitions: list[TopicPartition],
        tell: Callable[[Listener], Callable[[Sequence[Slot]], None]],
    ) -> None:
        slots = [slot for slot in map(slot_of, partitions) if slot in self._assigned]
        if slots and self._listener is not None:
            with self._kept():
                tell(self._listener)(slots)
        with self._kept():
            client.incremental_unassign(partitions)
        self._assigned.difference_update(slots)
        self._unsaved.difference_update(slots)
        for slot in slots:
            self._left[slot] = None
            self._latest.pop(slot, None)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # noqa: BLE001  poll raises it
            self._failure = self._failure or error
