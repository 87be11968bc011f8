"""What a version of a flow decided, counted; and who is told more, less or otherwise by another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
    ``dropped`` items by step and reason, ``dead`` letters; ``fates`` is by person and event."""

    def __init__(self) -> None:
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.dead = 0
        self.fates: dict[tuple[str, str, str], Fate] = {}

    def take(self, driver: Driver) -> None:
        """Count what the driver has written since the last time, and let it go."""
        fates = self.fates
        for record in driver.records(EVENTS):
            told = _decode(record.value or b"")
            if told.kind != _QUEUED:
                self.dropped[told.step, told.reason] += 1
                continue
            self.delivered[told.channel, told.category] += 1
            for member in told.members:
                key = (told.tenant, told.recipient_id, member)
                before = fates.get(key)
                channels = (told.channel,) if before is None else (*before.channels, told.channel)
                fates[key] = Fate(told.at if before is None else before.at, channels)
        self.dead += sum(
            driver.log.topic(topic).span(0).end - driver.log.topic(topic).span(0).first
            for topic in driver.topics
            if topic.startswith("notif_dlq.")
        )
        driver.forget(driver.topics)


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
    people: dict[str, set[Person]] = {"gained": set(), "lost": set(), "shifted": set()}
    changed: dict[Person, list[Change]] = {}
    for key, old, new in _differing(before.fates, after.fates):
        kind = "gained" if old is None else "lost" if new is None else "shifted"
        tenant, recipient_id, event = key
        events[kind] += 1
        people[kind].add((tenant, recipient_id))
        changed.setdefault((tenant, recipient_id), []).append(Change(event, old, new))
    shown = tuple(
        Affected(*person, tuple(sorted(changed[person], key=_when)))
        for person in sorted(changed)[:samples]
    )
    return Difference(
        events["gained"],
        events["lost"],
        events["shifted"],
        len(people["gained"]),
        len(people["lost"]),
        len(people["shifted"]),
        shown,
    )


def _differing(
    before: Mapping[tuple[str, str, str], Fate], after: Mapping[tuple[str, str, str], Fate]
) -> Iterator[tuple[tuple[str, str, str], Fate | None, Fate | None]]:
    for key, old in before.items():
        new = after.get(key)
        if new != old:
            yield key, old, new
    for key, new in after.items():
        if key not in before:
            yield key, None, new


def _when(change: Change) -> tuple[int, str]:
    fates: Iterable[Fate] = filter(None, (change.before, change.after))
    return min(fate.at for fate in fates), change.event
