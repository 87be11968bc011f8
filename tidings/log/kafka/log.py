"""The Kafka log's parts, by the address of its brokers."""

from __future__ import annotations

from tidings.log.kafka.admin import KafkaAdmin
from tidings.log.kafka.client import INSTANCE, Settings
from tidings.log.kafka.consumer import KafkaConsumer
from tidings.log.kafka.producer import KafkaProducer
from tidings.log.kafka.reader import KafkaReader
from tidings.log.port import LogError, OutOfRange


class KafkaLog:
    """A log on ``brokers`` ("host:port,host:port"); ``settings`` are librdkafka's.

    Settings of consumers are given to consumers alone, so one address serves all parts. Raises
    LogError for two that don't go together.
    """

    def __init__(self, brokers: str, settings: Settings) -> None:
        if settings.get(INSTANCE) and settings.get("group.protocol") == "consumer":
            # The broker refuses the restart of a killed one (UNRELEASED_INSTANCE_ID), and it idles.
            raise LogError(
                "with group.protocol=consumer a process can't have an instance name: leave out one"
            )
        self.brokers = brokers
        self.settings = dict(settings)

    def consumer(
        self, group: str, *, on_out_of_range: OutOfRange = OutOfRange.FAIL
    ) -> KafkaConsumer:
        """A member of ``group``."""
        return KafkaConsumer(self.brokers, group, self.settings, on_out_of_range)

    def producer(self, *, linger_ms: int = 2) -> KafkaProducer:
        """A producer that gathers for ``linger_ms``."""
        return KafkaProducer(self.brokers, self.settings, linger_ms=linger_ms)

    def reader(self) -> KafkaReader:
        """A reader of whole partitions."""
        return KafkaReader(self.brokers, self.settings)

    def admin(self) -> KafkaAdmin:
        """Looks at topics and makes them."""
        return KafkaAdmin(self.brokers, self.settings)
