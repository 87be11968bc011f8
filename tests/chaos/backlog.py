"""Deliveries written straight into the lane's topic: a backlog that keeps it busy for a while."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.chaos import scene
from tests.chaos.audit import Due
from tidings.ids import notification_id
from tidings.log.port import Append, Log
from tidings.records import Delivery, Origin, encode


def pile_up(log: Log, count: int, people: int, seed: int) -> set[Due]:
    """Write ``count`` deliveries, confirmed; gives what the provider is to get."""
    random, names = Random(seed), scene.recipients(people)
    due: set[Due] = set()
    appends: list[Append] = []
    for number in range(count):
        recipient = random.choice(names)
        event_id = f"e{number}"
        due.update((device, frozenset([event_id])) for device in scene.devices(recipient))
        delivery = Delivery(
            notif_id=notification_id("default", "social", event_id, recipient, "social.deliver"),
            recipient_id=recipient,
            flow="social",
            step="social.deliver",
            version="1",
            channel="push",
            template="gathered",
            category="social",
            created_at=0,
            origin=Origin(scene.ENTRIES, 0, number),
            data={"count": 1, "items": [{"event_id": event_id}]},
        )
        appends.append(Append(scene.DELIVERIES, recipient.encode(), encode(delivery)))
    write(log, appends)
    return due


def write(log: Log, appends: Sequence[Append]) -> None:
    """Append them all, and see that they are confirmed."""
    failed: list[object] = []
    producer = log.producer()
    producer.append(appends, lambda error, _: failed.append(error) if error else None)
    assert producer.flush(60.0)
    producer.close()
    assert not failed, failed[:3]
