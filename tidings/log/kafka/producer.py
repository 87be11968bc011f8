"""Appends to Kafka: idempotent, confirmed by all replicas in sync, in order per partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as Client

from tidings.log.kafka.client import Settings, common, librdkafka_log, producers
from tidings.log.partitioner import KAFKA_PARTITIONER
from tidings.log.port import Ack, Append, LogError

_LARGEST = 32 * 1024 * 1024  # bytes; what decides is the topic's own limit
_QUEUE_FULL_WAIT = 0.1  # seconds
# What a topic will never take, whoever tries again.
_REFUSED = frozenset(
    {
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
    }
)


class KafkaProducer:
    """librdkafka's producer.

    It tries for 5 min to have a record confirmed before it acks it with an error: a LogError where
    the record did not even leave, or its topic refuses it for good; else librdkafka's. An ack may
    also come from ``append``, when the queue is full.
    """

    def __init__(self, brokers: str, settings: Settings, *, linger_ms: int) -> None:
        self._client = Client(
            {
                **common(brokers),
                "linger.ms": linger_ms,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": 131_072,
                **producers(settings),
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": KAFKA_PARTITIONER,
                "delivery.timeout.ms": 300_000,
                "message.max.bytes": _LARGEST,
            },
            logger=librdkafka_log(),
        )
        self._refused: deque[tuple[Ack, LogError]] = deque()

    def append(self, records: Sequence[Append], ack: Ack) -> None:
        """Hands records over; waits only while librdkafka's queue is full."""
        produce = self._client.produce
        told = _told(ack)
        for record in records:
            try:
                if record.headers:
                    headers: list[Any] = list(record.headers)
                    produce(
                        record.topic,
                        record.value,
                        record.key,
                        record.partition,
                        told,
                        headers=headers,
                    )
                else:
                    produce(record.topic, record.value, record.key, record.partition, told)
            except BufferError:
                self._wait_for_room(record, ack)
            except KafkaException as error:
                self._refuse(record.topic, ack, error)

    def _wait_for_room(self, record: Append, ack: Ack) -> None:
        while True:
            self._client.poll(_QUEUE_FULL_WAIT)
            try:
                self._client.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    _told(ack),
                    headers=list(record.headers),
                )
            except BufferError:
                continue
            except KafkaException as error:
                self._refuse(record.topic, ack, error)
            return

    def _refuse(self, topic: str, ack: Ack, raised: KafkaException) -> None:
        error = raised.args[0]
        said = f"{error.str()} ({error.name()})"
        if error.fatal():
            raise LogError(f"the producer can't go on: {said}") from raised
        self._refused.append((ack, LogError(f"a record was not written to {topic}: {said}")))

    def poll(self) -> None:
        """Serves acks that are due."""
        self._client.poll(0)
        if self._refused:
            self._serve_refused()

    def _serve_refused(self) -> None:
        while self._refused:
            ack, error = self._refused.popleft()
            ack(error, None)

    def flush(self, timeout: float) -> bool:
        """Sends at once what lingers, and serves acks until none is open or the time is over."""
        left = self._client.flush(timeout)
        self._serve_refused()
        return left == 0

    def close(self) -> None:
        """Flushes for up to 5 s."""
        self.flush(5.0)


def _told(ack: Ack) -> Ack:
    """``ack`` as librdkafka calls it; of what a topic refuses for good it gets the port's error."""

    def told(error: Any, message: Any) -> None:
        if error is not None and error.code() in _REFUSED:
            said = f"{error.str()} ({error.name()})"
            error = LogError(f"a record was not written to {message.topic()}: {said}")
        ack(error, message)

    return told
