"""Dead letters that are sent once more, when what was to blame for them is over.

    notif_dlq.<channel> ──► deliveries.<channel>.<priority>    the delivery, in a round of its own
                       └──► notif_dlq.released                 that this letter was released

High goes before normal, normal before low. A letter is the end of a delivery that surely nobody
got, so it is one more round of it, with ids that are functions of the letter: what is written
twice, by a kill in between or by two people at once, is leased and marked as one. What has expired
is handed to its lane as well, which says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import NamedTuple

import msgspec

from tidings.log.port import Append, Log, LogError, Record, Slot
from tidings.records import (
    UNDECODABLE,
    DeadLetter,
    Delivery,
    Origin,
    Priority,
    decode_delivery,
    encode,
)
from tidings.runtime.letters import PREFIX, read_letter, released_delivery, stripped
from tidings.topics import RELEASED, dead_letters, deliveries, settings

_BATCH = 500
_CONFIRMED_IN = 60.0  # seconds
_decode_origin = msgspec.json.Decoder(Origin).decode


class Letter(NamedTuple):
    """One letter on a channel's topic. ``delivery`` is None for what no lane could read."""

    channel: str
    record: Record
    dead: DeadLetter
    delivery: Delivery | None
    released: bool

    @property
    def priority(self) -> Priority | None:
        """That of its delivery."""
        return None if self.delivery is None else Priority.of(self.delivery.priority)


class Wanted(NamedTuple):
    """Which letters: of this cause, reason and provider and not older, where that is said."""

    cause: str | None
    provider: str = ""
    since: int = 0  # epoch ms
    reason: str = ""

    def takes(self, letter: Letter) -> bool:
        """Whether it is one of them, and not released yet."""
        dead = letter.dead
        return (
            letter.delivery is not None
            and not letter.released
            and self.cause in (None, dead.cause)
            and self.reason in ("", dead.reason)
            and self.provider in ("", dead.provider)
            and dead.at >= self.since
        )


def letters(log: Log, channels: Iterable[str]) -> Iterator[Letter]:
    """All letters of these channels, partition by partition, as far as there are some now."""
    with closing(log.admin()) as admin:
        there = admin.topics()
    with closing(log.reader()) as reader:

        def records(topic: str) -> Iterator[Record]:
            for number in range(there[topic].partitions if topic in there else 0):
                slot = Slot(topic, number)
                span = reader.span(slot)
                for batch in reader.read(slot, span.first, span.end):
                    yield from batch

        released = {_decode_origin(record.value or b"null") for record in records(RELEASED)}
        for channel in channels:
            for record in records(dead_letters(channel)):
                dead = read_letter(record)
                if dead is not None:
                    stands = Origin(record.topic, record.partition, record.offset)
                    yield Letter(channel, record, dead, _delivery(record), stands in released)


def release(log: Log, channels: Iterable[str], wanted: Wanted, now: int) -> Counter[str]:
    """Send the wanted letters once more; gives how many of each priority, and ``expired``.

    Raises LogError where the log does not confirm it; those that it has confirmed are released.
    """
    with closing(log.admin()) as admin:
        if RELEASED not in admin.topics():
            admin.create(settings([RELEASED]))
    channels, counts = [*channels], Counter[str]()
    for priority in Priority:
        chosen = (
            letter
            for letter in letters(log, channels)
            if letter.priority is priority and wanted.takes(letter)
        )
        while batch := [*islice(chosen, _BATCH)]:
            _write(log, [_again(letter) for letter in batch])
            _write(log, [_note(letter) for letter in batch])
            counts[priority] += len(batch)
            counts["expired"] += sum(_expired(letter, now) for letter in batch)
    return counts


def _delivery(record: Record) -> Delivery | None:
    if any(name == f"{PREFIX}cut" for name, _ in record.headers):
        return None
    try:
        return decode_delivery(record.value or b"")
    except UNDECODABLE:
        return None


def _expired(letter: Letter, now: int) -> bool:
    return letter.delivery is not None and 0 < letter.delivery.expires_at <= now


def _again(letter: Letter) -> Append:
    record, again = letter.record, released_delivery(letter.record)
    assert again is not None, "a letter without a delivery is not wanted"
    topic = deliveries(again.channel, Priority.of(again.priority))
    return Append(topic, record.key, encode(again), stripped(record.headers))


def _note(letter: Letter) -> Append:
    record = letter.record
    stands = Origin(record.topic, record.partition, record.offset)
    return Append(RELEASED, record.key, encode(stands))


def _write(log: Log, appends: list[Append]) -> None:
    failed: list[object] = []
    with closing(log.producer()) as producer:
        producer.append(appends, lambda error, _: failed.append(error) if error else None)
        confirmed = producer.flush(_CONFIRMED_IN)
    if failed or not confirmed:
        why = failed[0] if failed else f"nothing was confirmed in {_CONFIRMED_IN:.0f} s"
        raise LogError(f"not all letters are released: {why}; run it again, it goes on from there")
