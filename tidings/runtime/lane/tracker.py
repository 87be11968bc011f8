"""What is in the lane's hand, what of it is settled, and so what may be committed.

A record is settled when its last word (its delivery's end, or the record that hands it on) and
everything written before it are confirmed by the log. A position never passes one that is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tidings.contract import Work
from tidings.ids import person_key, turn_of
from tidings.log.port import Position, Record, Slot
from tidings.log.positions import Settled
from tidings.records import Delivery
from tidings.runtime.lane.outcomes import alike
from tidings.sender import Content


class Partition:
    """A partition in our hand. ``alive`` ends with the assignment: from then on what came from it
    is finished, if it is under way, but counts for nothing here. ``crowded``: what is open in it
    reaches so far that nothing more should wait in the lane."""

    __slots__ = ("alive", "committed", "crowded", "origin", "settled", "slot")

    def __init__(self, slot: Slot, position: Position) -> None:
        self.slot = slot
        self.settled = Settled(position)
        self.committed = position
        self.alive = True
        self.crowded = False
        self.origin = f"{slot.topic}:{slot.partition}:"  # with an offset behind it: str(Origin)


class Ticket(msgspec.Struct, eq=False, gc=False):
    """One record in hand, from its reading to the confirmation of its last word.

    ``unconfirmed`` counts the writes about it that are not in the log yet, ``over`` tells that the
    last word has been said.
    """

    partition: Partition
    record: Record
    unconfirmed: int = 0
    over: bool = False

    def heard(self) -> Iterable[str]:
        """It is settled: the sends whose outcomes are confirmed by that."""
        return ()


class Parcel(Ticket, kw_only=True, eq=False, gc=False):
    """The ticket of a delivery.

    ``open`` counts its sends that have not ended, ``marked`` are those that Claims know as sent.
    ``later`` (epoch ms, rung) is set when one of them wants the ladder; ``tried`` and ``spared`` go
    with it, and ``awaits``, the providers that such sends wait for: None where one of them is to
    wait for a time. ``reasons`` (reason, detail) are those of the sends that failed, by their last
    words; ``failing`` is the provider that failed until nothing was left to try. ``news``:
    something is to be said that was not said and confirmed before. ``abandoned``: its partition
    went to another process, which will do it all again. ``alike`` are the words and ``key`` the
    log's key of its outcomes. ``subject`` is what the ids of its own outcomes go by, ``turn`` the
    same where something hangs on how it ends, another channel or a flow that waits; else "".
    ``doubts`` counts what its providers may have and are asked about.

    Nothing points from here to its works and sends, which point here: a circle would wait for the
    collector, and a lane makes 10,000 a second.
    """

    delivery: Delivery
    tried: int
    spared: int
    alike: bytes
    key: bytes
    subject: str
    turn: str
    content: Content | None = None
    open: int = 0
    marked: tuple[str, ...] = ()
    later: tuple[int, int] | None = None
    awaits: frozenset[str] | None = frozenset()
    reasons: dict[str, tuple[str, str]] | None = None
    failing: str = ""
    news: bool = False
    abandoned: bool = False
    doubts: int = 0

    def origin(self) -> str:
        """Where the delivery's record stands, as text."""
        return f"{self.partition.origin}{self.record.offset}"

    def doubt(self) -> None:
        """One of its sends may have gone out, and ends its turn for whoever does not find out. For
        who does, it goes on under a name of its own."""
        self.doubts += 1
        self.turn = self.turn and f"{self.subject}\x1f{self.doubts}"

    def heard(self) -> Iterable[str]:
        """Those that Claims know as sent."""
        return () if self.abandoned else self.marked


class Writes:
    """What was handed to the log together, and whose tickets wait for all of it.

    A round's outcomes are confirmed within a moment of each other, so they are counted as one: to
    count them by ticket costs 2 µs a send. What a log may refuse for its size is handed over by
    itself, ``alone``.
    """

    __slots__ = ("_open", "_tracker", "alone", "tickets")

    def __init__(
        self, tracker: Tracker, tickets: Sequence[Ticket], count: int = 1, *, alone: bool = False
    ) -> None:
        self.tickets = tickets
        self.alone = alone
        self._open = count  # of the records
        self._tracker = tracker

    def ack(self, error: object | None, receipt: object = None) -> None:
        """One is confirmed. One that was refused keeps the tickets open."""
        if error is not None:
            self._tracker.refused.append((self, error))
            return
        self._open -= 1
        if not self._open:
            self._tracker.confirmed(self.tickets)


class Tracker:
    """The partitions in hand and the tickets of what was read from them."""

    def __init__(self) -> None:
        self.partitions: dict[Slot, Partition] = {}
        self.open = 0
        self.done: list[str] = []  # sends whose outcome is confirmed, for the next round of claims
        self.refused: list[tuple[Writes, object]] = []

    def assign(self, slot: Slot, position: Position) -> None:
        """Take a partition over."""
        self.partitions[slot] = Partition(slot, position)

    def give_up(self, slots: Iterable[Slot]) -> None:
        """Let partitions go; what is under way from them is orphaned."""
        for slot in slots:
            partition = self.partitions.pop(slot, None)
            if partition is not None:
                partition.alive = False

    def take(self, partition: Partition, record: Record) -> Ticket:
        """A ticket for a record that was read and is no delivery."""
        self.open += 1
        return Ticket(partition, record)

    def take_work(self, partition: Partition, work: Work) -> Parcel:
        """A ticket for a delivery that was read and is open."""
        self.open += 1
        delivery = work.delivery
        subject = turn_of(delivery.notif_id, delivery.channel, delivery.round)
        parcel = work.ticket = Parcel(
            partition,
            work.record,
            delivery=delivery,
            tried=delivery.attempt,
            spared=delivery.spared,
            alike=alike(delivery, work.record),
            key=person_key(delivery.tenant, delivery.recipient_id).encode(),
            subject=subject,
            turn=subject if delivery.chain or delivery.reply_to else "",
        )
        return parcel

    def finish(self, ticket: Ticket) -> None:
        """Its last word is said, or there was nothing to say."""
        ticket.over = True
        if not ticket.unconfirmed:
            self.settle(ticket)

    def confirmed(self, tickets: Iterable[Ticket]) -> None:
        """What was said of these, once for each time that one is named, is in the log."""
        settle = self.settle
        for ticket in tickets:
            ticket.unconfirmed = left = ticket.unconfirmed - 1
            if not left and ticket.over:
                settle(ticket)

    def abandon(self, parcel: Parcel) -> None:
        """Its partition is another process's now, and so is what is left to do of it."""
        parcel.abandoned = True
        self.finish(parcel)

    def settle(self, ticket: Ticket) -> None:
        """All of it is confirmed."""
        self.open -= 1
        self.done += ticket.heard()
        if ticket.partition.alive:
            ticket.partition.settled.settle(ticket.record.offset)

    def positions(self, slots: Sequence[Slot] | None = None) -> Mapping[Slot, Position]:
        """What to commit of ``slots`` (of all): the positions that moved since the last time."""
        moved: dict[Slot, Position] = {}
        for slot in self.partitions if slots is None else slots:
            partition = self.partitions.get(slot)
            if partition is None:
                continue
            position = partition.settled.position()
            if position != partition.committed:
                moved[slot] = partition.committed = position
        return moved
