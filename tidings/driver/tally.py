"""What a version of a flow decided, counted; and who is told more, less or otherwise by another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import NamedTuple

import msgspec

from tidings.driver.driver import Driver
from tidings.records import Kind
from tidings.topics import EVENTS


class _Told(msgspec.Struct, gc=False):
    """Of an outcome, what is counted."""

    at: int
    kind: str
    recipient_id: str
    step: str
    reason: str = ""
    channel: str = ""
    category: str = ""
    tenant: str = "default"
    members: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Told).decode
_QUEUED = Kind.QUEUED.value


class Fate(NamedTuple):
    """How a person was told of an event: when (epoch ms), on which channels."""

    at: int
    channels: tuple[str, ...]


Person = tuple[str, str]  # tenant, recipient id
Costs = Mapping[tuple[str, str], int]  # by channel and category, in millionths


class Tally:
    """The decisions of one version. ``delivered`` counts notifications by channel and category,
    ``dropped`` items by step and reason, ``dead`` letters; ``fates`` is by person and event. Of the
    deliveries that were waited for, ``recorded`` ones heard what the log tells of them, ``assumed``
    ones that they were sent at once."""

    def __init__(self) -> None:
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.dead = self.recorded = self.assumed = 0
        self.fates: dict[Person, dict[str, Fate]] = {}

    def take(self, driver: Driver) -> None:
        """Count what the driver has written since the last time, and let it go."""
        for record in driver.records(EVENTS):
            told = _decode(record.value or b"")
            if told.kind != _QUEUED:
                self.dropped[told.step, told.reason] += 1
                continue
            person = told.tenant, told.recipient_id
            self.deliver(person, told.members, told.channel, told.category, told.at)
        self.dead += sum(
            driver.log.topic(topic).span(0).end - driver.log.topic(topic).span(0).first
            for topic in driver.topics
            if topic.startswith("notif_dlq.")
        )
        driver.forget(driver.topics)

    def deliver(
        self, person: Person, members: Iterable[str], channel: str, category: str, at: int
    ) -> None:
        """Count a delivery: the events that a person is told of by it, and when."""
        self.delivered[channel, category] += 1
        fates = self.fates.get(person)
        if fates is None:
            fates = self.fates[person] = {}
        fate = Fate(at, (channel,))
        for member in members:
            before = fates.setdefault(member, fate)
            if before is not fate:
                fates[member] = Fate(before.at, (*before.channels, channel))

    def add(self, other: Tally) -> None:
        """Add what was decided elsewhere."""
        self.delivered += other.delivered
        self.dropped += other.dropped
        self.dead += other.dead
        for person, fates in other.fates.items():
            self.fates.setdefault(person, {}).update(fates)


def costs_of(tally: Tally, prices: Mapping[str, float]) -> Costs:
    """What is delivered costs, by channel and category in millionths of the account's currency.

    ``prices`` is what a notification on a channel costs, in that currency; what it does not name is
    free. Millionths are whole, so that sums are exact.
    """
    price = {channel: round(cost * 1_000_000) for channel, cost in prices.items()}
    return {key: count * price.get(key[0], 0) for key, count in tally.delivered.items()}


class Change(NamedTuple):
    """One event of a person whose fate differs; None where they are not told of it."""

    event: str
    before: Fate | None
    after: Fate | None


class Affected(NamedTuple):
    """A person and everything that changes for them."""

    tenant: str
    recipient_id: str
    changes: tuple[Change, ...]


class Difference(NamedTuple):
    """What another version changes: events that people gain, lose, or are told otherwise of, how
    many people each are, and samples by recipient."""

    gained: int
    lost: int
    shifted: int
    gaining: int
    losing: int
    shifting: int
    samples: tuple[Affected, ...]


def difference(before: Tally, after: Tally, samples: int) -> Difference:
    """Who gains, loses or is shifted; samples are the first people by name."""
    events: Counter[str] = Counter()
    people: Counter[str] = Counter()
    affected: list[Person] = []
    for person in before.fates.keys() | after.fates.keys():
        old, new = _fates_of(person, before, after)
        if old == new:
            continue
        counts = {
            "gained": len(new.keys() - old.keys()),
            "lost": len(old.keys() - new.keys()),
            "shifted": sum([event in new and new[event] != fate for event, fate in old.items()]),
        }
        events.update(counts)
        people.update([kind for kind, count in counts.items() if count])
        affected.append(person)
    return Difference(
        events["gained"],
        events["lost"],
        events["shifted"],
        people["gained"],
        people["lost"],
        people["shifted"],
        tuple(
            Affected(*person, tuple(_changes(*_fates_of(person, before, after))))
            for person in nsmallest(samples, affected)
        ),
    )


def _fates_of(person: Person, *tallies: Tally) -> list[dict[str, Fate]]:
    return [tally.fates.get(person, {}) for tally in tallies]


def _changes(old: Mapping[str, Fate], new: Mapping[str, Fate]) -> list[Change]:
    """What differs, in order of time."""
    changes = [Change(event, old.get(event), new.get(event)) for event in old.keys() | new.keys()]
    return sorted([each for each in changes if each.before != each.after], key=_when)


def _when(change: Change) -> tuple[int, str]:
    fates: Iterable[Fate] = filter(None, (change.before, change.after))
    return min(fate.at for fate in fates), change.event
