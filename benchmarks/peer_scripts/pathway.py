"""The digest task with Pathway: its Kafka connectors, its windows, nothing persisted, one worker.

    python -P pathway.py BOOTSTRAP TOPIC OUT WINDOW_MS FOLDER

It runs until it is stopped. Its watermark is the highest time of all partitions, so that what
other partitions still hold is late: TOPIC is to have one partition. The time is the event's
``at``, which is the log's.
"""

from __future__ import annotations

import sys

import pathway as pw

BOOTSTRAP, TOPIC, OUT, WINDOW, _FOLDER = sys.argv[1:]
FIELDS = ("at", "type", "photo_id", "actor_id", "actor_name")


class Entry(pw.Schema):
    """An entry, its event's fields flattened."""

    recipient_id: str
    event_id: str
    at: int
    type: str
    photo_id: str
    actor_id: str
    actor_name: str


entries = pw.io.kafka.read(
    {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": "peer-pathway",
        "auto.offset.reset": "earliest",
    },
    TOPIC,
    schema=Entry,
    format="json",
    json_field_paths={name: f"/event/{name}" for name in FIELDS},
    autocommit_duration_ms=100,
)
keyed = entries.with_columns(
    group=pw.make_tuple(pw.this.recipient_id, pw.this.type, pw.this.photo_id)
)
digests = keyed.windowby(
    keyed.at,
    window=pw.temporal.tumbling(duration=int(WINDOW), origin=0),
    instance=keyed.group,
    behavior=pw.temporal.exactly_once_behavior(),
).reduce(
    to=pw.reducers.any(pw.this.recipient_id),
    type=pw.reducers.any(pw.this.type),
    photo=pw.reducers.any(pw.this.photo_id),
    count=pw.reducers.count(),
    actors=pw.reducers.count_distinct(pw.this.actor_id),
    last=pw.reducers.max(pw.make_tuple(pw.this.at, pw.this.actor_name)),
    members=pw.reducers.sorted_tuple(pw.this.event_id),
)
digests = digests.with_columns(last=pw.this.last[1])
pw.io.kafka.write(digests, {"bootstrap.servers": BOOTSTRAP}, OUT, key=digests["to"])
sys.stdout.write("reading\n")  # its rows never pass through Python: the clock starts here
sys.stdout.flush()
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
