"""The keyed part of a flow: a member of a group, with its state in the log and no disk.

A partition that is assigned is restored from ``tidings.<flow>.state``, replayed *muted* up to the
committed offset (what lies below it is confirmed), and goes on. The rules, each with what broke
when it was left out, were measured over 15 runs of 80,000 events under kills:

1. Outputs are labelled with their batch's first offset, and with its turn where the deadlines
   before one record take several batches; commit the first label with an unconfirmed one, never
   below the commit found at assignment.
2. A batch is split at the committed offset; only what is wholly below it is muted (25,552 repeats
   instead of 1,144).
3. A blob is encoded at a batch's end and held back until all before it is confirmed (395 lost).
4. The position record raises only unchanged buckets, and only the blob that it names (182 lost).
5. A bucket skips offsets below its own (13,064 events in two digests).
6. The rotation saves the oldest first, and stands still during a replay (replays grew to the
   topic).
7. When a partition is taken from us: flush, save, mark, commit, within the callback.
8. What the steps behind decide, which ask the world, goes out when it is written down (``outbox``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog

from tidings.contract import Item, Part, Site
from tidings.log.port import (
    Append,
    Log,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Position,
    Reader,
    Record,
    Slot,
)
from tidings.ports import Clock, Io
from tidings.records import decode_entry, entry_decoder
from tidings.runtime.batch import FlowBatch, Step, stages
from tidings.runtime.chain import Chain, Link
from tidings.runtime.flight import Flight, Label
from tidings.runtime.member import BATCH, FLUSH_FOR, Member
from tidings.runtime.outbox import Name, Outgoing, name_of
from tidings.runtime.people import HOT
from tidings.runtime.rotation import Rotation
from tidings.runtime.state import StateStore
from tidings.runtime.task import KeyedBatch, Task
from tidings.runtime.unit import Stage
from tidings.topics import entries, state

WORK = 300  # entries of a batch, some 5 ms; a deadline counts as several
MARK_EVERY_MS = 2_000
SAVE_AT_REVOKE = 16_000_000  # bytes; what is not saved is replayed by the next owner

_LOG = structlog.get_logger(__name__)


class KeyedFlow(Member):
    """A unit: the keyed part of one flow, and the steps behind it up to deliver.

    ``save_rate`` is the budget of the rotation in bytes a second. ``reads`` are the fields of an
    event that the steps look at, None for all. ``holder`` names this process among all others.
    """

    def __init__(
        self,
        flow: str,
        links: Sequence[Link],
        tail: Sequence[Step],
        *,
        version: str,
        buckets: int,
        log: Log,
        io: Io,
        clock: Clock,
        save_rate: int = 2_000_000,
        on_out_of_range: OutOfRange = OutOfRange.FAIL,
        reads: frozenset[str] | None = None,
        holder: str = "",
    ) -> None:
        super().__init__(
            flow,
            f"tidings.{flow}",
            [entries(flow)],
            log=log,
            clock=clock,
            on_out_of_range=on_out_of_range,
        )
        self._chain = Chain(links, io, decode_entry if reads is None else entry_decoder(reads))
        path = "..".join(dict.fromkeys((links[0].site.path, links[-1].site.path)))
        self.stages = [Stage(path, self._decide), *stages(tail, io)]
        self._site = Site(f"{flow}.entries", flow, Part.KEYED, version)
        self._topic = entries(flow)
        self._buckets = buckets
        self._rotation = Rotation(save_rate)
        self._reader: Reader
        self._outgoing: Outgoing
        self._tasks: dict[Slot, Task] = {}
        self._marked: dict[Slot, int] = {}
        self._markers = Flight()
        self._mark_at = 0
        self._busy = False  # it reads as much as it can
        self._holder = holder
        self._openings: dict[Slot, Flight] = {}  # not confirmed yet
        self._reign = 0  # how many partitions it was given
        self._out = False  # something went out in this pull
        self._long = False  # the batch in hand has used up half of its work or more

    # ── The unit ──────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Open the clients and join the group."""
        self._reader = self._log.reader()
        super().start()
        self._outgoing = Outgoing(self._producer)

    def pull(self) -> FlowBatch | None:
        """The next batch, if there is one."""
        self._out = False
        if self._openings and not self._open():
            return None
        batch = super().pull()
        if batch is None and self._out:
            batch = super().pull()  # what went out may be news for ourselves
        if batch is not None and self._openings:  # a partition has come in this very pull
            self._queue.appendleft(batch)
            return None
        return batch

    def _open(self) -> bool:
        """Whether all partitions are open: nothing is decided before it is known what was."""
        self._producer.poll()
        for slot, flight in [*self._openings.items()]:
            if flight.error is not None:
                raise LogError(f"the state of {slot} was not written: {flight.error}")
            if flight.open:
                continue
            store = self._tasks[slot].store
            store.read_on(self._reader)
            swept = store.outbox.opened()
            if swept is None:  # another's opening, written before and come late, is in between
                self._openings[slot] = store.open()
            else:
                del self._openings[slot]
                store.append(swept)
        return not self._openings

    def push(self, batch: FlowBatch) -> None:
        """Write down what the batch caused, and all before it as soon as there is nothing to do at
        once; then save state, for a batch's end is where it is whole."""
        super().push(batch)
        if self._outgoing.unsealed and (self._held is not None or not self._queue):
            self._seal()
        if self._held is None and not self._queue:
            tasks = [task for task in self._tasks.values() if not task.replaying()]
            self._rotation.save(tasks, float(self._clock.now()), self._busy, self._long)

    def close(self) -> None:
        """Let go of the clients."""
        super().close()
        self._reader.close()

    def deadline(self) -> int:
        """The next instant of log time at which something may be due, 0 for none: a driver that
        holds the clock goes there."""
        return min(
            filter(None, (task.people.deadline() for task in self._tasks.values())), default=0
        )

    # ── The listener ──────────────────────────────────────────────────────────────────────────

    def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
        """Restore each partition; start where its least covered bucket stands."""
        starts = {}
        for slot, position in positions.items():
            home = Slot(state(self.name), slot.partition)
            self._reign += 1
            owner = f"{self._holder}-{self._reign}"
            store = StateStore(home, self._chain.steps, self._producer, owner)
            buckets = store.restore(self._reader, self._buckets)
            committed = store.outbox.confirmed(position.offset if position is not None else 0)
            self._openings[slot] = store.open()
            task = Task(slot, buckets, store, self._chain, self._site, committed)
            self._check(slot, task)
            self._tasks[slot] = task
            self._committed[slot] = task.committed
            self._marked[slot] = -1
            starts[slot] = task.position.offset
        self._still = False
        self._share_heat()
        return starts

    def _share_heat(self) -> None:
        """Divide what may be kept decoded among the tasks."""
        for task in self._tasks.values():
            task.people.most_hot = HOT // len(self._tasks)

    def _check(self, slot: Slot, task: Task) -> None:
        """See that the log still has what the task needs, and begins where it believes."""
        first, end = self._reader.span(slot)
        task.doubtful = end
        start = task.position.offset
        known = max(task.committed, *[bucket.covered.offset for bucket in task.buckets])
        if known > end:
            self._accept(
                f"{slot.topic}:{slot.partition} ends at {end}, and the group has been at {known}: "
                f"the topic was made anew, or has lost records"
            )
            task.begin(first)
        elif start < first:
            if any(bucket.version for bucket in task.buckets):
                self._accept(
                    f"the state of {slot.topic}:{slot.partition} needs the entries from {start} "
                    f"on, but the log begins at {first}: {first - start} entries are gone"
                )
            task.position = Label(first, task.position.time)

    def _accept(self, what: str) -> None:
        if self._policy is OutOfRange.FAIL:
            hint = "Set source.on_out_of_range: earliest to go on with what is there."
            raise OutOfRangeError(f"{what}. {hint}")
        _LOG.warning("going on with what is there", flow=self.name, reason=what)

    def _hand_over(self, slots: Sequence[Slot]) -> None:
        """Save, so that the next owner has next to nothing to replay."""
        # What has seen a batch that is held stays encoded: `release` does not let it out.
        if self._outgoing.unsealed:
            self._seal()
        confirmed = self._producer.flush(FLUSH_FOR)
        if self._outgoing.release():
            confirmed = self._producer.flush(FLUSH_FOR)
        if confirmed:
            budget = SAVE_AT_REVOKE
            for slot in slots:
                task = self._tasks[slot]
                if not task.replaying():
                    budget -= task.save_all(budget)
                    task.release(self._low(slot))
                    task.mark(self._low(slot))
        super()._hand_over(slots)

    def lost(self, slots: Sequence[Slot]) -> None:
        """Drop what is held of these partitions."""
        self._outgoing.forget([slot.partition for slot in slots])
        for slot in slots:
            self._tasks.pop(slot, None)
            self._openings.pop(slot, None)
        super().lost(slots)
        self._share_heat()

    def _position(self, slot: Slot) -> Label:
        return self._tasks[slot].position

    # ── Reading ───────────────────────────────────────────────────────────────────────────────

    def _take(self, records: list[Record], wall: int) -> None:
        """Sort records to their tasks, and split them where muted replay ends.

        What is written down goes out now: the poll has told of partitions that are gone.
        """
        self._out = self._outgoing.release()
        self._busy = len(records) > BATCH // 2
        if not records:
            if self._held is None:
                self._wake_quiet((), wall)
            return
        by_number: dict[int, list[Record]] = {}
        for record in records:
            mine = by_number.get(record.partition)
            if mine is None:
                mine = by_number[record.partition] = []
            mine.append(record)
        slices = {Slot(self._topic, number): mine for number, mine in by_number.items()}
        for muted in (True, False):
            part: list[tuple[Task, list[Record]]] = []
            labels: dict[Slot, Label] = {}
            for slot, mine in slices.items():
                task, time = self._tasks[slot], self._tasks[slot].position.time
                if mine[0].offset < task.committed:
                    before = [record for record in mine if record.offset < task.committed]
                    if muted:
                        mine = before
                    else:
                        mine = mine[len(before) :]
                        time = max(time, *(record.time for record in before))
                elif muted:
                    continue
                if mine:
                    part.append((task, mine))
                    labels[slot] = Label(mine[0].offset, time)
            if part:
                flight = Flight() if muted else self._flights.take(labels)
                self._queue.append(KeyedBatch(part, flight, labels, muted))
        if self._held is None:
            self._wake_quiet(slices, wall)

    def _wake_quiet(self, busy: Collection[Slot], wall: int) -> None:
        """Write a marker to each partition whose time stands still while a deadline waits."""
        markers = [
            Append(slot.topic, None, None, (), slot.partition)
            for slot, task in self._tasks.items()
            if slot not in busy and not task.replaying() and task.overdue(wall)
        ]
        if markers:
            self._markers.open += len(markers)
            self._producer.append(markers, self._markers.ack)

    def _decide(self, batch: KeyedBatch) -> FlowBatch:
        """The keyed stage: entries in, what the keyed steps let through out.

        A held batch that comes round again has no entries left, and passes.
        """
        if not batch.slices:
            return batch
        chain = self._chain
        chain.batch = batch
        work = WORK
        rest: list[tuple[Task, list[Record]]] = []
        labels: dict[Slot, Label] = {}
        for task, records in batch.slices:
            slot = task.slot
            if self._tasks.get(slot) is not task:
                continue  # taken from us while it was queued: nothing of it was begun
            label, done = batch.labels[slot], 0
            if work > 0:
                done, work = task.run(records, work)
                label, batch.now = task.position, max(batch.now, task.now)
            if done < len(records):
                rest.append((task, records[done:]))
                labels[slot] = label
        self._long = work <= WORK // 2
        if rest:
            flight = Flight() if batch.muted else self._flights.take(labels)
            self._queue.appendleft(KeyedBatch(rest, flight, labels, batch.muted))
        if not batch.muted:
            batch.items = self._unknown(batch, chain.emitted)
        batch.slices = []
        chain.emitted.clear()
        return batch

    def _unknown(self, batch: KeyedBatch, emitted: Sequence[Item]) -> list[Item]:
        """The items about which the steps behind are to be asked; of the others it is written down
        what an earlier run has decided."""
        unknown, asked = [], batch.asked
        for item in emitted:
            home = item.origin.partition
            mine = asked.get(home)
            if mine is None:
                mine = asked[home] = (self._tasks[Slot(self._topic, home)], [])
            task, names = mine
            name = name_of(item)
            known = task.store.outbox.take(name) if task.store.outbox.known else None
            if known is None:
                names.append(name)
                unknown.append(item)
            else:
                batch.repeat(home, known)
        batch.given = len(batch.appends)
        return unknown

    def _emit(self, batch: FlowBatch) -> None:
        batch.flight.open += len(batch.appends)
        self._outgoing.unsealed.append(batch)
        if isinstance(batch, KeyedBatch) and batch.rest:
            # In envelopes of its own each part could be found without the others.
            batch.asked, batch.given = {}, len(batch.appends)

    def _seal(self) -> None:
        """Write down what the steps behind have decided since the last time."""
        shares: dict[int, tuple[Task, list[Name], list[Append]]] = {}
        for batch in self._outgoing.unsealed:
            if not isinstance(batch, KeyedBatch):
                continue
            for home, (task, names) in batch.asked.items():
                if self._tasks.get(task.slot) is not task:
                    batch.lose([home])  # taken from us while the batch was held
                elif home in shares:
                    shares[home][1].extend(names)
                else:
                    shares[home] = (task, names, [])
            given = batch.given
            for append, home in zip(batch.appends[given:], batch.homes[given:], strict=True):
                shares[home][2].append(append)
        envelopes: list[Append] = []
        for task, names, appends in shares.values():
            if appends:
                low = self._low(task.slot).offset
                envelopes += task.store.outbox.seal(names, appends, task.position.offset, low)
        self._outgoing.seal(envelopes)

    # ── Saving ────────────────────────────────────────────────────────────────────────────────

    def _keep_up(self, wall: int) -> None:
        mark = not 0 < self._mark_at - wall <= MARK_EVERY_MS
        if mark:
            self._mark_at = wall + MARK_EVERY_MS
        for slot, task in self._tasks.items():
            low = self._low(slot)
            task.release(low)
            if task.position.offset >= task.doubtful:
                task.store.outbox.forget()
            if mark and low.offset > self._marked[slot] and not task.replaying():
                self._marked[slot] = low.offset
                task.mark(low)
            if task.store.flight.error is not None:
                raise LogError(f"the state of {slot} was not written: {task.store.flight.error}")
