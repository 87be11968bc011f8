"""The log in Apache Kafka, by librdkafka."""

from tidings.log.kafka.client import INSTANCE
from tidings.log.kafka.log import KafkaLog

__all__ = ["INSTANCE", "KafkaLog"]
