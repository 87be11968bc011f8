"""Receipts as a unit: what providers tell of a message becomes outcomes, and what follows of it.

    provider_events ──► the provider's own parser ──► outcomes of stage ``receipt``
                                                  ──► suppressions, addresses that are gone
                                                  ──► one more try, later
                                                  ──► a signal to the flow that waits for it
                                                  ──► a word to the people who run this
                                                  ──► replies, as events that flows read

A callback that can't be read, or that its provider has not signed, is a dead letter, and so is a
reply whose sender nobody knows. What comes twice has one id: the send's, and the provider's own for
what happened. The ports and the log are asked before anything is written, and all that they are
asked for may be done twice: while one of them is away the batch waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
import structlog

from tidings.contract import Item, Part, Site
from tidings.holder import this_process
from tidings.ids import address_hash, outcome_id, person_key
from tidings.log.port import (
    Append,
    Log,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Reader,
    Record,
    Slot,
)
from tidings.ports import Clock, Io, Person, Suppression, Unavailable
from tidings.providers import Desk
from tidings.receipts import PROVIDER_EVENTS, Forged, Receipt, Reference, Reply, Webhook
from tidings.records import (
    Delivery,
    Kind,
    Origin,
    Outcome,
    Signal,
    Stage,
    decode_delivery,
    encode,
)
from tidings.redaction import redacted
from tidings.runtime import replies, soft_bounces
from tidings.runtime.alerts import Alerts, Cause
from tidings.runtime.batch import FlowBatch, stages
from tidings.runtime.flight import Label
from tidings.runtime.member import Member
from tidings.runtime.replies import UNKNOWN_SENDER, Answer
from tidings.runtime.signals import AGAIN, signal_append
from tidings.topics import EVENTS, deliveries

_LOG = structlog.get_logger(__name__)
_NAME = "receipts"
_GONE = "invalid"
_LONGEST_DETAIL = 2_000  # characters
_ASK_TOPICS_MS = 30_000  # between two looks for a topic that is not there
_QUIET_MS = 3_600_000  # without such a receipt, and the trouble is over
_SEE = (
    "look the code up with the provider, and the outcomes whose reason is needs_people: carriers "
    "that filter want another text or a registered sender"
)


class _Case(NamedTuple):
    """One receipt in hand. ``reference`` is None where the provider gave none back."""

    item: Item
    provider: str
    receipt: Receipt
    reference: Reference | None
    at: int

    @property
    def channel(self) -> str:
        return self.reference.channel if self.reference is not None else self.receipt.channel

    @property
    def tenant(self) -> str:
        return self.reference.tenant if self.reference is not None else self.receipt.tenant


class _Known(NamedTuple):
    """What the log says of a case: its delivery, where that is needed, and whether a flow waits."""

    delivery: Delivery | None
    awaited: bool


class Receipts(Member):
    """Reads ``provider_events``. ``channels`` maps a channel to the kind of address it needs."""

    def __init__(
        self,
        desks: Mapping[str, Desk],
        channels: Mapping[str, str],
        *,
        log: Log,
        io: Io,
        clock: Clock,
    ) -> None:
        super().__init__(
            _NAME,
            f"tidings.{_NAME}",
            (PROVIDER_EVENTS,),
            log=log,
            clock=clock,
            on_out_of_range=OutOfRange.FAIL,
        )
        self.stages = stages([(f"{_NAME}.read", self._read)], io)
        self._desks = desks
        self._channels = channels
        self._site = Site(f"{_NAME}.read", _NAME, Part.INTAKE)
        self._alerts = Alerts(_NAME, this_process())
        self._positions: dict[Slot, Label] = {}
        self._reader: Reader | None = None
        self._there: dict[str, int] = {}  # those that are there, and their partitions
        self._missing_until: dict[str, int] = {}  # topics that were not there, and when to ask anew

    def close(self) -> None:
        """Let go of the clients."""
        super().close()
        if self._reader is not None:
            self._reader.close()

    def lost(self, slots: Sequence[Slot]) -> None:
        """Forget."""
        super().lost(slots)
        for slot in slots:
            self._positions.pop(slot, None)

    def _position(self, slot: Slot) -> Label:
        return self._positions.get(slot, Label(0, 0))

    def _take(self, records: list[Record], wall: int) -> None:
        if not records:
            return
        labels: dict[Slot, Label] = {}
        items: list[Item] = []
        for record in records:
            slot = Slot(record.topic, record.partition)
            labels.setdefault(slot, Label(record.offset, 0))
            self._positions[slot] = Label(record.offset + 1, 0)
            origin = Origin(record.topic, record.partition, record.offset)
            items.append(Item({}, origin, record.time, record=record))
        now = max(item.time for item in items)
        self._queue.append(FlowBatch(items, now, self._flights.take(labels), labels))

    # ── One batch ─────────────────────────────────────────────────────────────────────────────

    def _read(self, batch: FlowBatch, io: Io) -> None:
        found: list[_Case | Answer] = []
        bad: list[tuple[Item, str, Exception | str]] = []
        for item in batch.items:
            try:
                found += self._found(item)
            except Forged as error:
                bad.append((item, "forged", error))
            except (ValueError, KeyError, TypeError) as error:
                bad.append((item, "undecodable", error))
        answers = [each for each in found if isinstance(each, Answer)]
        cases = [each for each in found if isinstance(each, _Case)]
        senders = replies.senders(answers, self._channels, io.people)
        for case in cases:
            self._carry_out(case, io)
        named = [case for case in cases if case.receipt.address and case.channel]
        soft = [_bounce(case) for case in named if case.receipt.soft]
        soft_bounces.count(soft, io, batch.now)
        arrived = [_bounce(case) for case in named if case.receipt.kind is Kind.DELIVERED]
        soft_bounces.lift(arrived, io, batch.now)
        known = [self._ask_log(case) for case in cases]
        for case, said in zip(cases, known, strict=True):
            self._write(case, said, batch)
        for answer, people in zip(answers, senders, strict=True):
            batch.appends += replies.events(answer, people)
            if not people:
                bad.append((answer.item, UNKNOWN_SENDER, replies.nobodys(answer)))
        self._alerts.close_quiet(batch.now, _QUIET_MS)
        batch.appends += self._alerts.take()
        for item, reason, why in bad:
            batch.dead(item, reason, why, self._site)
        batch.items = []

    def _found(self, item: Item) -> list[_Case | Answer]:
        """What one callback says. Raises ValueError for one that can't be read or trusted."""
        assert item.record is not None
        webhook = Webhook.of(item.record)
        desk = self._desks.get(webhook.provider)
        if desk is None:
            raise ValueError(f"no provider `{webhook.provider}` whose callbacks we can read")
        found: list[_Case | Answer] = []
        for receipt in desk.read(webhook):
            if isinstance(receipt, Reply):
                found.append(Answer(item, webhook.provider, receipt))
                continue
            reference = None
            if receipt.reference:
                reference = Reference.read(receipt.reference, desk.keys)
            at = receipt.at or item.time
            found.append(_Case(item, webhook.provider, receipt, reference, at))
        return found

    def _carry_out(self, case: _Case, io: Io) -> None:
        """Addresses that must not be sent to. Raises Unavailable; then all of it is done again."""
        receipt, channel = case.receipt, case.channel
        reason = receipt.suppress or (_GONE if receipt.gone else "")
        if reason and receipt.address and channel:
            suppression = Suppression(
                channel=channel,
                address=receipt.address,
                reason=reason,
                scope=_scope(case),
                source=case.provider,
                until=case.at if receipt.lift else 0,
            )
            io.suppressions.add(case.tenant, suppression)
        if receipt.gone and case.reference is not None and channel in self._channels:
            person = Person(case.reference.tenant, case.reference.recipient_id)
            kind = self._channels[channel]
            io.people.remove_address(person, kind, receipt.address, "provider_says_gone")

    # ── What is written ───────────────────────────────────────────────────────────────────────

    def _write(self, case: _Case, known: _Known, batch: FlowBatch) -> None:
        reference, receipt = case.reference, case.receipt
        if reference is None:
            return  # whose it was nobody knows: it has its consequence, and no line
        delivery = known.delivery
        outcome = _outcome(case, reference)
        if receipt.alert:
            _alert(outcome, delivery)
            self._alerts.opened(
                Cause("receipts_need_people", f"{case.provider}/{receipt.code}"),
                case.at,
                provider=case.provider,
                code=receipt.code,
                fix=_SEE,
            )
        key = person_key(reference.tenant, reference.recipient_id).encode()
        batch.appends.append(Append(EVENTS, key, encode(outcome)))
        again = None
        if receipt.again_ms and delivery is not None:
            again = _again(delivery, receipt, case.at)
        if again is not None:
            topic = deliveries(again.channel, again.priority)
            batch.appends.append(Append(topic, key, encode(again)))
            batch.appends.append(Append(EVENTS, key, encode(_deferred(outcome, again))))
        elif known.awaited:
            kind = receipt.kind.value
            batch.appends.append(
                signal_append(
                    reference.reply_to,
                    reference.tenant,
                    reference.recipient_id,
                    reference.origin,
                    Signal(reference.wait, kind, reference.round % AGAIN),
                )
            )

    # ── What the log is asked ─────────────────────────────────────────────────────────────────

    def _ask_log(self, case: _Case) -> _Known:
        """Raises Unavailable where the log can't answer now."""
        reference, receipt = case.reference, case.receipt
        if reference is None:
            return _Known(None, False)
        try:
            delivery = None
            if receipt.again_ms or receipt.alert:
                delivery = self._delivery(reference.origin)
            awaited = bool(reference.reply_to) and self._partitions(reference.reply_to) > 0
        except LogError as error:
            self._there = {}  # one of them may be gone
            _LOG.warning("the log does not answer; receipts wait", error=str(error))
            raise Unavailable(str(error)) from error
        return _Known(delivery, awaited)

    def _partitions(self, topic: str) -> int:
        """How many a topic has, 0 where it was taken away: that must not stop the others."""
        if topic in self._there:
            return self._there[topic]
        now = self._clock.now()
        if 0 < self._missing_until.get(topic, 0) - now <= _ASK_TOPICS_MS:
            return 0
        with closing(self._log.admin()) as admin:
            found = {name: one.partitions for name, one in admin.topics().items()}
        if PROVIDER_EVENTS not in found:  # what we read from: no list to be believed
            raise LogError(f"{PROVIDER_EVENTS} is not among the log's topics")
        self._there = found
        if topic not in found:
            self._missing_until[topic] = now + _ASK_TOPICS_MS
            _LOG.warning("what a receipt is for has been taken away: no such topic", topic=topic)
        return found.get(topic, 0)

    def _delivery(self, origin: Origin) -> Delivery | None:
        """The delivery at these coordinates; None where the log no longer holds it."""
        if origin.partition >= self._partitions(origin.topic):
            return None
        if self._reader is None:
            self._reader = self._log.reader()
        slot = Slot(origin.topic, origin.partition)
        span = self._reader.span(slot)
        error: object = f"the log holds {span.first} to {span.end}"
        try:
            if span.first <= origin.offset < span.end:
                for records in self._reader.read(slot, origin.offset, origin.offset + 1):
                    for record in records:
                        if record.offset == origin.offset:
                            return decode_delivery(record.value or b"")
        except (OutOfRangeError, msgspec.DecodeError) as raised:
            error = raised
        _LOG.warning("a delivery can't be read back", origin=str(origin), error=str(error))
        return None


