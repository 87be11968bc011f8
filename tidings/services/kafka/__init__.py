"""A real Apache Kafka on this machine: fetched once by Maven, run by Java, one node."""

from tidings.services.kafka.broker import GroupLag, Kafka

__all__ = ["GroupLag", "Kafka"]
