"""A flow with a crowd in its keyed state: each person has an open digest and a limit's memory."""

from __future__ import annotations

from benchmarks.stage import Stage, producer, recipient
from tidings.records import Entry, Origin, Priority, encode
from tidings.topics import flow_topics, lane_topics

TOPICS = (
    "social.events",
    *flow_topics("social", keyed=True),
    *lane_topics("push", Priority.NORMAL),
    *lane_topics("email", Priority.NORMAL),
)
FLOW = """
flow: social
source: {{topic: social.events, key: recipient_id, id: event_id}}
steps:
  - digest:
      {{by: [type, photo_id], window: {window}, actors: actor_id, names: actor_name, keep: last 1,
       fields: [actor_name, photo_title], max_items: 20}}
  - limit: {{at_most: 1000, within: 1d}}
  - deliver: {{first_of: [push, email], template: social_digest, expires: 6h}}
"""
GROUP = TOPIC = "tidings.social"


class Entries:
    """Writes entries as an intake would, each under a stamp of its own."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = producer(bootstrap, linger_ms=20)
        self._number = 0

    def write(self, person: int, photo: str) -> None:
        """One like."""
        number, self._number = self._number, self._number + 1
        key = recipient(person)
        event = {
            "event_id": f"01J{number:013d}",
            "type": "like",
            "recipient_id": key,
            "actor_id": f"actor-{number % 50_000}",
            "actor_name": f"Actor {number % 50_000}",
            "photo_id": photo,
            "photo_title": "Sunset over the old harbour, seen from the pier",
        }
        entry = Entry(
            recipient_id=key,
            event_id=f"01J{number:013d}",
            origin=Origin("social.events", 0, number),
            event=event,
        )
        while True:
            try:
                self._producer.produce("tidings.social", encode(entry), key.encode())
                return
            except BufferError:
                self._producer.poll(0.05)

    def flush(self) -> None:
        """Have all confirmed."""
        self._producer.flush(120)


class Crowd:
    """``live`` people who have had one event each, and the process ``flow`` that has read them.

    ``arguments`` are further ones of its ``tidings run``.
    """

    def __init__(self, stage: Stage, live: int, window: str, *arguments: str) -> None:
        self.entries = Entries(stage.kafka.bootstrap)
        self._stage = stage
        self._arguments = arguments
        self._file = stage.folder / "social.yaml"
        self._file.write_text(FLOW.format(window=window))
        for person in range(live):
            self.entries.write(person, "photo-0001")
        self.entries.flush()
        self.run()
        self.wait(f"{live:,} people to be in")

    def run(self) -> None:
        """Start the flow."""
        self._stage.run("flow", str(self._file), "--part", "flow", *self._arguments)

    def wait(self, what: str) -> None:
        """Wait until the flow has read all there is."""
        self._stage.wait_until(lambda: self._stage.lag(GROUP, TOPIC) == 0, what)
