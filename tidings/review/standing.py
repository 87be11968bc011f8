"""What a running flow has open, counted by step: read from its state in the log.

The state topic is true as of each bucket's last save; what came since is in ``tidings.<flow>``, and
how much that is goes with the counts. Nothing is written, no group is joined.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import msgspec

from tidings.log.port import Log, Reader, Slot
from tidings.runtime.state import HORIZON, POSITION, Blob, Bucket, Slots, StateStore
from tidings.topics import entries, state


class Held(NamedTuple):
    """What one step has open: for how many people, how much, and the first and last deadline of
    those people's whole state (epoch ms, 0 where there is none)."""

    people: int
    things: int
    first: int
    last: int


class Standing(NamedTuple):
    """A flow's state: by step path, and how many entries are not in it yet."""

    steps: dict[str, Held]
    people: int
    behind: int


def standing(log: Log, flow: str, buckets: int) -> Standing | None:
    """What ``flow`` has open in ``log``; None where it has never kept state there.

    ``buckets`` is what the settings say. Raises StateError for another format or bucket count,
    LogError where the log can't be read.
    """
    with closing(log.admin()) as admin:
        topic = admin.topics().get(state(flow))
    if topic is None:
        return None
    steps: dict[str, Held] = {}
    people = behind = 0
    with closing(log.reader()) as reader, closing(log.producer()) as producer:
        for partition in range(topic.partitions):
            slot = Slot(topic.name, partition)
            paths = _paths(reader, slot)
            store = StateStore(slot, paths, producer)
            restored = store.restore(reader, buckets)
            people += sum(len(bucket.states) for bucket in restored)
            for path, held in _held(restored, paths):
                steps[path] = _sum(steps.get(path), held)
            behind += _behind(reader, Slot(entries(flow), partition), restored)
    return Standing(steps, people, behind)


def _paths(reader: Reader, slot: Slot) -> tuple[str, ...]:
    """The paths of all steps that any bucket's last state is of."""
    decode = msgspec.msgpack.Decoder(Blob).decode
    heads: dict[bytes, bytes] = {}
    span = reader.span(slot)
    for records in reader.read(slot, span.first, span.end):
        for record in records:
            key = record.key or b""
            if key != POSITION and b"." not in key and record.value is not None:
                heads[key] = record.value
    return tuple(dict.fromkeys(path for head in heads.values() for path in decode(head).steps))


def _held(buckets: list[Bucket], paths: tuple[str, ...]) -> Iterator[tuple[str, Held]]:
    unpack = Slots().unpack
    for bucket in buckets:
        for packed in bucket.states.values():
            act_at = HORIZON.unpack_from(packed)[0]
            for path, slot in zip(paths, unpack(packed), strict=False):
                if slot is not None:
                    count = len(slot) if isinstance(slot, dict | list) else 1
                    yield path, Held(1, count, act_at, act_at)


def _sum(one: Held | None, other: Held) -> Held:
    if one is None:
        return other
    deadlines = [each for each in (one.first, other.first) if each]
    return Held(
        one.people + other.people,
        one.things + other.things,
        min(deadlines, default=0),
        max(one.last, other.last),
    )


def _behind(reader: Reader, slot: Slot, buckets: list[Bucket]) -> int:
    """The entries that the oldest of these buckets has not seen."""
    span = reader.span(slot)
    seen = min((bucket.seen for bucket in buckets if bucket.version), default=span.first)
    return max(0, span.end - max(seen, span.first))