def _bounce(case: _Case) -> soft_bounces.Bounce:
    receipt = case.receipt
    return soft_bounces.Bounce(
        case.tenant, case.channel, receipt.address, receipt.event_id, case.at, case.provider
    )


def _scope(case: _Case) -> str:
    if case.receipt.scope != "category":
        return case.receipt.scope
    return case.reference.category if case.reference is not None else "all"


def _outcome(case: _Case, reference: Reference) -> Outcome:
    receipt = case.receipt
    subject = f"{reference.send_id}\x1f{receipt.event_id}"
    return Outcome(
        outcome_id=outcome_id(subject, receipt.kind.value, 0),
        at=case.at,
        stage=Stage.RECEIPT,
        kind=receipt.kind,
        recipient_id=reference.recipient_id,
        flow=reference.flow,
        step=_NAME,
        tenant=reference.tenant,
        notif_id=reference.notif_id,
        send_id=reference.send_id,
        reason=receipt.suppress or (_GONE if receipt.gone else ""),
        detail=receipt.detail[:_LONGEST_DETAIL],
        channel=reference.channel,
        category=reference.category,
        campaign_id=reference.campaign_id,
        address=address_hash(reference.tenant, reference.channel, receipt.address)
        if receipt.address
        else "",
        provider=case.provider,
        provider_id=receipt.provider_id,
        code=receipt.code,
        origin=reference.origin,
    )


