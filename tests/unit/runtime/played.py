"""What the topic of a flow implies, and what the flow has said, for oracles to be held against.

An oracle is written apart from the engine: it plays the entries of one person after the other, at
their append times, and says what must be decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

from tests.engine import outcomes, records
from tidings.log.port import Log
from tidings.records import Delivery, Entry, Origin, Outcome, Signal, decode_delivery, decode_entry
from tidings.topics import EVENTS


class Player(Protocol):
    """Plays one recipient in the order of the log; ``decided`` is what must be said."""

    decided: list[Any]

    def pass_time(self, now: int) -> None:
        """Decide what is due by ``now``."""

    def enter(self, entry: Entry, now: int) -> None:
        """Take an event in; what was due by then is decided."""

    def hear(self, signal: Signal, now: int) -> None:
        """Take news of a delivery in, likewise."""


def implied(log: Log, topic: str, player: Callable[[str], Player]) -> set[Any]:
    """What the entries in ``topic`` imply, as a ``player`` for each recipient says.

    Time is that of a partition; an entry that an intake which died has repeated counts once.
    """
    people: dict[tuple[int, str], Player] = {}
    times: dict[int, int] = defaultdict(int)
    seen: set[tuple[str, Origin]] = set()
    for record in records(log, topic):
        now = times[record.partition] = max(times[record.partition], record.time)
        if record.value is None:
            continue
        entry = decode_entry(record.value)
        person, whose = entry.recipient_id, (record.partition, entry.recipient_id)
        if whose not in people:
            people[whose] = player(person)
        people[whose].pass_time(now)
        if entry.signal is not None:
            people[whose].hear(entry.signal, now)
        elif (person, entry.origin) not in seen:
            seen.add((person, entry.origin))
            people[whose].enter(entry, now)
    for (partition, _), each in people.items():
        each.pass_time(times[partition])
    return {one for each in people.values() for one in each.decided}


def deliveries(log: Log) -> dict[tuple[str, str, int], Delivery]:
    """All deliveries by notification, channel and round. What has the same id is the same, byte by
    byte, also when a replay wrote it."""
    found: dict[tuple[str, str, int], Delivery] = {}
    bodies: dict[tuple[str, str, int], bytes | None] = {}
    for topic in log.admin().topics():
        for record in records(log, topic) if topic.startswith("deliveries.") else ():
            delivery = decode_delivery(record.value or b"")
            key = delivery.notif_id, delivery.channel, delivery.round
            found[key] = delivery
            assert bodies.setdefault(key, record.value) == record.value
    return found


def alike(log: Log) -> list[Outcome]:
    """All outcomes, likewise; each delivery has the decision that it is queued."""
    found = outcomes(log)
    bodies: dict[str, bytes | None] = {}
    for outcome, record in zip(found, records(log, EVENTS), strict=True):
        assert bodies.setdefault(outcome.outcome_id, record.value) == record.value
    queued = {(one.notif_id, one.channel, one.round) for one in found if one.kind == "queued"}
    assert queued == set(deliveries(log))
    return found
