"""What an intake and a keyed flow have in common: a member of a group that commits no output early.

    pull: serve the log ── keep up ── a held batch, a queued one, or new records ── stages ── push

A batch that a port could not answer is *held*: its partitions stand still, the group is kept up
with, and the batch goes round again until it is answered. Nothing is guessed, nothing is skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import structlog

from tidings.log.port import (
    Consumer,
    Log,
    LogError,
    OutOfRange,
    Position,
    Producer,
    Record,
    Slot,
)
from tidings.ports import Clock
from tidings.runtime.batch import FlowBatch
from tidings.runtime.flight import Flights, Label
from tidings.runtime.unit import Stage

BATCH = 1_000  # records a pull: about 10 ms of work
COMMIT_EVERY_MS = 200
HELD_FOR_MS = 100  # between two tries of a batch that a port could not answer
IDLE_FOR = 0.005  # seconds between two looks at a quiet log
FLUSH_FOR = 5.0  # seconds that a rebalance waits for the log to confirm

_LOG = structlog.get_logger(__name__)


class Member:
    """A unit that reads as a group member and appends; subclasses say what a batch is."""

    def __init__(
        self,
        name: str,
        group: str,
        topics: Sequence[str],
        *,
        log: Log,
        clock: Clock,
        on_out_of_range: OutOfRange,
    ) -> None:
        self.name = name
        self.stages: list[Stage] = []
        self._group = group
        self._topics = topics
        self._log = log
        self._clock = clock
        self._policy = on_out_of_range
        self._consumer: Consumer
        self._producer: Producer
        self._flights = Flights()
        self._committed: dict[Slot, int] = {}
        self._queue: deque[FlowBatch] = deque()
        self._held: FlowBatch | None = None
        self._again_at = 0  # when the held batch is tried again
        self._waits = False  # and that was said
        self._paused = False  # some partitions are, for a held batch
        self._still = False  # all are; what has come to us since is not
        self._due_at = 0
        self._stopping = False

    # ── What a subclass says ──────────────────────────────────────────────────────────────────

    def _take(self, records: list[Record], wall: int) -> None:
        """Turn records into batches on the queue."""
        raise AssertionError("a member says what a batch is")

    def _position(self, slot: Slot) -> Label:
        """The next offset to be handled."""
        raise AssertionError("a member knows its positions")

    def _keep_up(self, wall: int) -> None:
        """What is to be done every now and then, beside the commit."""

    def _emit(self, batch: FlowBatch) -> None:
        """Append what the batch caused."""
        batch.flight.open += len(batch.appends)
        self._producer.append(batch.appends, batch.flight.ack)

    # ── The unit ──────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Open the clients and join the group."""
        self._producer = self._log.producer()
        self._consumer = self._log.consumer(self._group, on_out_of_range=self._policy)
        self._consumer.subscribe(self._topics, self)

    def pull(self) -> FlowBatch | None:
        """The next batch, if there is one."""
        self._producer.poll()
        wall = self._clock.now()
        if not 0 < self._due_at - wall <= COMMIT_EVERY_MS:  # a clock may be set back
            self._due_at = wall + COMMIT_EVERY_MS
            self._commit(list(self._committed), wait=False)
            self._keep_up(wall)
        if self._stopping:
            return None
        if self._held is not None:
            return self._again(wall)
        if self._paused:
            self._consumer.resume(list(self._committed))
            self._paused = self._still = False
        if not self._queue:
            self._take(self._consumer.poll(BATCH), wall)
        return self._queue.popleft() if self._queue else None

    def _again(self, wall: int) -> FlowBatch | None:
        """The held batch once more, when it is time. Nothing is read, but the group is served."""
        if not self._still:
            self._consumer.pause(list(self._committed))
            self._paused = self._still = True
        self._take(self._consumer.poll(1), wall)
        held = self._held
        if held is None or 0 < self._again_at - wall <= HELD_FOR_MS:
            return None
        self._held = None
        return held

    def push(self, batch: FlowBatch) -> None:
        """Append what the batch caused, or keep it if a port could not answer."""
        if batch.held:
            if not self._waits:
                _LOG.warning("events wait", unit=self.name, error=batch.held)
            self._waits, batch.held = True, ""
            self._held = batch
            self._again_at = self._clock.now() + HELD_FOR_MS
            return
        if self._waits:
            self._waits = False
            _LOG.info("events go on", unit=self.name)
        if batch.appends:
            self._emit(batch)
        following = batch.follow(BATCH)
        if following is not None:
            self._queue.appendleft(following)
        else:
            batch.flight.ack(None)

    def pause(self) -> float:
        """Look again soon."""
        return HELD_FOR_MS / 1_000 if self._held is not None else IDLE_FOR

    def holds(self) -> bool:
        """Whether a batch waits for a port's answer."""
        return self._held is not None

    def stop(self) -> None:
        """Leave the group in order: ``revoked`` flushes and commits."""
        self._stopping = True
        self._consumer.close()

    def drained(self) -> bool:
        """Stopping is done within ``stop``."""
        return self._stopping

    def close(self) -> None:
        """Let go of the producer."""
        self._producer.close()

    # ── The listener ──────────────────────────────────────────────────────────────────────────

    def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
        """Start where the group stands."""
        for slot, position in positions.items():
            self._committed[slot] = position.offset if position is not None else 0
        self._still = False
        return {}

    def revoked(self, slots: Sequence[Slot]) -> None:
        """Have everything confirmed, commit, forget. What can't be is left to the next owner."""
        try:
            self._hand_over(slots)
        except LogError as error:
            _LOG.warning("handed over late", unit=self.name, slots=slots, error=str(error))
        finally:
            self.lost(slots)

    def _hand_over(self, slots: Sequence[Slot]) -> None:
        self._producer.flush(FLUSH_FOR)
        self._commit(slots, wait=True)

    def lost(self, slots: Sequence[Slot]) -> None:
        """Forget. What is queued or held goes on, for the next owner makes the same, ids included;
        a held batch of which all is lost is let go."""
        for slot in slots:
            self._flights.forget(slot)
            self._committed.pop(slot, None)
        self._still = False
        if self._held is not None and not self._committed.keys() & self._held.labels.keys():
            self._held = None

    def _low(self, slot: Slot) -> Label:
        return self._flights.low(slot, self._position(slot))

    def _commit(self, slots: Sequence[Slot], wait: bool) -> None:
        moved = {}
        for slot in slots:
            low = self._low(slot).offset
            if low > self._committed.get(slot, 0):
                self._committed[slot] = low
                moved[slot] = Position(low)
        if moved:
            self._consumer.commit(moved, wait)