def _alert(outcome: Outcome, delivery: Delivery | None) -> None:
    """Say it to the people who run this, and say of what content, without what is private."""
    outcome.reason = "needs_people"
    content: dict[str, Any] = {}
    if delivery is not None:
        content = {"template": delivery.template, "data": redacted(delivery.data)}
        said = f"{outcome.detail}; {encode(content).decode()}"
        outcome.detail = said[:_LONGEST_DETAIL]
    _LOG.error(
        "a provider's receipt needs people",
        provider=outcome.provider,
        code=outcome.code,
        detail=outcome.detail,
        notif_id=outcome.notif_id,
        flow=outcome.flow,
    )


def _again(delivery: Delivery, receipt: Receipt, at: int) -> Delivery | None:
    """The same delivery once more; None where that is not to be, or comes too late."""
    not_before = at + receipt.again_ms
    if delivery.round // AGAIN >= receipt.tries or 0 < delivery.expires_at <= not_before:
        return None
    return msgspec.structs.replace(
        delivery,
        round=delivery.round + AGAIN,
        attempt=0,
        spared=0,
        answers={},
        not_before=not_before,
        awaits=(),
    )


def _deferred(outcome: Outcome, again: Delivery) -> Outcome:
    """The decision to try it again."""
    return msgspec.structs.replace(
        outcome,
        outcome_id=outcome_id(outcome.outcome_id, Kind.DEFERRED.value, 0),
        stage=Stage.DECISION,
        kind=Kind.DEFERRED,
        reason="failed_after_it_was_sent",
        detail="",
        round=again.round,
    )
