"""The records that travel: what is written to the log, as JSON, and nothing else.

    Event ──► Entry ──► (keyed state) ──► Delivery ──► Outcome
              intake     flow              lane         ledger

Every record is a msgspec struct: decoding checks types, unknown fields are ignored so that an older
process can read what a newer one wrote. Times are epoch milliseconds (UTC) and come from the log.
The wire form of each is held by a golden file in ``tests/golden``; a change there is a migration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any, TypedDict, cast

import msgspec

from tidings.ids import outcome_id

_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A place in the log: state and stores keep it in 64 bits."""


class Priority(StrEnum):
    """How urgent a notification is; each has topics, processes and connections of its own."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @classmethod
    def of(cls, name: str) -> Priority:
        """The priority called ``name``; ``critical`` and ``standard`` are other names.

        Raises ValueError for any other name.
        """
        return cls({"critical": "high", "standard": "normal"}.get(name, name))


class Origin(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where a record stands in the log: the coordinates that a claim, a stamp, an outcome name.

    ``index`` tells apart what one record was split into.
    """

    topic: str
    partition: _Number
    offset: _Number
    index: _Number = 0

    def __str__(self) -> str:
        tail = f"#{self.index}" if self.index else ""
        return f"{self.topic}:{self.partition}:{self.offset}{tail}"

    @classmethod
    def read(cls, text: str) -> Origin:
        """What ``str`` made of one. Raises ValueError for any other text."""
        place, _, index = text.partition("#")
        topic, partition, offset = place.rsplit(":", 2)
        return cls(topic, int(partition), int(offset), int(index or 0))


