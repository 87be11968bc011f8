from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import NewTopic

from tests.conftest import MakeTopic
from tidings.services.kafka import Kafka, jars
from tidings.services.kafka.broker import GroupLag
from tidings.services.process import ServiceError


def write(kafka: Kafka, topic: str, *values: bytes, **settings: object) -> None:
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, **settings}
    )
    refused: list[KafkaError] = []

    def confirmed(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error)

    for value in values:
        producer.produce(topic, value, on_delivery=confirmed)
    assert producer.flush(30) == 0
    assert refused == []


def read(kafka: Kafka, topic: str, count: int, **settings: object) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"reads-{topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **settings,
        }
    )
    consumer.subscribe([topic])
    messages: list[Message] = []
    while len(messages) < count:
        messages += consumer.consume(count - len(messages), timeout=1)
    consumer.commit(asynchronous=False)
    consumer.close()
    return messages


def test_a_record_written_is_read_back_with_its_append_time(kafka: Kafka, topic: MakeTopic) -> None:
    events = topic()
    write(kafka, events, b"one", b"two")
    messages = read(kafka, events, 2)
    assert [message.value() for message in messages] == [b"one", b"two"]
    assert messages[0].timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME


def test_both_group_protocols_work_with_short_sessions(kafka: Kafka, topic: MakeTopic) -> None:
    events = topic()
    write(kafka, events, b"one")
    classic = read(kafka, events, 1, **{"group.id": "old", "session.timeout.ms": 3000})
    consumer = read(kafka, events, 1, **{"group.id": "new", "group.protocol": "consumer"})
    assert [message.value() for message in classic + consumer] == [b"one", b"one"]


def test_the_group_tool_tells_what_is_committed_and_what_lags(
    kafka: Kafka, topic: MakeTopic
) -> None:
    events = topic()
    write(kafka, events, b"one", b"two")
    read(kafka, events, 2, **{"group.id": "lagging"})
    write(kafka, events, b"three")
    assert kafka.describe_group("lagging") == [
        GroupLag(topic=events, partition=0, current=2, end=3, lag=1, consumer=None)
    ]


def test_a_topic_may_take_a_dead_letter_of_16_mib(kafka: Kafka, topic: MakeTopic) -> None:
    size = 16 * 2**20
    letters = topic(config={"max.message.bytes": size + 4096})
    write(kafka, letters, b"x" * size, **{"message.max.bytes": size + 4096})
    [message] = read(kafka, letters, 1, **{"fetch.message.max.bytes": size + 4096})
    assert len(message.value() or b"") == size


def test_no_topic_is_made_by_writing_to_it(kafka: Kafka) -> None:
    with pytest.raises(AssertionError, match="UNKNOWN_TOPIC"):
        write(kafka, "nobody.made.this", b"one", **{"topic.metadata.propagation.max.ms": 100})


def test_a_killed_broker_comes_back_on_its_port_with_its_records(
    start_kafka: Callable[..., Kafka],
) -> None:
    broker = start_kafka()
    broker.admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(timeout=30)
    write(broker, "kept", b"one")
    before = broker.bootstrap
    broker.kill()
    assert not broker.running
    broker.start()
    assert broker.bootstrap == before
    assert [message.value() for message in read(broker, "kept", 1)] == [b"one"]


def test_a_taken_port_is_named(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=f"Port {kafka.port} on 127.0.0.1 is taken"):
        Kafka(tmp_path, port=kafka.port).start()


def test_without_java_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"There is no `java` here.*make system.*openjdk-17"):
        jars.java()


def test_an_old_java_is_refused_by_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("""#!/bin/sh\necho 'openjdk version "11.0.2" 2019-01-15' >&2\n""")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServiceError, match=r"too old \(openjdk version \"11.0.2\".*Java 17"):
        jars.java()


def test_without_maven_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDINGS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"There is no `mvn` here.*make system.*install maven"):
        jars.fetch()


def test_when_maven_fails_the_cache_stays_clean_and_what_it_said_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'Could not resolve host'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("TIDINGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ServiceError, match=r"code 1.*\n.*Could not resolve host"):
        jars.fetch()
    assert list((tmp_path / "cache" / "kafka").iterdir()) == []
