"""A task: one partition of a flow, its people's state and its time.

Time is the running maximum of the log's append times in this partition, and nothing else. Before an
entry is handled, every deadline up to its time is, in order; a deadline's decision is taken *at the
deadline*. So what a task does is a function of the log, wherever it runs and however often.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush

from xxhash import xxh3_64_intdigest

from tidings.contract import Item, Site, Who
from tidings.ids import person_key
from tidings.log.port import Append, Record, Slot
from tidings.nesting import WRAPPED, check_depth
from tidings.records import UNDECODABLE, Origin
from tidings.runtime.batch import FlowBatch
from tidings.runtime.chain import Chain
from tidings.runtime.flight import Flight, Label
from tidings.runtime.outbox import Name
from tidings.runtime.people import People, act_at_of
from tidings.runtime.state import Bucket, Cell, Saved, StateStore

UNSEEN = (-1, 0)
OVERDUE_MS = 50  # a quiet partition gets a marker when its next deadline is so long gone
MARKER_LIFE_MS = 1_000  # a marker not read back by then is written again
FIRING = 2  # a deadline, and what becomes of it behind, is so much more work than an entry


class Task:
    """The keyed part of a flow for one partition. ``committed``: outputs below it are confirmed."""

    def __init__(
        self,
        slot: Slot,
        buckets: list[Bucket],
        store: StateStore,
        chain: Chain,
        site: Site,
        committed: int,
    ) -> None:
        self.slot = slot
        self.buckets = buckets
        self.store = store
        start = min(bucket.covered for bucket in buckets)
        self.position = Label(start.offset, start.time)
        self.now = start.time
        self.committed = committed
        self.doubtful = 0  # below this offset an earlier run may have decided
        self.marker_until = 0  # on the wall; until then no other one is written
        self.marker_for = 0  # the deadline that the last one was written for
        self._wall = 0  # the latest that `overdue` was told
        self._chain = chain
        self._site = site
        self.people = People(buckets, chain)
        oldest_first = sorted(range(len(buckets)), key=lambda number: buckets[number].covered)
        self._rotation = deque(oldest_first)
        self._waiting: deque[Saved] = deque()

    def begin(self, first: int) -> None:
        """Go on at ``first`` of a log that was made anew, with the state as it is."""
        self.position = Label(first, self.position.time)
        self.committed = first
        self.store.outbox.begin(first)
        for bucket in self.buckets:
            bucket.covered, bucket.seen, bucket.changed = self.position, first, True

    # ── Entries ───────────────────────────────────────────────────────────────────────────────

    def run(self, records: Sequence[Record], work: int) -> tuple[int, int]:
        """Handle entries, and the deadlines before them; the chain collects what comes out.

        Stops when ``work`` is used up, which may be between two deadlines of one record. Gives how
        many records are done, and the work that is left.
        """
        chain, people, buckets = self._chain, self.people, self.buckets
        heap, count, most_hot = people.heap, len(buckets), people.most_hot
        time, (topic, partition) = self.position.time, self.slot
        decode, unpack = chain.decode, chain.unpack
        chain.heap = heap
        for number, record in enumerate(records):
            if work <= 0:
                self.position = Label(record.offset, time)
                return number, work
            now = record.time
            if now < time:
                now = time
            if heap and heap[0][0] <= now:
                self.now = now
                work = self._fire(now, work)
                if heap and heap[0][0] <= now:
                    begun = self.position
                    turn = begun.turn + 1 if begun.offset == record.offset else 1
                    self.position = Label(record.offset, time, turn)
                    return number, work
            time = now
            work -= 1
            value, key = record.value, record.key
            if value is None:
                # Where the log's clock is behind ours, the next one waits for it to get there: for
                # the deadline that this one was written for, since a nearer one may be set later.
                self.marker_until += max(0, self.marker_for - time) - MARKER_LIFE_MS
                continue
            if key is None:
                self._refuse(record, time, "no_key", "an entry stands under its person's key")
                continue
            bucket = buckets[xxh3_64_intdigest(key) % count]
            offset = record.offset
            if offset < bucket.seen:
                continue
            try:
                entry = decode(value)
                if len(value) > 2 * WRAPPED:
                    check_depth(value, WRAPPED)
            except UNDECODABLE as error:
                self._refuse(record, time, "undecodable", error)
                continue
            hot = bucket.hot
            cell = hot.get(key)
            state = None if cell is not None else bucket.states.get(key)
            if cell is None and state is None:
                # Deadlines know a person by the key alone.
                person = person_key(entry.tenant, entry.recipient_id)
                if key != person.encode():
                    self._refuse(record, time, "wrong_key", f"it belongs under {person!r}")
                    continue
            signal = entry.signal
            if signal is None:
                source = entry.origin
                stamp = (source.offset, source.index)
                marks = bucket.marks.get(source.topic)
                if marks is None:
                    marks = bucket.marks[source.topic] = {}
                if stamp <= marks.get(source.partition, UNSEEN):
                    continue  # the intake died and repeated itself: this one is counted
                marks[source.partition] = stamp
            kept = True
            if cell is None:
                if state is None:
                    cell = Cell([None] * len(chain.steps))
                else:
                    cell = Cell(unpack(state), act_at_of(state)[0])
                kept = people.hot < most_hot
                if kept:
                    hot[key] = cell
                    people.hot += 1
            bucket.changed = cell.changed = True
            chain.cell, chain.key, chain.now = cell, key, time
            if signal is not None:
                chain.hear(signal, Who(entry.tenant, entry.recipient_id, topic, partition))
            else:
                chain.push(
                    Item(  # by position, for it is made for every event
                        entry.event,
                        Origin(topic, partition, offset),
                        time,
                        entry.recipient_id,
                        entry.event_id,
                        entry.tenant,
                        record,
                        entry.expires_at,
                        entry.way,
                    )
                )
            if not kept:
                people.rest(bucket, key, cell)
        self.position = Label(records[-1].offset + 1, time)
        self.now = time
        return len(records), work

    def _refuse(self, record: Record, time: int, reason: str, error: BaseException | str) -> None:
        """To the dead letters with an entry that none of our intakes has written."""
        origin = Origin(record.topic, record.partition, record.offset)
        item = Item(data={}, origin=origin, time=time, record=record)
        self._chain.batch.dead(item, reason, error, self._site)

    def _fire(self, time: int, work: int) -> int:
        """Let deadlines up to ``time`` act while there is ``work``; gives what is left of it."""
        chain, people, count = self._chain, self.people, len(self.buckets)
        heap = people.heap
        topic, partition = self.slot
        while work > 0 and heap and heap[0][0] <= time:
            work -= FIRING
            at, key = heappop(heap)
            bucket = self.buckets[xxh3_64_intdigest(key) % count]
            cell = bucket.hot.get(key)
            kept = cell is not None
            if cell is None:
                state = bucket.states.get(key)
                if state is None or act_at_of(state)[0] != at:
                    continue
                cell = Cell(chain.unpack(state), at)
            elif cell.act_at != at:
                continue
            bucket.changed = cell.changed = True
            cell.act_at = 0
            chain.cell, chain.key = cell, key
            tenant, _, recipient = key.decode().rpartition("\x1f")
            following = chain.due(at, Who(tenant or "default", recipient, topic, partition))
            if following and (not cell.act_at or following < cell.act_at):
                cell.act_at = following
                heappush(heap, (following, key))
            if not kept:
                people.rest(bucket, key, cell)
            elif not cell.act_at and people.hot >= people.most_hot:
                people.rest(bucket, key, cell)
                people.cool(bucket, key)
        return work

    def overdue(self, wall: int) -> bool:
        """True when a deadline has passed on the wall and the log's time has not got there.

        The wall clock decides only this: that a marker is written, whose append time then counts.
        """
        people = self.people
        if wall + MARKER_LIFE_MS < self._wall:  # the clock was set back
            self.marker_until = 0
        self._wall = wall
        while (at := people.deadline()) and at + OVERDUE_MS <= wall >= self.marker_until:
            if people.holds():
                self.marker_until = wall + MARKER_LIFE_MS
                self.marker_for = at
                return True
            heappop(people.heap)
        return False

    # ── Saving ────────────────────────────────────────────────────────────────────────────────

    def replaying(self) -> bool:
        """True while outputs are those of an earlier run: nothing is saved, the rotation stands."""
        return self.position.offset < self.committed

    def debt(self) -> int:
        """How many entries a restart would read again: those since the oldest save."""
        return self.position.offset - self.buckets[self._rotation[0]].covered.offset

    def save_next(self) -> int:
        """Save the changed bucket that was saved longest ago; gives its bytes, 0 for none.

        To be called at a batch's end. What is encoded waits until ``release`` lets it out.
        """
        for _ in self.buckets:
            number = self._rotation[0]
            self._rotation.rotate(-1)
            if self.buckets[number].changed:
                return self._save(number)
        return 0

    def save_all(self, budget: int) -> int:
        """Save changed buckets until ``budget`` bytes are used up; gives the bytes."""
        size = total = 0
        while total < budget and (size := self.save_next()):
            total += size
        return total

    def _save(self, number: int) -> int:
        bucket = self.buckets[number]
        self.people.settle(bucket, self.position.time)
        saved = self.store.save(number, bucket, self.position)
        self._waiting.append(saved)
        return sum(len(append.value or b"") for append in saved.appends)

    def release(self, low: Label) -> None:
        """Write the blobs whose past is confirmed: those true at or below ``low``."""
        while self._waiting and self._waiting[0].at <= low:
            self.store.write(self._waiting.popleft())

    def mark(self, low: Label) -> None:
        """Write the position record."""
        self.store.mark(self.buckets, low)


class KeyedBatch(FlowBatch):
    """A flow's batch before its keyed stage: the records of each task.

    After it: ``asked`` has for each partition the items that the steps behind are asked about,
    ``homes`` the partition of each append, and the first ``given`` appends are none of theirs.
    """

    __slots__ = ("asked", "given", "homes", "slices")

    def __init__(
        self,
        slices: list[tuple[Task, list[Record]]],
        flight: Flight,
        labels: Mapping[Slot, Label],
        muted: bool,
    ) -> None:
        super().__init__([], 0, flight, labels, muted)
        self.slices = slices
        self.asked: dict[int, tuple[Task, list[Name]]] = {}
        self.homes: list[int] = []
        self.given = 0

    def unsay(self, written: int) -> None:
        """Take back all but the first ``written`` appends."""
        super().unsay(written)
        del self.homes[written:]

    def repeat(self, home: int, appends: Sequence[Append]) -> None:
        """Say again what an earlier run has said."""
        self.appends += appends
        self.homes += [home] * len(appends)

    def lose(self, homes: Collection[int]) -> None:
        """Say nothing of what these partitions have caused."""
        kept = [number for number, home in enumerate(self.homes) if home not in homes]
        self.flight.open -= len(self.homes) - len(kept)
        self.given = sum(number < self.given for number in kept)
        self.appends = [self.appends[number] for number in kept]
        self.homes = [self.homes[number] for number in kept]

    def _say(self, item: Item, append: Append) -> None:
        self.appends.append(append)
        self.homes.append(item.origin.partition)
