"""The intake: raw records of any topic, any key, become entries of a flow's own topic.

Stateless. It decodes, runs the steps before the cut, keys by recipient and appends to
``tidings.<flow>``; what can't be decoded goes to ``notif_dlq.flow``. A flow without keyed steps has
no cut: its last step is ``deliver``, and intake and flow are one hop. What such a one decides is
claimed before it goes out (``fates``).

Offsets move only past batches whose every output is confirmed. A crash therefore repeats a batch;
the stamp on each entry (where its source record stands) lets the keyed part count nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidings.ids import person_key
from tidings.log.port import Append, Log, Record, Slot
from tidings.ports import Clock, Io, Unavailable
from tidings.runtime.batch import FlowBatch, Step, stages
from tidings.runtime.entrance import Entrance
from tidings.runtime.fates import Fates, HopBatch
from tidings.runtime.flight import Label
from tidings.runtime.member import Member
from tidings.topics import entries

NOWHERE = Label(0, 0)


class Intake(Member):
    """A unit: one flow's intake. ``cut`` tells whether a keyed part follows."""

    def __init__(
        self,
        flow: str,
        entrance: Entrance,
        steps: Sequence[Step],
        *,
        cut: bool,
        version: str,
        log: Log,
        io: Io,
        clock: Clock,
    ) -> None:
        super().__init__(
            f"{flow}.intake",
            f"tidings.{flow}.intake",
            entrance.source.topics,
            log=log,
            clock=clock,
            on_out_of_range=entrance.source.on_out_of_range,
        )
        named = [*steps]
        if cut:
            named.append((f"{flow}.cut", self._cut))
        self.stages = stages(named, io)
        self._entrance = entrance
        self._topic = entries(flow)
        self._positions: dict[Slot, Label] = {}
        self._fates: Fates | None = None
        if not cut:
            self._fates = Fates(flow, version, io.claims, apart=bool(entrance.source.keyed_after))

    def push(self, batch: FlowBatch) -> None:
        """Append what the batch caused, when it is sure that no earlier run has said otherwise."""
        fates = self._fates
        if fates is not None and batch.appends and not batch.held and isinstance(batch, HopBatch):
            try:
                fates.claim(batch, self._clock.now())
            except Unavailable as error:
                batch.held = str(error) or "no answer"
        super().push(batch)

    def _keep_up(self, wall: int) -> None:
        if self._fates is not None:
            self._fates.committed(self._committed, wall)

    def lost(self, slots: Sequence[Slot]) -> None:
        """Forget."""
        super().lost(slots)
        for slot in slots:
            self._positions.pop(slot, None)
        if self._fates is not None:
            self._fates.lost(slots)

    def _position(self, slot: Slot) -> Label:
        return self._positions.get(slot, NOWHERE)

    def _take(self, records: list[Record], wall: int) -> None:
        if not records:
            return
        labels, ends, now = dict[Slot, Label](), dict[Slot, int](), 0
        slot = Slot("", -1)
        for record in records:
            if record.partition != slot.partition or record.topic != slot.topic:
                slot = Slot(record.topic, record.partition)
                labels.setdefault(slot, Label(record.offset, 0))
            ends[slot] = record.offset + 1
            if record.time > now:
                now = record.time
        for slot, end in ends.items():
            self._positions[slot] = Label(end, 0)
            if labels[slot].offset < self._committed.get(slot, 0):
                self._committed[slot] = 0  # the topic was made anew: commits begin anew as well
        items, bad = self._entrance.read(records)
        kind = FlowBatch if self._fates is None else HopBatch
        batch = kind(items, now, self._flights.take(labels), labels)
        for item, reason, why in bad:
            batch.dead(item, reason, why, self._entrance.site)
        self._queue.append(batch)

    def _cut(self, batch: FlowBatch, io: Io) -> None:
        topic, appends, entry_of = self._topic, batch.appends, self._entrance.entry
        for item in batch.items:
            if (value := entry_of(item, batch)) is not None:
                key = person_key(item.tenant, item.recipient_id).encode()
                appends.append(Append(topic, key, value))
