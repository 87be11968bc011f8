"""What was emitted, and what became of it: counted from the log alone, by nobody's own counters.

    the upstreams' list      every event and whom it was for
    notif_events             decisions (with the events that they cover), ends of deliveries
    deliveries.…             every delivery that was ever written
    notif_dlq.…              what could not go on, and why

An event is answered for a recipient when a decision covers it or a dead letter holds it; a
delivery when it has an end or a dead letter holds it. What is not answered is *pending* while a
reader of its topic has yet to pass it, and *lost* once all have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from tidings.demo.upstreams import Listed
from tidings.log.port import Record
from tidings.records import Delivery, Kind, Outcome, Stage, decode_delivery, outcomes_of
from tidings.topics import EVENTS


class EventKey(NamedTuple):
    """One event for one recipient."""

    id: str
    recipient: str


class DeliveryKey(NamedTuple):
    """One delivery, on however many rungs of the ladder it stood."""

    notif_id: str
    channel: str
    round: int


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class Account:
    """Keeps the account as records come in, in any order."""

    def __init__(self) -> None:
        self.emitted: dict[EventKey, str] = {}  # the topic of each
        self.events = 0
        self.decided: set[EventKey] = set()
        self.deliveries: dict[DeliveryKey, Place] = {}  # where each was seen last
        self.ended: dict[DeliveryKey, Outcome] = {}
        self.decisions: dict[str, Outcome] = {}
        self.letters: Counter[str] = Counter()
        self._buried: set[DeliveryKey] = set()

    def emit(self, lines: Iterable[Listed]) -> None:
        """Enter what the upstreams have emitted."""
        for line in lines:
            self.events += 1
            for recipient in line.recipients:
                self.emitted[EventKey(line.id, recipient)] = line.topic

    def read(self, record: Record) -> list[Outcome]:
        """Enter a record of outcomes, deliveries or dead letters; gives back new outcomes."""
        if record.topic == EVENTS:
            return [one for one in outcomes_of(record.value or b"") if self._outcome(one)]
        if record.topic.startswith("deliveries."):
            self._delivery(decode_delivery(record.value or b""), record)
        elif record.topic.startswith("notif_dlq."):
            self._letter(record)
        return []

    def _outcome(self, outcome: Outcome) -> bool:
        """Enter it; whether it is new."""
        if outcome.stage == Stage.DECISION:
            if outcome.outcome_id in self.decisions:
                return False
            self.decisions[outcome.outcome_id] = outcome
            for member in outcome.members:
                self.decided.add(EventKey(member, outcome.recipient_id))
        elif outcome.stage == Stage.END:
            key = DeliveryKey(outcome.notif_id, outcome.channel, outcome.round)
            if key in self.ended:
                return False  # the first one counts
            self.ended[key] = outcome
        return True

    def _delivery(self, delivery: Delivery, record: Record) -> None:
        key = DeliveryKey(delivery.notif_id, delivery.channel, delivery.round)
        self.deliveries[key] = Place(record.topic, record.partition, record.offset)

    def _letter(self, record: Record) -> None:
        headers = {name: content.decode() for name, content in record.headers}
        self.letters[headers.get("tidings-reason", "?")] += 1
        try:
            body = msgspec.json.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if not isinstance(body, dict):
            return
        if "notif_id" in body and "channel" in body:
            key = DeliveryKey(body["notif_id"], body["channel"], body.get("round", 0))
            self._buried.add(key)
            return
        event = body.get("event", body)
        recipients = event.get("audience") or [event.get("recipient_id", "")]
        for recipient in recipients:
            self.decided.add(EventKey(_id_of(event), recipient))

    # ── The balance ───────────────────────────────────────────────────────────────────────────

    def open_events(self) -> list[EventKey]:
        """Events that nothing was decided about."""
        return [key for key in self.emitted if key not in self.decided]

    def open_deliveries(self) -> list[DeliveryKey]:
        """Deliveries that have not ended."""
        return [key for key in self._due() if key not in self.ended and key not in self._buried]

    def _due(self) -> set[DeliveryKey]:
        """Every delivery: those written, and those that a decision says were."""
        queued = {
            DeliveryKey(outcome.notif_id, outcome.channel, outcome.round)
            for outcome in self.decisions.values()
            if outcome.kind == Kind.QUEUED
        }
        return queued | self.deliveries.keys()

    def settled(self) -> bool:
        """Whether all that was emitted has been answered."""
        return not self.open_events() and not self.open_deliveries()

    def balance(self, passed: Callable[[str, Place | None], bool]) -> tuple[int, int]:
        """(pending, lost) of what is not answered.

        ``passed`` tells whether all readers of a topic are past a place; of an event's topic, past
        its end (None).
        """
        pending = lost = 0
        for event in self.open_events():
            if passed(self.emitted[event], None):
                lost += 1
            else:
                pending += 1
        for delivery in self.open_deliveries():
            place = self.deliveries.get(delivery)
            if place is not None and not passed(place.topic, place):
                pending += 1
            else:
                lost += 1
        return pending, lost


def _id_of(event: dict[str, Any]) -> str:
    for name in ("event_id", "request_id", "campaign_id", "notif_id"):
        if name in event:
            return str(event[name])
    return ""
