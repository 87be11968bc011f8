"""The intake: raw records of any topic, any key, become entries of a flow's own topic.

Stateless. It decodes, runs the steps before the cut, keys by recipient and appends to
``tidings.<flow>``; what can't be decoded goes to ``notif_dlq.flow``. A flow without keyed steps has
no cut: its last step is ``deliver``, and intake and flow are one hop. What such a one decides is
claimed before it goes out (``fates``).

Offsets move only past batches whose every output is confirmed. A crash therefore repeats a batch;
the stamp on each entry (where its source record stands) lets the keyed part count nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from tidings.contract import Item, Part, Site
from tidings.expressions import EvaluationError
from tidings.ids import SEPARATOR, person_key
from tidings.log.port import Append, Headers, Log, OutOfRange, Record, Slot
from tidings.nesting import DEEPEST, check_depth
from tidings.ports import Clock, Io, Unavailable
from tidings.records import UNDECODABLE, Entry, Origin, decode_event, encode, fields_of
from tidings.runtime.batch import FlowBatch, Step, stages
from tidings.runtime.fates import Fates, HopBatch
from tidings.runtime.flight import Label
from tidings.runtime.member import Member
from tidings.topics import entries

NOWHERE = Label(0, 0)
ENVELOPE = "specversion"  # the field that tells a CloudEvent in structured mode
BINARY = "ce_specversion"  # the header that tells one in binary mode
ATTRIBUTES = (("type", "ce_type"), ("event_id", "ce_id"))
NOT_THERE = (LookupError, EvaluationError)
LARGEST_ENTRY = 1_000_000  # bytes; the topic takes 2 MiB with key and headers
LONGEST_ID = 1_024  # characters; ids are keys, and many of them go into one outcome


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What an intake reads and how it finds its way about in it.

    ``key``, ``id`` and ``tenant`` get the recipient, the event's id and the tenant out of the
    event; they raise EvaluationError where it has none. ``keyed_after`` is the path of the split
    step that first names the recipient, empty where the event itself does. ``reads`` are the fields
    of an event that the steps look at; the others are not decoded but passed on as they came. None
    is for all of them.
    """

    topics: tuple[str, ...]
    key: Callable[[dict[str, Any]], Any]
    id: Callable[[dict[str, Any]], Any]
    tenant: Callable[[dict[str, Any]], Any] | None = None
    keyed_after: str = ""
    on_out_of_range: OutOfRange = OutOfRange.FAIL
    reads: frozenset[str] | None = None


