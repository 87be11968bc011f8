"""Kafka's topics: how they are, and making them as they are to be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from tidings.log.kafka.client import (
    ANSWER,
    PATIENCE,
    Settings,
    ask,
    common,
    librdkafka_log,
    producers,
)
from tidings.log.port import LogError, TopicSettings

# A restore reads the whole of a state topic: small segments that are cleaned soon keep it short.
_COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "60000",
    "segment.bytes": str(32 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "300000",
}
_LOOK = 0.05  # seconds between two looks at a topic that is being made


class KafkaAdmin:
    """Looks at topics, makes them, alters them."""

    def __init__(self, brokers: str, settings: Settings) -> None:
        self._brokers = brokers
        self._client = AdminClient(
            {**common(brokers), **producers(settings)}, logger=librdkafka_log()
        )

    def topics(self) -> dict[str, TopicSettings]:
        """All topics with their settings, Kafka's own (`__…`) excepted."""
        what = f"the topics of {self._brokers} can't be listed"
        listed = ask(lambda: self._client.list_topics(timeout=ANSWER), what)
        found = {
            name: topic
            for name, topic in sorted(listed.topics.items())
            if not name.startswith("__") and topic.error is None
        }
        configs = self._configs(list(found))
        return {
            name: _settings(name, list(topic.partitions.values()), configs[name])
            for name, topic in found.items()
            if name in configs
        }

    def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, ConfigEntry]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._client.describe_configs(resources, request_timeout=PATIENCE)
        configs: dict[str, Mapping[str, ConfigEntry]] = {}
        for resource, answer in answers.items():
            try:
                configs[resource.name] = answer.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # just deleted
                    raise LogError(
                        f"the settings of {resource.name} can't be read: {error}"
                    ) from error
        return configs

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Makes topics and waits until each partition has a leader.

        Raises LogError for those that could not be made; the others were.
        """
        if not topics:
            return
        answers = self._client.create_topics(
            [_new(topic) for topic in topics], operation_timeout=PATIENCE, request_timeout=PATIENCE
        )
        wrong = [line for name, answer in answers.items() if (line := _complaint(name, answer))]
        if wrong:
            raise LogError("\n".join(wrong))
        deadline = time.monotonic() + PATIENCE
        for topic in topics:
            while not self._has_leaders(topic):
                if time.monotonic() > deadline:
                    raise LogError(f"{topic.name} was made, but its partitions have no leader yet")
                time.sleep(_LOOK)

    def _has_leaders(self, topic: TopicSettings) -> bool:
        listed = ask(
            lambda: self._client.list_topics(topic.name, timeout=ANSWER),
            f"{topic.name} can't be looked at",
        )
        partitions = listed.topics[topic.name].partitions.values()
        return len(partitions) == topic.partitions and all(p.leader >= 0 for p in partitions)

    def alter(self, topic: TopicSettings) -> None:
        """Brings retention and record size of an existing topic to ``topic``'s."""
        resource = ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in _alterable(topic).items()
            ],
        )
        [answer] = self._client.incremental_alter_configs(
            [resource], request_timeout=PATIENCE
        ).values()
        try:
            answer.result()
        except KafkaException as raised:
            error = raised.args[0]
            raise LogError(f"{topic.name} can't be altered: {error.str()}") from raised

    def close(self) -> None:
        """librdkafka lets go when the object goes."""


def _alterable(topic: TopicSettings) -> dict[str, str]:
    return {
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(topic.max_record_bytes),
    }


def _new(topic: TopicSettings) -> NewTopic:
    config = {"message.timestamp.type": "LogAppendTime", **_alterable(topic)}
    if topic.compacted:
        config |= _COMPACTED
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication,
        config=config,
    )


def _complaint(name: str, answer: Future[None]) -> str:
    try:
        answer.result()
    except KafkaException as raised:
        error = raised.args[0]
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return f"the topic {name} exists already"
        return f"the topic {name} can't be made: {error.str()} ({error.name()})"
    return ""


def _settings(
    name: str, partitions: Sequence[Any], config: Mapping[str, ConfigEntry]
) -> TopicSettings:
    values = {key: entry.value or "" for key, entry in config.items()}
    return TopicSettings(
        name=name,
        partitions=len(partitions),
        replication=len(partitions[0].replicas),
        retention_ms=int(values["retention.ms"]),
        compacted="compact" in values["cleanup.policy"],
        max_record_bytes=int(values["max.message.bytes"]),
    )
