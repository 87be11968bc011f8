"""A flow's keyed state: at rest in buckets, and in the log.

A person's state at rest is one bytes object: the next deadline, the time to forget it, and the
slots of the keyed steps as msgpack. So a million people cost a million small bytes objects, which
the garbage collector does not follow, and saving a bucket is a copy, not an encoding.

``tidings.<flow>.state`` holds per partition, compacted:

    <bucket>                the head: steps, offset, log time, marks, states
    <bucket>.<version>.<i>  further chunks of a large bucket, written before its head
    position                per bucket (version, covered offset, log time there)
    out.<owner>.<n>         what was decided and may have gone out (``tidings.runtime.outbox``)

A blob is true at its own offset. The position record says how far a bucket that has *not changed
since* is true as well; it counts only for the very blob it names. A version is a hash of the blob:
a process that was frozen and overwrites a newer blob merely rolls the bucket back, and the entries
from there on are read again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from xxhash import xxh3_64_intdigest

from tidings.log.port import Append, Producer, Reader, Slot
from tidings.runtime.flight import Flight, Label
from tidings.runtime.outbox import OUT, Outbox

FORMAT = 1
CHUNK = 4_000_000  # bytes of a record; the topic takes 8 MiB
HORIZON = struct.Struct(">QQ")  # act_at, forget_at: before the slots of a state at rest
POSITION = b"position"

_LOG = structlog.get_logger(__name__)

IN_JSON = 0xC1  # a byte that msgpack never uses: before slots that are JSON


def pack_slots(slots: Sequence[Any]) -> bytes:
    """The slots of a state at rest, for ``Slots.unpack`` behind a HORIZON."""
    try:
        return _pack(slots)
    except OverflowError:  # a whole number of more than 64 bits: JSON has those, msgpack has not
        return bytes([IN_JSON]) + msgspec.json.encode(slots)


class Slots:
    """Unpacks slots, each as its own type; without types, as plain data."""

    def __init__(self, types: Sequence[Any] | None = None) -> None:
        wanted: Any = list[Any] if types is None else tuple[tuple(types)]  # type: ignore[misc]
        self._decode = msgspec.msgpack.Decoder(wanted).decode
        self._decode_large = msgspec.json.Decoder(wanted).decode

    def unpack(self, state: bytes) -> list[Any]:
        """The slots of a state at rest."""
        if state[HORIZON.size] == IN_JSON:
            return list(self._decode_large(state[HORIZON.size + 1 :]))
        return list(self._decode(state[HORIZON.size :]))


_pack = msgspec.msgpack.Encoder().encode
_plain = Slots().unpack


class Cell(msgspec.Struct, gc=False):
    """A person's state in use, one slot per keyed step.

    ``act_at`` is its earliest deadline, or an earlier time: it is looked at then. ``changed`` tells
    that what is at rest is older.
    """

    slots: list[Any]
    act_at: int = 0
    changed: bool = False


class Bucket:
    """A share of a partition's people, saved and restored as one.

    ``seen``: entries below this offset are in the state already. ``version`` is that of its blob in
    the log, which is true at ``covered``. ``changed`` tells that it was not encoded since it
    changed, ``waiting`` how many encoded blobs are held back. ``marks`` is, by upstream topic and
    partition, the highest (offset, index) counted.
    """

    __slots__ = ("changed", "covered", "hot", "marks", "seen", "states", "version", "waiting")

    def __init__(self) -> None:
        self.states: dict[bytes, bytes] = {}
        self.hot: dict[bytes, Cell] = {}
        self.marks: dict[str, dict[int, tuple[int, int]]] = {}
        self.seen = 0
        self.changed = False
        self.waiting = 0
        self.version = 0
        self.covered = Label(0, 0)


class Blob(msgspec.Struct, array_like=True, frozen=True):
    """The head of a bucket in the log. ``states`` is the first chunk of ``chunks``, in bytes: cut
    anywhere, so that no one person's state can be too large."""

    format: int
    steps: tuple[str, ...]
    offset: int
    time: int
    chunks: int
    version: int
    marks: dict[str, dict[int, tuple[int, int]]]
    states: bytes


