"""Deliveries on their way in: read from the lane's topic and from the rungs of its ladder.

A rung's records are due in the order in which they stand (append time + the rung's delay), so the
head of a partition says when it is worth looking at again: until then they are held. A partition of
which much is held, that waits for room, or lies above a span that is too wide is paused; the group
is polled all the same, for rebalances are served by nothing else.

The channel's dead letters are read as one more such rung, see ``letters_held``.

What is on a rung for a provider's sake alone comes as soon as that one has room for it, whatever
process parked it: an outage is over for all of it at once, and it comes no faster than it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import heappop, heappush

import structlog

from tidings.contract import Work
from tidings.durations import format_duration
from tidings.log.port import Consumer, LogError, Position, Record, Slot
from tidings.operators.send import Retry
from tidings.records import Kind, Origin
from tidings.runtime.lane.admission import admit
from tidings.runtime.lane.held import Held
from tidings.runtime.lane.letters_held import HeldLetters, Offered
from tidings.runtime.lane.policy import fits, rung_for
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.settlement import Settlement
from tidings.runtime.lane.tracker import Parcel, Partition, Tracker
from tidings.topics import dead_letters, deliveries, retry

_LOG = structlog.get_logger(__name__)
_LISTEN_MS = 100  # between two polls of a lane that has no room
_STANDS_MS = 1_000  # without room: that is an outage
_MANY = 500  # held of a rung's partition: as many as one reads at once


class Arrivals:
    """Reads for a lane, and is told of rebalances; implements ``log.port.Listener``."""

    def __init__(
        self,
        settings: LaneSettings,
        ladder: Retry,
        channels: Collection[str],
        consumer: Consumer,
        tracker: Tracker,
        settlement: Settlement,
        providers: Collection[str],
        proven: Callable[[str], int],
    ) -> None:
        self._settings = settings
        self._ladder = ladder
        self._channels = channels
        self._consumer = consumer
        self._tracker = tracker
        self._settlement = settlement
        channel, priority = settings.channel, settings.priority
        self._delays = {
            retry(channel, priority, format_duration(delay)): delay for delay in ladder.ladder
        }
        self.topics = [deliveries(channel, priority), *self._delays]
        self._letters = dead_letters(channel)
        if ladder.release:
            self.topics.append(self._letters)
        self._providers = providers
        self._proven = proven
        self._piles: dict[Slot, HeldLetters] = {}
        self._held: dict[Slot, Held | HeldLetters] = {}
        self._full: set[Slot] = set()  # so much is held of them that no more is read
        self._early: list[tuple[int, int, Work]] = []
        self._postponed = 0  # breaks ties in the heap
        self._wide: set[Slot] = set()
        self._deaf_since = 0  # everything is paused for want of room
        self._polled_at = 0
        self._fresh: list[Slot] = []  # assigned without a position

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(self.topics, self)

    def take(
        self, room: int, now: int, openings: Callable[[int], dict[str, int]] = lambda now: {}
    ) -> list[Work]:
        """Deliveries to be worked on, about ``room`` at most. ``openings`` tells for how many each
        provider has room at an instant."""
        works: list[Work] = []
        limit = min(room, self._settings.batch)
        self._wake(works, now)
        if self._held:
            self._look(works, limit, now)
            if any(held.awaits for held in self._held.values()):
                self._release(works, limit, openings(now), now)
        if limit > len(works):
            if self._deaf_since:
                self._hear()
            self._read(self._consumer.poll(limit - len(works)), works, now)
            self._polled_at = now
        elif now - self._polled_at >= _LISTEN_MS:
            self._deaf_since = self._deaf_since or now
            self._listen(works, now)
            self._polled_at = now
        if self._fresh:
            self._commit_fresh()
        return works

    def deadline(self) -> int:
        """When something that was read early is due, 0 for none."""
        early = [at for at, _, _ in self._early[:1]]
        return min([*early, *(held.look_at for held in self._held.values())], default=0)

    def commit(self) -> None:
        """Save the positions that moved."""
        positions = self._tracker.positions()
        if positions:
            self._consumer.commit(positions)

    def close(self) -> None:
        """Leave the group; what is settled is committed on the way."""
        self._consumer.close()
        for _, _, work in self._early:
            self._tracker.abandon(work.ticket)
        self._early = []

    # ── Reading ───────────────────────────────────────────────────────────────────────────────

    def _read(self, records: Sequence[Record], works: list[Work], now: int) -> None:
        partitions, held = self._tracker.partitions, self._held
        touched: dict[Slot, Partition] = {}
        slot, partition, delay = Slot("", -1), None, 0
        pile: HeldLetters | None = None
        for record in records:
            if record.partition != slot.partition or record.topic != slot.topic:
                slot = Slot(record.topic, record.partition)
                partition = partitions.get(slot)
                delay = self._delays.get(record.topic, 0)
                pile = None
                if partition is not None:
                    touched[slot] = partition
                    if record.topic == self._letters:
                        pile = self._pile(slot)
            if partition is None:
                continue  # given up in the same poll
            if not partition.settled.took(record.offset):  # settled before we came
                if pile is not None:
                    pile.skip(record.offset)
            elif pile is not None:
                self._offer(slot, pile, partition, record, now)
            elif delay and (slot in held or record.time + delay > now):
                rung = held.get(slot)
                if rung is None:
                    rung = held[slot] = Held(delay)
                assert isinstance(rung, Held)
                rung.add(record)
            else:
                self._accept(partition, record, works, now)
        early = [slot for slot in touched if slot in held]
        for slot in early:
            held[slot].look(now)
        rungs = [slot for slot in early if slot.topic != self._letters]
        if full := [slot for slot in rungs if len(held[slot]) >= _MANY]:
            self._full.update(full)
            self._consumer.pause(full)
        for slot in touched:
            self._turn(slot)
        self._bound(touched)

    def _pile(self, slot: Slot) -> HeldLetters:
        """For the letters of a partition, from the first that is read to the last that is ours."""
        pile = self._piles.get(slot)
        if pile is None:
            pile = HeldLetters(self._ladder.release, self._providers, self._proven)
            self._piles[slot] = pile
        return pile

    def _offer(
        self, slot: Slot, pile: HeldLetters, partition: Partition, record: Record, now: int
    ) -> None:
        """Hold a letter for its provider's sake; pass any other over."""
        said = pile.offer(record, self._settings.priority, now)
        if said is Offered.HELD:
            self._held[slot] = pile
        elif said is Offered.PASSED:
            self._tracker.finish(self._tracker.take(partition, record))

    def _turn(self, slot: Slot) -> None:
        """Read letters on where there is something to be had."""
        pile = self._piles.get(slot)
        there = pile.turn() if pile is not None else None
        if pile is not None and there is not None:
            self._consumer.seek(slot, there)
            if pile.on_lap and slot in self._wide:
                self._wide.discard(slot)
                self._resume([slot])

    def _look(self, works: list[Work], limit: int, now: int) -> None:
        """Take from the rungs what has become due."""
        for slot, held in [*self._held.items()]:
            if held.look_at > now:
                continue
            partition = self._tracker.partitions[slot]
            while held.due(now) and len(works) < limit:
                self._accept(partition, held.take(), works, now)
            if held:
                held.look(now)
            self._thin(slot, held)

    def _release(self, works: list[Work], limit: int, openings: dict[str, int], now: int) -> None:
        """Take from the rungs what waits for a provider that has room, in its order."""
        for slot, held in sorted(self._held.items(), key=lambda one: one[1].since):
            if not openings or len(works) >= limit:
                return
            released = held.release(openings, limit - len(works))
            partition = self._tracker.partitions[slot]
            for record in released:
                self._accept(partition, record, works, now, early=True)
            self._thin(slot, held)

    def _thin(self, slot: Slot, held: Held | HeldLetters) -> None:
        """Less is held of it than there was: read on where that is little."""
        if not held:
            del self._held[slot]
        if slot in self._full and len(held) < _MANY // 2:
            self._full.discard(slot)
            self._resume([slot])
        self._turn(slot)

    def _accept(
        self,
        partition: Partition,
        record: Record,
        works: list[Work],
        now: int,
        *,
        early: bool = False,
    ) -> None:
        """Make work of a record, or settle what is none."""
        letter = record.topic == self._letters
        if letter and not early:  # it has waited too long, and stays for people
            self._tracker.finish(self._tracker.take(partition, record))
            return
        try:
            delivery = admit(record, self._settings, self._channels)
        except ValueError as error:
            self._settlement.undecodable(self._tracker.take(partition, record), error, now)
            return
        origin = Origin(record.topic, record.partition, record.offset)
        work = Work(delivery=delivery, origin=origin, record=record)
        parcel = self._tracker.take_work(partition, work)
        if letter:
            self._settlement.released(parcel)
        if 0 < delivery.expires_at <= now:
            name = self._settings.name
            self._settlement.end(parcel, Kind.EXPIRED, now, reason="expired", step=name)
        elif delivery.not_before > now and not early:
            self._postpone(work, delivery.not_before, now)
        else:
            works.append(work)

    def _postpone(self, work: Work, until: int, now: int) -> None:
        """It is early for it: the rest of its wait is spent here where it is short."""
        wait = until - now
        if fits(wait, self._ladder):
            self._postponed += 1
            heappush(self._early, (until, self._postponed, work))
        else:
            self._settlement.later(work.ticket, until, rung_for(wait, self._ladder))

    def _wake(self, works: list[Work], now: int) -> None:
        while self._early and self._early[0][0] <= now:
            work = heappop(self._early)[2]
            parcel: Parcel = work.ticket
            if parcel.partition.alive:
                works.append(work)
            else:
                self._tracker.abandon(parcel)

    # ── What is not read now ──────────────────────────────────────────────────────────────────

    def _bound(self, touched: Mapping[Slot, Partition]) -> None:
        """Pause what reaches too far above its oldest open record; resume what no longer does."""
        for slot, partition in touched.items():
            span, most = partition.settled.span, self._widest(slot)
            partition.crowded = span > most // 2
            if span > most and slot not in self._wide and not self._on_lap(slot):
                self._wide.add(slot)
                self._consumer.pause([slot])
                if slot.topic == self._letters:
                    _LOG.error(
                        "dead letters are read no further: too many wait for a provider that is "
                        "away; `tidings dlq release` does not wait",
                        lane=self._settings.name,
                        partition=slot.partition,
                        letters=span,
                    )
        for slot in [*self._wide]:
            span, most = self._tracker.partitions[slot].settled.span, self._widest(slot)
            if span < most * 3 // 4:
                self._wide.discard(slot)
                self._resume([slot])

    def _widest(self, slot: Slot) -> int:
        letters = slot.topic == self._letters
        return self._settings.max_letters if letters else self._settings.max_span

    def _on_lap(self, slot: Slot) -> bool:
        return slot in self._piles and self._piles[slot].on_lap

    def _listen(self, works: list[Work], now: int) -> None:
        """Serve the group. Letters take no room, and are to be in hand when the outage is over, not
        behind all that came meanwhile; but what was fetched ahead of the others is fetched again
        for their sake, so not at each short wait."""
        slots, most = self._consumer.assignment(), 1
        if now - self._deaf_since >= _STANDS_MS:
            letters = {slot for slot in slots if slot.topic == self._letters} - self._wide
            self._consumer.resume([*letters])
            slots, most = slots - letters, self._settings.batch
        self._consumer.pause([*slots])
        self._read(self._consumer.poll(most), works, now)

    def _hear(self) -> None:
        self._deaf_since = 0
        self._resume(self._consumer.assignment())

    def _resume(self, slots: Iterable[Slot]) -> None:
        if not self._deaf_since:
            self._consumer.resume(
                [slot for slot in slots if slot not in self._full and slot not in self._wide]
            )

    # ── Rebalances ────────────────────────────────────────────────────────────────────────────

    def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
        """Take partitions over, knowing what is settled above their positions.

        The consumer reads a partition that comes (again) without a pause, whatever it was before.
        """
        starts: dict[Slot, int] = {}
        for slot, position in positions.items():
            if position is None:
                position = Position(self._consumer.span(slot).first)
                starts[slot] = position.offset
                self._fresh.append(slot)
            self._tracker.assign(slot, position)
        return starts

    def revoked(self, slots: Sequence[Slot]) -> None:
        """Commit what is settled and let go. What is in flight is finished; leases keep the new
        owner from sending it as well."""
        positions = self._tracker.positions(slots)
        try:
            if positions:
                self._consumer.commit(positions, wait=True)
        except LogError as error:
            # What is in flight must still be marked. The new owner asks anew for what was settled,
            # and is told that it is done.
            _LOG.warning("positions were not saved", lane=self._settings.name, error=str(error))
        self.lost(slots)

    def lost(self, slots: Sequence[Slot]) -> None:
        """Let go."""
        self._tracker.give_up(slots)
        for slot in slots:
            self._held.pop(slot, None)
            self._piles.pop(slot, None)
            self._full.discard(slot)
            self._wide.discard(slot)
        self._fresh = [slot for slot in self._fresh if slot not in slots]

    def _commit_fresh(self) -> None:
        """A partition that was never committed has no lag in the eyes of the group's tools."""
        fresh, self._fresh = self._fresh, []
        self._consumer.commit({slot: self._tracker.partitions[slot].committed for slot in fresh})
