"""A flow from its cut on, replayed thing by thing in the order of their times.

    entries ──► keyed steps ──► consent, cap, deliver ──► Tally
                     ▲                         │
                     └── signals, when due ◄── told: sent at once, opened after two minutes

What waits for its deliveries hears of them between two events, so what is decided of one event has
to be through before the next one is looked at. Units, which hand over batches and see that nothing
of them is lost, would spend a hundred times what that takes; here there is nothing to be lost.

At one instant deadlines come first, then signals, then events. What an event of this instant has
led to comes behind all of its events: how many are fed at once makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from tidings.compile.units import Behind
from tidings.contract import Item, Who
from tidings.driver.decided import AT_ONCE, Decided
from tidings.driver.intake import Entered
from tidings.driver.tally import Tally
from tidings.ids import person_key
from tidings.ports import Io
from tidings.records import Delivery, Kind, Origin, Signal
from tidings.runtime.chain import Chain
from tidings.runtime.people import HOT, People, act_at_of
from tidings.runtime.state import Bucket, Cell
from tidings.stores.clock import ManualClock
from tidings.topics import entries


class News(NamedTuple):
    """What became of a delivery, as the kind of an outcome, so many ms after it was written."""

    kind: str
    after: int


class Heard(NamedTuple):
    """News for whoever waits of a person, at its time (epoch ms)."""

    at: int
    tenant: str
    recipient_id: str
    signal: Signal


Told = Callable[[Delivery], Sequence[News]]
"""What a flow hears of a delivery that it waits for."""

SENT_AT_ONCE = (News(Kind.SENT.value, 0),)
"""What is assumed where nothing is known."""


class Replay:
    """The keyed part of ``flow`` and the steps behind it; what they decide is in ``tally``.

    ``io.clock`` must be ``clock``, which is set to the time of what is looked at. ``told`` says
    what is heard of a delivery that is waited for, ``heard`` is heard besides.
    """

    def __init__(
        self,
        flow: str,
        behind: Behind,
        io: Io,
        clock: ManualClock,
        tally: Tally,
        told: Told,
        heard: Iterable[Heard] = (),
    ) -> None:
        self._chain = Chain(behind.links, io)
        self._tail = behind.tail
        self._io = io
        self._clock = clock
        self._told = told
        self._topic = entries(flow)
        self.now = clock.now()
        self._event_at = -1  # the time of the last event
        self._bucket = Bucket()
        self._people = People([self._bucket], self._chain)
        self._left = (
            HOT  # people that may be touched before those who are at rest are looked through
        )
        self._order = count()  # signals of one instant stay in order
        self._due: list[tuple[int, int, bytes, Signal]] = []
        for each in heard:
            self._expect(person_key(each.tenant, each.recipient_id).encode(), each.at, each.signal)
        self._who = lru_cache(HOT)(partial(_who, self._topic))
        self._decided = self._chain.batch = Decided(tally, self._topic)
        self._chain.heap = self._people.heap

    # ── Time ──────────────────────────────────────────────────────────────────────────────────

    def feed(self, entered: Iterable[Entered]) -> None:
        """Handle entries, in order of time, and what is due before them."""
        chain, heap, topic = self._chain, self._people.heap, self._topic
        for each in entered:
            record, entry = each.record, each.entry
            time = max(record.time, self.now)
            if time > self._event_at:
                self.advance(time)
                self._event_at = time
            else:
                while heap and heap[0][0] <= time:
                    self._fire()
            key = record.key or b""
            cell = self._cell(key)
            chain.cell, chain.key, chain.now = cell, key, time
            chain.push(
                Item(  # by position, for it is made for every event
                    entry.event.copy(),
                    Origin(topic, 0, record.offset),
                    time,
                    entry.recipient_id,
                    entry.event_id,
                    entry.tenant,
                    record,
                    entry.expires_at,
                    entry.way,
                )
            )
            self._let_go(key, cell)

    def advance(self, until: int) -> None:
        """Let time pass up to ``until`` (epoch ms), and all be done that is due by then."""
        heap, due = self._people.heap, self._due
        while True:
            if heap and heap[0][0] <= until and not (due and due[0][0] < heap[0][0]):
                self._fire()
            elif due and due[0][0] <= until:
                self._hear()
            else:
                break
        self._set(until)

    def _set(self, time: int) -> None:
        if time > self.now:
            self.now = time
            self._clock.set(time)

    # ── What happens ──────────────────────────────────────────────────────────────────────────

    def _fire(self) -> None:
        """Let the next deadline act."""
        chain, people = self._chain, self._people
        at, key = heappop(people.heap)
        cell = self._bucket.hot.get(key)
        if cell is None:
            state = self._bucket.states.get(key)
            if state is None or act_at_of(state)[0] != at:
                return
            cell = Cell(chain.unpack(state), at)
        elif cell.act_at != at:
            return
        self._set(at)
        cell.act_at, cell.changed = 0, True
        chain.cell, chain.key = cell, key
        following = chain.due(at, self._who(key))
        if following and (not cell.act_at or following < cell.act_at):
            cell.act_at = following
            heappush(people.heap, (following, key))
        self._let_go(key, cell)

    def _hear(self) -> None:
        """Let the next signal be heard."""
        at, _, key, signal = heappop(self._due)
        self._set(at)
        chain, cell = self._chain, self._cell(key)
        chain.cell, chain.key, chain.now = cell, key, self.now
        chain.hear(signal, self._who(key))
        self._let_go(key, cell)

    def _cell(self, key: bytes) -> Cell:
        """The state of a person in use."""
        cell = self._bucket.hot.get(key)
        if cell is None:
            state = self._bucket.states.get(key)
            if state is None:
                cell = Cell([None] * len(self._chain.steps))
            else:
                cell = Cell(self._chain.unpack(state), act_at_of(state)[0])
            if self._people.hot < HOT:
                self._bucket.hot[key] = cell
                self._people.hot += 1
        cell.changed = True
        return cell

    def _let_go(self, key: bytes, cell: Cell) -> None:
        """Have what the person in hand has led to done, and keep what may be kept in use."""
        decided, people = self._decided, self._people
        if self._chain.emitted:
            decided.begin(self._chain.emitted, self.now)
            self._chain.emitted.clear()
            self._end(decided)
        if decided.heard:
            for signal in decided.heard:
                self._expect(key, self.now, signal)
            decided.heard.clear()
        if decided.awaited:
            for delivery in decided.awaited:
                self._listen(key, delivery)
            decided.awaited.clear()
        if self._bucket.hot.get(key) is not cell:
            people.rest(self._bucket, key, cell)
        self._left -= 1
        if self._left < 0:
            self._left = max(HOT, len(self._bucket.states))
            people.settle(self._bucket, self.now)

    def _end(self, batch: Decided) -> None:
        """Have the steps behind decide. Raises Unavailable where they can't."""
        tail, io, following = self._tail, self._io, True
        while following:
            for number in range(batch.at, len(tail)):
                if not batch.items:
                    break
                batch.at = number
                tail[number][1](batch, io)
            following = batch.follow(AT_ONCE) is not None

    # ── What is heard ─────────────────────────────────────────────────────────────────────────

    def _listen(self, key: bytes, delivery: Delivery) -> None:
        """Find out what becomes of a delivery."""
        wait, number, at = delivery.wait, delivery.round, delivery.created_at
        for kind, after in self._told(delivery):
            self._expect(key, at + after, Signal(wait, kind, number))

    def _expect(self, key: bytes, at: int, signal: Signal) -> None:
        heappush(self._due, (at, next(self._order), key, signal))


def _who(topic: str, key: bytes) -> Who:
    tenant, _, recipient = key.decode().rpartition("\x1f")
    return Who(tenant or "default", recipient, topic, 0)
