"""Reads whole partitions of Kafka, outside any group: to restore state, to tail, to look."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, Message, TopicPartition

from tidings.log.kafka.client import (
    PATIENCE,
    Settings,
    common,
    consumers,
    is_final,
    librdkafka_log,
    records_of,
    span_of,
)
from tidings.log.port import LogError, Record, Slot, Span

_BLOCK = 1_000  # records
_LOOK = 0.5  # seconds in which a signal goes unheard


class KafkaReader:
    """One librdkafka consumer, assigned to a partition by hand for each read; connected once."""

    def __init__(self, brokers: str, settings: Settings) -> None:
        self._client = Client(
            {
                **common(brokers),
                "fetch.queue.backoff.ms": 2,
                "fetch.wait.max.ms": 10,  # the next read waits for the fetch on the road
                "fetch.message.max.bytes": 8 * 1024 * 1024,
                "queued.max.messages.kbytes": 32_768,
                "allow.auto.create.topics": False,
                **consumers(settings),
                "group.id": "tidings-reader",  # demanded, and never used
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            },
            logger=librdkafka_log(),
        )

    def read(self, slot: Slot, first: int, end: int) -> Iterator[list[Record]]:
        """The records from ``first`` up to, not including, ``end``; in batches.

        The end of the partition is where librdkafka's position says: the last offsets may belong
        to no record. Raises LogError where the broker gives nothing for 30 s.
        """
        if first >= end:
            return
        self._client.assign([TopicPartition(slot.topic, slot.partition, first)])
        try:
            reached = False
            while not reached:
                records, reached = self._block(slot, end)
                if records:
                    yield records
        finally:
            self._client.unassign()

    def _block(self, slot: Slot, end: int) -> tuple[list[Record], bool]:
        messages = [self._wait(slot), *self._client.consume(_BLOCK, 0)]
        records = records_of(messages)
        reached = False
        if len(records) < len(messages):
            for message in messages:
                error = message.error()
                if error is None:
                    continue
                if error.code() == KafkaError._PARTITION_EOF:
                    reached = reached or (message.offset() or 0) >= end
                elif is_final(error):
                    raise LogError(f"{slot.topic}[{slot.partition}] can't be read: {error.str()}")
        if records and records[-1].offset >= end - 1:
            return [record for record in records if record.offset < end], True
        return records, reached

    def _wait(self, slot: Slot) -> Message:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self._client.poll(_LOOK)
            if message is not None:
                return message
        raise LogError(f"{slot.topic}[{slot.partition}]: no record came in {PATIENCE:g} s")

    def span(self, slot: Slot) -> Span:
        """What the partition holds now."""
        return span_of(self._client, slot)

    def close(self) -> None:
        """Lets go of the connection."""
        self._client.close()
