"""The digest task with Quix Streams: its windows in RocksDB with a changelog, at least once.

    python -P quixstreams.py BOOTSTRAP TOPIC OUT WINDOW_MS FOLDER

It runs until it is stopped. Windows close by the time of their partition.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

from quixstreams import Application

BOOTSTRAP, TOPIC, OUT, WINDOW, FOLDER = sys.argv[1:]
begun = False


def slim(entry: dict[str, Any]) -> dict[str, Any]:
    """What the digest needs of an entry: less to hold."""
    global begun
    if not begun:
        begun = True
        sys.stdout.write("reading\n")
        sys.stdout.flush()
    data = entry["event"]
    return {
        "id": entry["event_id"],
        "to": entry["recipient_id"],
        **{name: data[name] for name in ("type", "photo_id", "actor_id", "actor_name")},
    }


def deliveries(window: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a recipient's window, one for each type and photo."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in window["value"]:
        groups[one["type"], one["photo_id"]].append(one)
    return [
        {
            "to": members[0]["to"],
            "type": kind,
            "photo": photo,
            "count": len(members),
            "actors": len({one["actor_id"] for one in members}),
            "last": members[-1]["actor_name"],
            "members": [one["id"] for one in members],
        }
        for (kind, photo), members in groups.items()
    ]


app = Application(
    BOOTSTRAP,
    consumer_group="peer-quixstreams",
    auto_offset_reset="earliest",
    state_dir=FOLDER,
    loglevel="WARNING",
)
frame = app.dataframe(app.topic(TOPIC, value_deserializer="json"))
windows = (
    frame.apply(slim).tumbling_window(int(WINDOW)).collect().final(closing_strategy="partition")
)
windows.apply(deliveries, expand=True).to_topic(app.topic(OUT, value_serializer="json"))
app.run()