class Intake(Member):
    """A unit: one flow's intake. ``cut`` tells whether a keyed part follows."""

    def __init__(
        self,
        flow: str,
        source: Source,
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
            source.topics,
            log=log,
            clock=clock,
            on_out_of_range=source.on_out_of_range,
        )
        named: list[Step] = []
        for step in steps:
            named.append(step)
            if step[0] == source.keyed_after:
                named.append((f"{flow}.key", self._key))
        if cut:
            named.append((f"{flow}.cut", self._cut))
        self.stages = stages(named, io)
        self._source = source
        self._decode: Callable[[bytes], dict[str, Any]] = decode_event
        if source.reads is not None:
            names = source.reads | {ENVELOPE}
            self._decode = msgspec.json.Decoder(fields_of(names)).decode
        self._site = Site(f"{flow}.source", flow, Part.INTAKE, version)
        self._topic = entries(flow)
        self._positions: dict[Slot, Label] = {}
        self._fates: Fates | None = None
        if not cut:
            self._fates = Fates(flow, version, io.claims, apart=bool(source.keyed_after))

    def push(self, batch: FlowBatch) -> None:
        """Append what the batch caused, when it is sure that no earlier run has said otherwise."""
        fates = self._fates
        if fates is not None and batch.appends and not batch.held and isinstance(batch, HopBatch):
            try:
                fates.claim(batch, self._clock.now())
            except Unavailable:
                batch.held = True
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

    # ── From bytes to items, and from items to entries ────────────────────────────────────────

    def _take(self, records: list[Record], wall: int) -> None:
        if not records:
            return
        source, labels, ends, now = self._source, dict[Slot, Label](), dict[Slot, int](), 0
        keyed, decode, whole = not source.keyed_after, self._decode, source.reads is None
        items: list[Item] = []
        bad: list[tuple[Item, str, str]] = []
        slot = Slot("", -1)
        for record in records:
            topic, partition, offset = record.topic, record.partition, record.offset
            if partition != slot.partition or topic != slot.topic:
                slot = Slot(topic, partition)
                labels.setdefault(slot, Label(offset, 0))
            ends[slot] = offset + 1
            time = record.time
            if time > now:
                now = time
            where = Origin(topic, partition, offset)
            item = Item({}, where, time, "", "", "default", record, 0, "", whole)
            value = record.value or b""
            try:
                if not whole:
                    value.decode()  # fields that are passed over are not looked at
                event = decode(value)
                if len(value) > 2 * DEEPEST:
                    check_depth(value)
                if ENVELOPE in event:
                    event = unwrap(decode_event(value))
                    item.whole = True
                elif record.headers and (known := attributes(record.headers)):
                    event = known | decode_event(value)
                    item.whole = True
            except UNDECODABLE as error:
                bad.append((item, "undecodable", str(error)))
                continue
            item.data = event
            try:
                item.event_id = text(source.id(event))
            except NOT_THERE:
                item.event_id = str(where)
            if keyed:
                try:
                    self._name(item)
                except NOT_THERE as error:
                    bad.append((item, "no_recipient", str(error)))
                    continue
            items.append(item)
        for slot, end in ends.items():
            self._positions[slot] = Label(end, 0)
            if labels[slot].offset < self._committed.get(slot, 0):
                self._committed[slot] = 0  # the topic was made anew: commits begin anew as well
        kind = FlowBatch if self._fates is None else HopBatch
        batch = kind(items, now, self._flights.take(labels), labels)
        for item, reason, why in bad:
            batch.dead(item, reason, why, self._site)
        self._queue.append(batch)

    def _name(self, item: Item) -> None:
        """Say whose item it is. Raises LookupError where the event doesn't tell."""
        item.recipient_id = text(self._source.key(item.data))
        if self._source.tenant is not None:
            item.tenant = text(self._source.tenant(item.data))

    def _key(self, batch: FlowBatch, io: Io) -> None:
        kept = []
        for item in batch.items:
            try:
                self._name(item)
                kept.append(item)
            except NOT_THERE as error:
                batch.dead(item, "no_recipient", error, self._site)
        batch.items = kept

    def _cut(self, batch: FlowBatch, io: Io) -> None:
        topic, appends = self._topic, batch.appends
        for item in batch.items:
            entry = Entry(
                recipient_id=item.recipient_id,
                event_id=item.event_id,
                origin=item.origin,
                event=item.data if item.whole else cast(Any, msgspec.Raw(_value(item))),
                tenant=item.tenant,
                expires_at=item.expires_at,
                way=item.way,
            )
            value = encode(entry)
            if len(value) > LARGEST_ENTRY:
                batch.dead(item, "too_large", f"the entry has {len(value)} bytes", self._site)
                continue
            key = person_key(item.tenant, item.recipient_id).encode()
            appends.append(Append(topic, key, value))


def _value(item: Item) -> bytes:
    """The bytes that an item came as."""
    assert item.record is not None
    return item.record.value or b""


def text(value: object) -> str:
    """An id as text. Raises LookupError for what is no id: null, empty, a list, a map; and for one
    that can be no key: longer than LONGEST_ID, or with the character that parts tenant and person.
    """
    if type(value) is int:
        value = str(value)
    if type(value) is not str or not value:
        raise LookupError(f"an id must be a text or a whole number, not {value!r}")
    if len(value) > LONGEST_ID:
        raise LookupError(f"an id may have {LONGEST_ID} characters, this one has {len(value)}")
    if SEPARATOR in value:
        raise LookupError(f"an id may not hold the character {SEPARATOR!r}: {value!r}")
    return value


def unwrap(event: dict[str, Any]) -> dict[str, Any]:
    """A CloudEvents 1.0 envelope (structured mode) as a plain event.

    Its ``data`` gives the fields; ``type`` and ``id`` stand in for those that the data lacks.
    """
    data = event.get("data")
    if not isinstance(data, dict):
        return event
    return {"type": event.get("type"), "event_id": event.get("id"), **data}


def attributes(headers: Headers) -> dict[str, Any]:
    """What the headers of a CloudEvent 1.0 in binary mode say that its data may lack; empty for any
    other record."""
    found = dict(headers)
    if BINARY not in found:
        return {}
    return {name: found[header].decode() for name, header in ATTRIBUTES if header in found}
