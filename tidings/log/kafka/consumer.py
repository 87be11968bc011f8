"""A member of a Kafka consumer group: librdkafka's consumer, with its traps closed.

- The pause flag of a partition survives revocation, loss and a new assignment: it is cleared.
- ``consume(n, timeout)`` waits its whole time-out: a single poll waits in its place.
- An exception in a rebalance callback makes librdkafka assign by itself: none leaves a callback,
  ``poll`` raises it.
- What was fetched before a rebalance in the same poll may belong to a partition that is gone.
- Commits that fail during a rebalance say nothing (``commits``), pauses are dear (``pauses``).
- A member that stood still for longer than its session joins anew by itself, and so takes its name
  from the process that took it meanwhile: it asks whose the name is now, and ends.
- A broker that dies may come back with the member that a name stood for before, and fences the one
  that has it now, as if there were a second process: the member joins anew, once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tidings.log.kafka.client import (
    ANSWER,
    INSTANCE,
    REPLACED,
    Settings,
    ask,
    holder_of,
    is_fenced,
    is_final,
    librdkafka_log,
    member_settings,
    records_of,
    slot_of,
    span_of,
    told,
)
from tidings.log.kafka.commits import Commits
from tidings.log.kafka.pauses import Pauses
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

_log = logging.getLogger(__name__)

OUTAGE = 60.0  # seconds after the last word of a broker that is away in which it may fence wrongly
_AWAY = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})


class KafkaConsumer:
    """A subscribed group member; see the port for what its methods promise."""

    def __init__(
        self, brokers: str, group: str, settings: Settings, on_out_of_range: OutOfRange
    ) -> None:
        self._group = group
        self._policy = on_out_of_range
        self._brokers, self._given = brokers, settings
        self._settings = {
            **member_settings(brokers, group, settings),
            "on_commit": self._on_commit,
            "error_cb": self._on_error,
        }
        self._name = settings.get(INSTANCE, "")
        self._member = ""  # what the broker called us when we joined the last time
        self._session = int(self._settings.get("session.timeout.ms", 0)) / 1_000
        self._polled_at = time.monotonic()
        self._stood_at = -OUTAGE  # nothing was polled for longer than a session
        self._topics: Sequence[str] = ()
        self._listener: Listener | None = None
        self._held: set[Slot] = set()
        self._away_at = self._back_at = -OUTAGE  # a broker was away; we joined anew
        self._fenced = False
        # Given up in the poll that runs, and where it starts if it was assigned again in the same.
        self._left: dict[Slot, int | None] = {}
        self._connect()
        self._pauses = Pauses(
            self._held,
            stop=lambda slots: self._client.pause(_partitions(slots)),
            go=lambda slots: self._client.resume(_partitions(slots)),
        )
        self._failure: BaseException | None = None
        self._closed = False

    def _connect(self) -> None:
        self._client = Client(self._settings, logger=librdkafka_log())
        self._commits = Commits(self._client, self._group, self._held)

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Joins the group, connected beforehand so that the first records come at once.

        Raises LogError for a topic that does not exist, or where no broker answers in 30 s.
        """
        for topic in topics:
            self._warm(topic)
        self._topics, self._listener = topics, listener
        self._join()

    def _join(self) -> None:
        self._client.subscribe(
            list(self._topics),
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
        if self._failure is not None:
            raise self._failure
        if self._listener is None:
            raise LogError("poll before subscribe: the consumer does not know what to read")
        now = time.monotonic()
        if now - self._polled_at > self._session:
            self._stood_at = now
        self._polled_at = now
        self._commits.retry()
        self._left.clear()
        due = self._pauses.due(limit)
        messages = self._fetch(limit - len(due), 0.0 if due else timeout)
        records = records_of(messages)
        if len(records) < len(messages):
            with self._guarded():
                for message in messages:
                    self._judge(message)
        if self._failure is not None:
            raise self._failure
        if self._fenced:
            self._join_anew()
            return []
        if due:
            records = due + records
        if self._left:
            records = self._without_left(records)
        return self._pauses.sift(records) if self._pauses else records

    def _fetch(self, limit: int, timeout: float) -> list[Message]:
        if self._pauses.all:
            limit = min(limit, 1)
            if timeout > 0:
                self._pauses.settle()
        if limit <= 0:
            return []
        messages = self._client.consume(limit, 0)
        if not messages and timeout > 0 and self._failure is None:
            first = self._client.poll(timeout)
            if first is not None:
                messages = [first, *self._client.consume(limit - 1, 0)] if limit > 1 else [first]
        return messages

    def _without_left(self, records: list[Record]) -> list[Record]:
        for slot, start in self._left.items():
            if start is not None:
                self.seek(slot, start)
        return [r for r in records if Slot(r.topic, r.partition) not in self._left]

    def _judge(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            slot = Slot(message.topic() or "", message.partition() or 0)
            if slot in self._held:
                self._jump(slot, message.offset() or 0)
        elif is_fenced(error) and self._after_an_outage():
            self._fenced = True
        elif is_final(error):
            raise LogError(f"{self._group} can't read on: Kafka says {told(error)}")
        else:
            librdkafka_log().warning("%s: %s", error.name(), error.str())

    def _after_an_outage(self) -> bool:
        """Whether a broker was away a moment ago, and we have not joined anew for that."""
        return time.monotonic() - self._away_at < OUTAGE < time.monotonic() - self._back_at

    def _join_anew(self) -> None:
        """The broker's mistake, or a second process: that one will be told, or we the next time."""
        _log.warning("%s: fenced after a broker was away, joining anew", self._group)
        assert self._listener is not None
        self._fenced, self._back_at = False, time.monotonic()
        held = [*self._held]
        if held:
            self._listener.lost(held)
        self._held.clear()
        self._pauses.drop(held)
        self._left.clear()
        self._client.close()
        self._connect()
        self._join()

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
            raise OutOfRangeError(
                f"{what}: the records in between are gone by retention, or the topic was made "
                "anew. To accept the loss start with on_out_of_range earliest or latest."
            )
        _log.warning("%s: going on from the %s record", what, self._policy)
        return span.first if self._policy is OutOfRange.EARLIEST else span.end

    def assignment(self) -> frozenset[Slot]:
        """The partitions held now."""
        return frozenset(self._held)

    def pause(self, slots: Sequence[Slot]) -> None:
        """Reads no more of ``slots`` until resumed."""
        self._demand(slots)
        self._pauses.pause(slots)

    def resume(self, slots: Sequence[Slot]) -> None:
        """Reads ``slots`` again."""
        self._demand(slots)
        self._pauses.resume(slots)

    def seek(self, slot: Slot, offset: int) -> None:
        """Reads on from ``offset``."""
        self._demand([slot])
        self._pauses.forget([slot])
        place = [TopicPartition(*slot, offset)]
        try:
            self._client.seek(place[0])
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise LogError(f"{slot} can't be read from {offset}: {error.args[0]}") from error
            # It is not being read: only just assigned, or stopped because it was out of range.
            self._client.incremental_unassign(place)
            self._client.incremental_assign(place)

    def _demand(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot not in self._held:
                raise LogError(f"{slot.topic}[{slot.partition}] is not assigned to this consumer")

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        """Saves positions of partitions that are held."""
        self._commits.save(positions, wait=wait)

    def committed(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The group's saved positions."""
        return self._commits.saved(slots)

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

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _AWAY:
            self._away_at = time.monotonic()
        librdkafka_log().warning("%s: %s", error.name(), error.str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._commits.answered(error, partitions)

    def _on_assign(self, client: Client, partitions: list[TopicPartition]) -> None:
        if self._closed:
            return
        with self._guarded():
            self._member = client.memberid() or ""
            slots = [slot_of(partition) for partition in partitions]
            positions = self.committed(slots)
            starts = self._starts(positions)
            client.incremental_assign([TopicPartition(*slot, at) for slot, at in starts.items()])
            client.resume(partitions)
            self._held.update(slots)
            self._left.update((slot, starts[slot]) for slot in slots if slot in self._left)
            self.commit({s: Position(starts[s]) for s in slots if positions[s] is None})

    def _is_replaced(self) -> bool:
        """Whether another process took our name while we stood still; False where that can't be
        told. While a broker is away nobody can take it, and nobody can be asked."""
        stood_still = time.monotonic() - self._stood_at < OUTAGE
        if not (self._name and self._member and stood_still):
            return False
        holder = holder_of(self._name, self._brokers, self._group, self._given)
        return holder not in ("", self._member)

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
        with self._guarded():
            if self._is_replaced():
                with suppress(KafkaException):  # or it has been told so meanwhile, and is final
                    client.unsubscribe()  # else it joins anew, and the other one is told to end
                raise LogError(f"{self._group} was away for longer than its session: {REPLACED}")
        self._give_up(client, partitions, lambda listener: listener.lost)

    def _give_up(
        self,
        client: Client,
        partitions: list[TopicPartition],
        tell: Callable[[Listener], Callable[[Sequence[Slot]], None]],
    ) -> None:
        slots = [slot for slot in map(slot_of, partitions) if slot in self._held]
        if slots and self._listener is not None:
            with self._guarded():
                tell(self._listener)(slots)
        with self._guarded():
            client.incremental_unassign(partitions)
        self._held.difference_update(slots)
        self._commits.drop(slots)
        self._pauses.drop(slots)
        self._left.update(dict.fromkeys(slots))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # noqa: BLE001  poll raises it
            self._failure = self._failure or error


def _partitions(slots: Iterable[Slot]) -> list[TopicPartition]:
    return [TopicPartition(*slot) for slot in slots]