class Notification(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A ready notification as a producer writes it: the body of ``POST /v1/notify``.

    ``type`` is looked up in the category table of ``config/tidings.yaml``.
    """

    recipient_id: str
    type: str
    tenant: str = "default"
    notif_id: str = ""
    template_id: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    campaign_id: str = ""
    priority: str = "normal"
    channels: tuple[str, ...] = ()
    send_at: int = 0
    expires_at: int = 0
    dedup_key: str = ""
    collapse_key: str = ""


class Signal(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of a delivery, for the flow that waits for it.

    ``kind`` is that of the outcome, ``wait`` and ``round`` are the delivery's. It says nothing
    else, so that the same thing told twice is the same signal.
    """

    wait: str
    kind: str
    round: int = 0


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One event for one recipient, as the intake writes it to ``tidings.<flow>``.

    ``origin`` is the stamp: a bucket drops an entry that is not above its mark for that source.
    ``expires_at`` is what ``expire`` found before the cut, ``way`` the arms that ``fan_out`` took.
    With a ``signal`` it is no event but news of a delivery, which a lane, the receipts or the flow
    itself wrote; marks do not count for it, and ``origin`` is where it was found out.
    """

    recipient_id: str
    event_id: str
    origin: Origin
    event: dict[str, Any]
    tenant: str = "default"
    expires_at: int = 0
    way: str = ""
    signal: Signal | None = None


class Allowance(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A cap as one notification meets it: at most so many in any ``within_ms``.

    An ``exempt`` one passes and still counts. ``name`` is the cap's, see ``ids.cap_key``.
    """

    name: str
    at_most: int
    within_ms: int
    exempt: bool = False


DOUBT = "doubt"
"""What an address has answered that may have taken a message, and whose provider is asked."""


class Delivery(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One notification on one channel, not yet rendered: ``deliveries.<channel>.<priority>``.

    ``chain`` holds the channels left to try when this one fails (``first_of``). ``answers`` says
    what each address has answered so far (send id → verdict), so that a later rung of the retry
    ladder does not send again to a device that has it; `DOUBT` is no last word. ``attempt`` counts
    the tries so far, ``spared`` those of them that do not count against the retries (a rate limit).
    ``caps`` names what it was counted against (``ids.cap_key``), ``allowances`` what it is to be
    counted against on the channels of its chain. ``variant`` names the arms of experiments it is
    in. ``awaits`` names the providers for whose sake alone it is on the ladder: when one of them
    takes sends again, it need not wait any longer.

    ``reply_to`` is the topic that hears what becomes of it, under the name ``wait``. ``detour`` is
    how many providers of the lane's list were tried before, in earlier rounds. ``supersedes`` is
    the person's key of which only the newest is sent (``ids.newest_key``). ``on_uncertain`` says
    what becomes of a send that may have gone out; where it says nothing, the lane does.
    """

    notif_id: str
    recipient_id: str
    flow: str
    step: str
    version: str
    channel: str
    template: str
    category: str
    created_at: int
    origin: Origin
    tenant: str = "default"
    priority: str = "normal"
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    chain: tuple[str, ...] = ()
    round: int = 0
    attempt: int = 0
    spared: int = 0
    answers: dict[str, str] = msgspec.field(default_factory=dict)
    not_before: int = 0
    expires_at: int = 0
    collapse_key: str = ""
    campaign_id: str = ""
    reply_to: str = ""
    caps: tuple[str, ...] = ()
    variant: str = ""
    allowances: dict[str, tuple[Allowance, ...]] = msgspec.field(default_factory=dict)
    awaits: tuple[str, ...] = ()
    wait: str = ""
    detour: int = 0
    supersedes: str = ""
    on_uncertain: str = ""

    def answered(self, send_id: str) -> bool:
        """Whether the address of this send has said its last word."""
        return self.answers.get(send_id, DOUBT) != DOUBT


class Stage(StrEnum):
    """Which part of a notification's life an outcome tells of."""

    DECISION = "decision"
    ATTEMPT = "attempt"
    END = "end"
    RECEIPT = "receipt"


class Kind(StrEnum):
    """What happened. Exactly one outcome of stage ``end`` counts for each delivery: the first."""

    QUEUED = "queued"
    DIGESTED = "digested"
    DEFERRED = "deferred"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    RETRIED = "retried"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One line per thing that happened: topic and table ``notif_events``.

    ``address`` is a hash, never the address. ``members`` are the event ids that the line covers:
    those of a digest, or the one event of a single notification. ``origin`` is where the record in
    hand stands: the entry of a decision, the delivery of an attempt or an end. ``cost`` is in
    millionths of the account's currency. ``latency_ms`` of an attempt runs from call to answer, of
    an end from the delivery's ``created_at``.

    A record of stage ``end`` that names a send tells of two outcomes, see ``outcomes_of``; its
    ``took_ms`` is the latency of the attempt.
    """

    outcome_id: str
    at: int
    stage: str
    kind: str
    recipient_id: str
    flow: str
    step: str
    version: str = ""
    tenant: str = "default"
    notif_id: str = ""
    send_id: str = ""
    reason: str = ""
    detail: str = ""
    members: tuple[str, ...] = ()
    channel: str = ""
    priority: str = ""
    category: str = ""
    campaign_id: str = ""
    address: str = ""
    attempt: int = 0
    round: int = 0
    provider: str = ""
    provider_id: str = ""
    code: str = ""
    cost: int = 0
    latency_ms: int = 0
    template: str = ""
    template_version: str = ""
    locale: str = ""
    variant: str = ""
    origin: Origin | None = None
    took_ms: int = 0


class Alert(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that people have to see to: topic ``notif_alerts``, keyed by what it is about.

    ``state`` is ``open`` or ``closed``; the two of one trouble have one ``alert_id``. ``where`` is
    the part that says so (``push.normal``), ``by`` its process. ``code`` is the provider's word,
    ``fix`` what is likely to help. It says nothing of a person.
    """

    alert_id: str
    at: int
    kind: str
    state: str
    where: str
    by: str
    provider: str = ""
    code: str = ""
    fix: str = ""


PROVIDER_DOWN = "provider_down"
"""The cause of a letter whose provider failed until nothing was left to try."""


class DeadLetter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a record could not go on: the headers of a dead letter, whose value is the original
    bytes. ``cause`` is the trouble behind it, where that was not the record's own
    (``provider_down``), and ``provider`` whose it was: once it is over, such letters can be
    released.

    On the wire each field is a log header ``tidings-<field>`` in UTF-8, beside the original
    headers.
    """

    reason: str
    error: str
    step: str
    flow: str
    origin: Origin
    at: int
    trace: str = ""
    cause: str = ""
    provider: str = ""


encode = msgspec.json.Encoder().encode
decode_entry = msgspec.json.Decoder(Entry).decode
decode_delivery = msgspec.json.Decoder(Delivery).decode
decode_notification = msgspec.json.Decoder(Notification).decode
decode_alert = msgspec.json.Decoder(Alert).decode
decode_outcome = msgspec.json.Decoder(Outcome).decode  # a record as it stands
decode_event = msgspec.json.Decoder(dict[str, Any]).decode
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what they raise


def outcomes_of(value: bytes) -> tuple[Outcome, ...]:
    """The outcomes that one record of ``notif_events`` tells of, as all who read them count them.

    Nearly every delivery has one address, which takes it: what was tried and how that ended is
    written as one record, an end that says which send it was. It is an attempt and an end, with the
    ids that they would have apart; any other record is one outcome. Raises msgspec's DecodeError.
    """
    told = decode_outcome(value)
    if not told.send_id or told.stage != Stage.END:
        return (told,)
    attempt = msgspec.structs.replace(
        told,
        outcome_id=outcome_id(told.send_id, told.kind, told.attempt),
        stage=Stage.ATTEMPT.value,
        latency_ms=told.took_ms,
        took_ms=0,
    )
    end = msgspec.structs.replace(
        told,
        send_id="",
        address="",
        provider="",
        provider_id="",
        code="",
        detail="",
        cost=0,
        took_ms=0,
    )
    return attempt, end


def fields_of(names: Iterable[str]) -> Any:
    """A type for a JSON object of which only these fields are wanted: the rest is passed over.

    Decoding into it gives a dict that has those of the fields which are there, in a third of the
    time that the whole of a usual event takes.
    """
    return TypedDict("Fields", dict.fromkeys(names, Any), total=False)  # type: ignore[operator]


def entry_decoder(names: Iterable[str]) -> Callable[[bytes], Entry]:
    """A decoder of entries that reads only these fields of the event."""
    fields = [("event", fields_of(names)) if f.name == "event" else _field(f) for f in _ENTRY]
    view = msgspec.defstruct("EntryView", fields, bases=(), kw_only=True, gc=False)
    return cast(Callable[[bytes], Entry], msgspec.json.Decoder(view).decode)


_ENTRY = msgspec.structs.fields(Entry)


def _field(field: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.default is msgspec.NODEFAULT:
        return field.name, field.type
    return field.name, field.type, field.default
