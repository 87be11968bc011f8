"""The digest task with what Bytewax brings itself: its Kafka connectors, its windows, no recovery.

    python -P bytewax.py BOOTSTRAP TOPIC OUT WINDOW_MS FOLDER

One worker. It ends at the end of the topic, which closes the windows that are still open.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, collect_window
from bytewax.testing import run_main

BOOTSTRAP, TOPIC, OUT, WINDOW, _FOLDER = sys.argv[1:]
begun = False


def keyed(message: Any) -> tuple[str, dict[str, Any]]:
    """An entry under its digest's key."""
    global begun
    if not begun:
        begun = True
        sys.stdout.write("reading\n")
        sys.stdout.flush()
    entry = json.loads(message.value)
    data = entry["event"]
    entry["at"] = message.timestamp[1]
    return f"{entry['recipient_id']}\x1f{data['type']}\x1f{data['photo_id']}", entry


def delivery(item: tuple[str, tuple[int, list[dict[str, Any]]]]) -> KafkaSinkMessage[bytes, bytes]:
    """The record of a window that closed."""
    key, (_, entries) = item
    recipient, kind, photo = key.split("\x1f")
    body = {
        "to": recipient,
        "type": kind,
        "photo": photo,
        "count": len(entries),
        "actors": len({entry["event"]["actor_id"] for entry in entries}),
        "last": entries[-1]["event"]["actor_name"],
        "members": [entry["event_id"] for entry in entries],
    }
    return KafkaSinkMessage(recipient.encode(), json.dumps(body).encode())


flow = Dataflow("peer")
entries = op.map(
    "keyed", op.input("in", flow, KafkaSource([BOOTSTRAP], [TOPIC], tail=False)), keyed
)
windows = collect_window(
    "digest",
    entries,
    EventClock(
        lambda entry: datetime.fromtimestamp(entry["at"] / 1000, UTC),
        wait_for_system_duration=timedelta(seconds=10),  # else some are late between two batches
    ),
    TumblingWindower(timedelta(milliseconds=int(WINDOW)), datetime(1970, 1, 1, tzinfo=UTC)),
)
op.output("out", op.map("delivery", windows.down, delivery), KafkaSink([BOOTSTRAP], OUT))
run_main(flow)
