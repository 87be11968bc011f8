"""The outbox: what the steps behind the keyed part decide is written down before it goes out.

Those steps ask the world who can be reached, what is consented to, how many a person has had. A
replay would find another world, and decide otherwise about what has gone out already. So what a
batch came to is sealed, partition by partition, into the flow's state, and goes out when the log
has confirmed that. A replay that comes to an item of a sealed envelope takes what was decided then,
word for word, and asks nobody; what is in no envelope has not gone out.

    out.<owner>       an opening: format, and up to where the owner had read when it wrote this
    out.<owner>.<n>   format, the batch's end, low, version, piece i of k: items, what they came to

A number is used again as soon as all up to a later offset is confirmed. The envelope that uses it
says so itself (``low``), and a restart takes what lies below for confirmed, however old the group's
last commit is: what a replay can come to is never overwritten.

An owner that has lost the partition may have envelopes under way, which come late. They have not
gone out, and must not count. So each owner writes an opening, reads on to it, and decides nothing
before: what others write behind it is void, an opening too that did not know of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import Protocol

import msgspec
from xxhash import xxh3_64_intdigest

from tidings.contract import Item
from tidings.log.port import Append, Producer, Record, Slot
from tidings.runtime.flight import Flight

FORMAT = 1
PIECE = 4_000_000  # bytes of a record; the topic takes 8 MiB
OUT = b"out."  # with a dot, for an older process takes such keys for chunks, and passes them over

Name = tuple[int, int, int, str, str]


def name_of(item: Item) -> Name:
    """What tells an item of a partition from all others, in a replay too."""
    origin = item.origin
    return origin.offset, origin.index, item.round, item.way, item.event_id


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """A piece of an envelope as it stands in the log; nearly always it is all of it."""

    format: int
    end: int
    low: int
    version: int
    number: int
    count: int
    body: bytes


class Opening(msgspec.Struct, array_like=True, frozen=True):
    """An owner's first word; it knows what stands below ``since`` in the flow's state."""

    format: int
    since: int


_encode = msgspec.msgpack.Encoder().encode
_decode_piece = msgspec.msgpack.Decoder(Piece).decode
_decode_opening = msgspec.msgpack.Decoder(Opening).decode
_decode_body = msgspec.msgpack.Decoder(tuple[list[Name], list[Append]]).decode


class Outbox:
    """The envelopes of one partition; ``home`` is that of the flow's state.

    ``owner`` is a name that no other owner ever had. ``known`` has, by item, what an earlier run
    has decided; items of one envelope share a list.
    """

    def __init__(self, home: Slot, owner: str) -> None:
        self.known: dict[Name, list[Append]] = {}
        self._home = home
        self._owner = owner.replace(".", "-").encode()
        self._left: dict[bytes, Record] = {}
        self._confirmed = 0
        self._anew = False
        self._free: list[int] = []
        self._taken: deque[tuple[int, int]] = deque()
        self._next = 0

    # ── What others have left ─────────────────────────────────────────────────────────────────

    def find(self, record: Record) -> None:
        """Take note of a record of ours that is in the log."""
        key = record.key or b""
        self._left.pop(key, None)
        if record.value is not None:
            self._left[key] = record

    def confirmed(self, committed: int) -> int:
        """The offset below which everything is: ``committed``, or beyond.

        Raises ValueError for a format that is not ours.
        """
        lows = [piece.low for _, _, piece in self._pieces()]
        self._confirmed = max([self._confirmed, committed, *lows])
        return self._confirmed

    def begin(self, first: int) -> None:
        """The entries were made anew, from ``first`` on: what others have left is of others."""
        self._confirmed, self._anew = first, True

    def opening(self, since: int) -> Append:
        """The opening of an owner who has read all below ``since``."""
        return self._record(OUT + self._owner, _encode(Opening(FORMAT, since)))

    def opened(self) -> list[Append] | None:
        """What is to be swept up, when the opening stands in the log and counts; None when another
        came in between."""
        owners = self._reigns()
        if not owners or owners[-1][1] != self._owner:
            return None
        envelopes: dict[tuple[bytes, int, int], list[Piece]] = {}
        open_: set[bytes] = {self._owner}
        for record, owner, piece in self._pieces():
            reigning = [one for offset, one in owners if offset < record.offset][-1:]
            if piece.end >= self._confirmed and reigning == [owner] and not self._anew:
                open_.add(owner)
                envelopes.setdefault((owner, piece.end, piece.version), []).append(piece)
        for found in envelopes.values():
            if len(found) == found[0].count:  # else it was never confirmed, and has not gone out
                found.sort(key=lambda piece: piece.number)
                names, appends = _decode_body(b"".join([piece.body for piece in found]))
                self.known.update(dict.fromkeys(names, appends))
        old = [key for key in self._left if _owner_of(key) not in open_]
        self._left = {}
        return [self._record(key, None) for key in old]

    def _reigns(self) -> list[tuple[int, bytes]]:
        """Since which offset who was the owner, in order."""
        reigns: list[tuple[int, bytes]] = []
        for key, record in self._left.items():
            if key.count(b".") == 1:
                opening = _decode_opening(record.value or b"")
                if not reigns or reigns[-1][0] < opening.since:
                    reigns.append((record.offset, _owner_of(key)))
        return reigns

    def _pieces(self) -> Iterator[tuple[Record, bytes, Piece]]:
        for key, record in self._left.items():
            if key.count(b".") == 2:
                piece = _decode_piece(record.value or b"")
                if piece.format != FORMAT:
                    raise ValueError(f"an outbox of format {piece.format}; expected {FORMAT}")
                yield record, _owner_of(key), piece

    # ── In a replay, and after it ─────────────────────────────────────────────────────────────

    def forget(self) -> None:
        """Nothing more of an earlier run is to come."""
        self.known = {}

    def take(self, name: Name) -> Sequence[Append] | None:
        """What an earlier run has decided about an item, None where it has not.

        The first item of an envelope brings all that is in it; a replay comes to the others too.
        """
        envelope = self.known.pop(name, None)
        if envelope is None:
            return None
        appends = envelope[:]
        envelope.clear()  # it is that of the others too
        return appends

    def seal(
        self, names: Sequence[Name], appends: Sequence[Append], end: int, low: int
    ) -> list[Append]:
        """The envelope of what a batch came to in this partition, as records.

        The batch has handled what lies below ``end``, and deadlines before that one; below ``low``
        everything is confirmed.
        """
        low = self._confirmed = max(self._confirmed, low)
        taken, free = self._taken, self._free
        while taken and taken[0][0] < low:
            heappush(free, taken.popleft()[1])
        body = _encode((names, appends))
        version = xxh3_64_intdigest(body) >> 1
        bodies = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
        records = []
        for number, part in enumerate(bodies):
            if free:
                place = heappop(free)
            else:
                place, self._next = self._next, self._next + 1
            taken.append((end, place))
            value = _encode(Piece(FORMAT, end, low, version, number, len(bodies), part))
            records.append(self._record(b"%b%b.%d" % (OUT, self._owner, place), value))
        return records

    def _record(self, key: bytes, value: bytes | None) -> Append:
        return Append(self._home.topic, key, value, (), self._home.partition)


def _owner_of(key: bytes) -> bytes:
    return key.split(b".")[1]


class Said(Protocol):
    """What a batch has said, in the hands of Outgoing; ``flight`` counts its appends already."""

    appends: list[Append]
    flight: Flight

    def lose(self, homes: Collection[int]) -> None:
        """Say nothing of what these partitions have caused."""
        ...


class _Sealed:
    """Batches in their order, of which so many envelopes are not confirmed yet."""

    __slots__ = ("batches", "open")

    def __init__(self, batches: Sequence[Said], envelopes: int) -> None:
        self.batches = batches
        self.open = envelopes

    def ack(self, error: object | None, receipt: object = None) -> None:
        if error is None:
            self.open -= 1
        for batch in self.batches if error is not None else ():
            batch.flight.error = error


class Outgoing:
    """What batches have said, let out in their order, each when its envelopes are confirmed.

    ``unsealed`` has those that come into the next envelopes.
    """

    def __init__(self, producer: Producer) -> None:
        self.unsealed: list[Said] = []
        self._producer = producer
        self._sealed: deque[_Sealed] = deque()

    def seal(self, envelopes: Sequence[Append]) -> None:
        """Write the envelopes of what is unsealed."""
        sealed = _Sealed(self.unsealed, len(envelopes))
        self.unsealed = []
        self._sealed.append(sealed)
        self._producer.append(envelopes, sealed.ack)

    def release(self) -> bool:
        """Let out what may go; tells whether there was something."""
        sealed, out = self._sealed, False
        while sealed and not sealed[0].open:
            for batch in sealed.popleft().batches:
                self._producer.append(batch.appends, batch.flight.ack)
                out = True
        return out

    def forget(self, homes: Collection[int]) -> None:
        """These partitions are not ours any more: whose they are now decides, by our envelopes or
        anew, so nothing of them may go out."""
        for batch in chain(self.unsealed, *(sealed.batches for sealed in self._sealed)):
            batch.lose(homes)