class Positions(msgspec.Struct, array_like=True, frozen=True):
    """The position record: for each bucket (version, covered offset, log time there)."""

    format: int
    buckets: list[tuple[int, int, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode_blob = msgspec.msgpack.Decoder(Blob).decode
_decode_states = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
_decode_positions = msgspec.msgpack.Decoder(Positions).decode


class Saved(NamedTuple):
    """A bucket as it was at ``at``, encoded, and to be written in this order."""

    bucket: Bucket
    at: Label
    version: int
    appends: Sequence[Append]


class StateError(Exception):
    """The state topic holds something this version can't read."""


class StateStore:
    """The state of one partition in the log: saves buckets, restores them."""

    def __init__(
        self, slot: Slot, steps: Sequence[str], producer: Producer, owner: str = ""
    ) -> None:
        self._slot = slot
        self._steps = tuple(steps)
        self._producer = producer
        self._chunked: dict[int, tuple[int, int]] = {}  # bucket → its version, number of chunks
        self.outbox = Outbox(slot, owner)
        self.read = 0  # up to here
        self.flight = Flight()

    def save(self, number: int, bucket: Bucket, at: Label) -> Saved:
        """Encode ``bucket`` as it is, true at ``at``.

        It is not to be written before every output below ``at`` is confirmed: a blob that
        knows of an entry is the promise that what it caused is written.
        """
        states = _encode(bucket.states)
        chunks = [states[i : i + CHUNK] for i in range(0, len(states), CHUNK)]
        body = chunks[1:]
        about = (self._steps, at.offset, at.time)
        version = xxh3_64_intdigest(_encode((*about, bucket.marks)) + states) >> 1
        head = (FORMAT, *about, len(chunks), version, bucket.marks, chunks[0])
        blob = _encode(head)
        appends = [
            self._append(f"{number}.{version}.{i}", value) for i, value in enumerate(body, 1)
        ]
        appends.append(self._append(str(number), blob))
        old = self._chunked.pop(number, None)
        if old is not None and old[0] != version:
            appends += [self._append(f"{number}.{old[0]}.{i}", None) for i in range(1, old[1])]
        if body:
            self._chunked[number] = (version, len(chunks))
        bucket.changed = False
        bucket.waiting += 1
        return Saved(bucket, at, version, appends)

    def positions(self, buckets: Sequence[Bucket], low: Label) -> Append:
        """The position record: raises each bucket that is as its blob to ``low``."""
        rows = []
        for bucket in buckets:
            same = not bucket.changed and not bucket.waiting
            if same and low.offset > bucket.covered.offset:
                bucket.covered = low
            rows.append((bucket.version, bucket.covered.offset, bucket.covered.time))
        return self._append(POSITION.decode(), _encode(Positions(FORMAT, rows)))

    def write(self, saved: Saved) -> None:
        """Write an encoded bucket; only now the position record may speak of it."""
        bucket = saved.bucket
        bucket.version, bucket.covered = saved.version, saved.at
        bucket.waiting -= 1
        self.append(saved.appends)

    def mark(self, buckets: Sequence[Bucket], low: Label) -> None:
        """Write the position record."""
        self.append([self.positions(buckets, low)])

    def append(self, appends: Sequence[Append]) -> None:
        """Write records of this partition."""
        self.flight.open += len(appends)
        self._producer.append(appends, self.flight.ack)

    def _append(self, key: str, value: bytes | None) -> Append:
        return Append(self._slot.topic, key.encode(), value, (), self._slot.partition)

    def restore(self, reader: Reader, count: int) -> list[Bucket]:
        """The ``count`` buckets as they were last saved; what the outbox holds is left to it.

        Raises StateError for a format or a bucket count that is not ours.
        """
        heads: dict[int, Blob] = {}
        chunks: dict[bytes, bytes] = {}
        positions: Positions | None = None
        span = reader.span(self._slot)
        self.read = span.end
        for records in reader.read(self._slot, span.first, span.end):
            for record in records:
                key, value = record.key or b"", record.value
                if key == POSITION and value is not None:
                    positions = _decode_positions(value)
                elif key.startswith(OUT):
                    self.outbox.find(record)
                elif b"." in key:
                    if value is None:
                        chunks.pop(key, None)
                    else:
                        chunks[key] = value
                elif value is not None:
                    heads[int(key)] = _decode_blob(value)
        wrong = max(heads, default=0) >= count or (positions and len(positions.buckets) != count)
        if wrong or any(blob.format != FORMAT for blob in heads.values()):
            raise StateError(
                f"{self._slot.topic}:{self._slot.partition} has another bucket count or format; "
                f"expected {count} buckets of format {FORMAT}. Migrate the flow's state."
            )
        buckets = [Bucket() for _ in range(count)]
        for number, blob in heads.items():
            self._fill(buckets[number], number, blob, chunks)
        for bucket, row in zip(buckets, positions.buckets if positions else (), strict=False):
            version, offset, time = row
            if version == bucket.version and offset > bucket.covered.offset:
                bucket.covered = Label(offset, time)
        for bucket in buckets:
            bucket.seen = bucket.covered.offset
        return buckets

    def read_on(self, reader: Reader) -> None:
        """Show the outbox what has come since the last look."""
        end = reader.span(self._slot).end
        for records in reader.read(self._slot, self.read, end):
            for record in records:
                if (record.key or b"").startswith(OUT):
                    self.outbox.find(record)
        self.read = end

    def open(self) -> Flight:
        """Write the outbox's opening; the flight closes when it is confirmed."""
        flight = Flight()
        self._producer.append([self.outbox.opening(self.read)], flight.ack)
        return flight

    def _fill(self, bucket: Bucket, number: int, blob: Blob, chunks: dict[bytes, bytes]) -> None:
        keys = [f"{number}.{blob.version}.{i}".encode() for i in range(1, blob.chunks)]
        body = [chunks[key] for key in keys if key in chunks]
        if len(body) < len(keys):
            # A process that was frozen wrote its head behind the end of its chunks.
            _LOG.warning("a bucket's state is not whole: replaying", slot=self._slot, bucket=number)
            return
        states = _decode_states(b"".join([blob.states, *body]))
        if blob.steps != self._steps:
            states = dict(_moved(states, blob.steps, self._steps))
        bucket.states = states
        bucket.marks = blob.marks
        bucket.version = blob.version
        bucket.covered = Label(blob.offset, blob.time)
        if blob.chunks > 1:
            self._chunked[number] = (blob.version, blob.chunks)


def _moved(
    states: dict[bytes, bytes], old: Sequence[str], new: Sequence[str]
) -> Iterator[tuple[bytes, bytes]]:
    """States saved by an older version of the flow: each slot goes to the step of its name."""
    places = [old.index(step) if step in old else -1 for step in new]
    for key, state in states.items():
        slots = _plain(state)
        moved = [slots[place] if place >= 0 else None for place in places]
        if any(slot is not None for slot in moved):
            yield key, state[: HORIZON.size] + pack_slots(moved)
