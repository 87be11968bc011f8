"""The topics of the digest task, filled alike for all engines, and the oracle of what is right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from benchmarks.flow import event
from tidings.log.address import open_log
from tidings.records import Entry, Origin, Priority, encode
from tidings.services.kafka import Kafka
from tidings.topics import flow_topics, lane_topics, settings

ENTRIES = "tidings.social"
ONE = "peers.one"  # the same entries in one partition
STEP = 1  # ms of the log's time between two events
CLOSER = "closer-"  # recipients of the events that close what is open

Digests = Counter[tuple[str, ...]]  # the members of each, sorted


class Row(NamedTuple):
    """One record of a topic that was filled."""

    partition: int
    at: int
    key: str
    id: str


def create(kafka: Kafka) -> None:
    """Makes the topics; the time in those that are filled is what their producer says.

    With the broker's own time, as Tidings has it, a fill of a second would hold a second.
    """
    stamped = {"message.timestamp.type": "CreateTime"}
    filled = [NewTopic(ENTRIES, 8, config=stamped), NewTopic(ONE, 1, config=stamped)]
    for done in kafka.admin.create_topics(filled).values():
        done.result(10)
    topics = {*flow_topics("social", keyed=True), *lane_topics("push", Priority.NORMAL)}
    open_log(f"kafka:{kafka.bootstrap}").admin().create(settings(topics - {ENTRIES}))


def fill(bootstrap: str, topic: str, events: int, recipients: int, end: int, window: int) -> int:
    """Fill ``topic`` with entries up to ``end`` (ms), and close it; gives how many there are."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": events + 1_000,
        }
    )
    random = Random(7)

    def put(number: int, one: dict[str, Any], at: int, partition: int) -> None:
        key = one["recipient_id"]
        value = Entry(
            recipient_id=key,
            event_id=one["event_id"],
            origin=Origin("social.events", number % 8, number),
            event=one | {"at": at},
        )
        producer.produce(topic, encode(value), key.encode(), partition, timestamp=at)

    for number in range(events):
        put(number, event(number, recipients, random), end - (events - number) * STEP, -1)
        if number % 1_000 == 0:
            producer.poll(0)
    partitions = len(producer.list_topics(topic, timeout=10).topics[topic].partitions)
    for partition in range(partitions):
        one = event(events + partition, recipients, random)
        closing = one | {"recipient_id": f"{CLOSER}{partition}"}
        put(events + partition, closing, end + 3 * window, partition)
    producer.flush(60)
    return events + partitions


def ends(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The end of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    found = {}
    for topic in topics:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            here = TopicPartition(topic, partition)
            found[topic, partition] = consumer.get_watermark_offsets(here, timeout=10)[1]
    consumer.close()
    return found


def read(bootstrap: str, topic: str, since: Mapping[tuple[str, int], int]) -> list[Any]:
    """All messages of ``topic`` from ``since`` on, in the order of each partition."""
    upto = {
        place: end for place, end in ends(bootstrap, [topic]).items() if end > since.get(place, 0)
    }
    left = sum(end - since.get(place, 0) for place, end in upto.items())
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "read"})
    consumer.assign([TopicPartition(*place, since.get(place, 0)) for place in upto])
    found: list[Any] = []
    while len(found) < left:
        found += consumer.consume(10_000, 1.0)
    consumer.close()
    return found


def rows(bootstrap: str, topic: str) -> list[Row]:
    """What the oracle knows of ``topic``, what closes it left out."""
    found = []
    for message in read(bootstrap, topic, {}):
        entry = json.loads(message.value())
        data = entry["event"]
        key = f"{entry['recipient_id']}\x1f{data['type']}\x1f{data['photo_id']}"
        if not key.startswith(CLOSER):
            at = message.timestamp()[1]
            found.append(Row(message.partition(), at, key, entry["event_id"]))
    return found


def on_grid(found: Iterable[Row], window: int) -> Digests:
    """The digests of windows that stand on a grid."""
    groups: dict[tuple[str, int], list[str]] = {}
    for row in found:
        groups.setdefault((row.key, row.at // window), []).append(row.id)
    return Counter(tuple(sorted(members)) for members in groups.values())


def from_first(found: Iterable[Row], window: int) -> Digests:
    """The digests of windows that open with their first event."""
    done: list[list[str]] = []
    current: dict[str, tuple[int, list[str]]] = {}
    for row in found:
        held = current.get(row.key)
        if held is None or row.at >= held[0] + window:
            held = current[row.key] = (row.at, [])
            done.append(held[1])
        held[1].append(row.id)
    return Counter(tuple(sorted(members)) for members in done)


def judged(
    produced: Iterable[Mapping[str, Any]], wanted: Digests, events: int
) -> tuple[int, dict[str, str]]:
    """How many events came, and the shares: of digests ``wanted``, exactly once; of events."""
    found: Digests = Counter(tuple(sorted(body["members"])) for body in produced)
    exact = sum(found[members] == 1 for members in wanted)
    known = {member for members in wanted for member in members}
    seen = {member for members in found for member in members} & known
    return len(seen), {
        "exact": f"{exact / len(wanted):.2%}",
        "accounted": f"{len(seen) / events:.2%}",
    }
