"""The way into a flow: raw records become items, and items entries of the flow's own topic.

An intake has it, and so has a backtest, which moves the steps in between by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import msgspec

from tidings.contract import Batch, Item, Part, Site
from tidings.expressions import EvaluationError
from tidings.ids import SEPARATOR
from tidings.log.port import Headers, OutOfRange, Record
from tidings.nesting import DEEPEST, check_depth
from tidings.ports import Io
from tidings.records import UNDECODABLE, Entry, Origin, decode_event, encode, fields_of

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


class Bad(NamedTuple):
    """An item that can't come in, and why."""

    item: Item
    reason: str
    error: str


class Entrance:
    """Reads what a flow's ``source`` holds; ``version`` is the flow's."""

    def __init__(self, flow: str, source: Source, version: str) -> None:
        self.site = Site(f"{flow}.source", flow, Part.INTAKE, version)
        self.source = source
        self._decode: Callable[[bytes], dict[str, Any]] = decode_event
        if source.reads is not None:
            names = source.reads | {ENVELOPE}
            self._decode = msgspec.json.Decoder(fields_of(names)).decode

    def read(self, records: Iterable[Record]) -> tuple[list[Item], list[Bad]]:
        """What records hold, in their order, and those of them that hold nothing."""
        source = self.source
        keyed, decode, whole = not source.keyed_after, self._decode, source.reads is None
        items: list[Item] = []
        bad: list[Bad] = []
        for record in records:
            where = Origin(record.topic, record.partition, record.offset)
            item = Item({}, where, record.time, "", "", "default", record, 0, "", whole)
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
                bad.append(Bad(item, "undecodable", str(error)))
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
                    bad.append(Bad(item, "no_recipient", str(error)))
                    continue
            items.append(item)
        return items, bad

    def key(self, batch: Batch[Item], io: Io) -> None:
        """The step that says whose items are that a split has made."""
        kept = []
        for item in batch.items:
            try:
                self._name(item)
                kept.append(item)
            except NOT_THERE as error:
                batch.dead(item, "no_recipient", error, self.site)
        batch.items = kept

    def _name(self, item: Item) -> None:
        """Say whose item it is. Raises LookupError where the event doesn't tell."""
        item.recipient_id = text(self.source.key(item.data))
        if self.source.tenant is not None:
            item.tenant = text(self.source.tenant(item.data))

    def entry(self, item: Item, batch: Batch[Item]) -> bytes | None:
        """The entry of an item; of one that is too large there is none, and it is dead."""
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
            batch.dead(item, "too_large", f"the entry has {len(value)} bytes", self.site)
            return None
        return value


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
