"""Receipts as a unit: what providers tell of a message becomes outcomes, and what follows of it.

    provider_events ──► the provider's own parser ──► outcomes of stage ``receipt``
                                                  ──► suppressions, addresses that are gone
                                                  ──► one more try, later
                                                  ──► a signal to the flow that waits for it
                                                  ──► a word to the people who run this
                                                  ──► replies, as events that flows read

A callback that can't be read, or that its provider has not signed, is a dead letter, and so is a
reply whose sender nobody knows. What comes twice has one id: the send's, and the provider's own for
what happened; of what has a message tried again the second is let go, for it would come to another
time. The ports and the log are asked before anything is written, and all that they are asked for
may be done twice: while one of them is away the batch waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tidings.contract import Item, Part, Site
from tidings.holder import this_process
from tidings.ids import id_of, person_key
from tidings.log.port import Append, Log, OutOfRange, Record, Slot
from tidings.ports import Clock, Io, Person, Suppression
from tidings.providers import Desk
from tidings.receipts import PROVIDER_EVENTS, Forged, Receipt, Reference, Reply, Webhook
from tidings.records import Kind, Origin, Signal, encode
from tidings.runtime import replies, soft_bounces
from tidings.runtime.alerts import Alerts, Cause
from tidings.runtime.batch import FlowBatch, stages
from tidings.runtime.flight import Label
from tidings.runtime.lookback import Known, Lookback
from tidings.runtime.member import Member
from tidings.runtime.receipt_case import STEP, Case, deferred, once_more, outcome_of, raise_alarm
from tidings.runtime.replies import UNKNOWN_SENDER, Answer
from tidings.runtime.signals import AGAIN, signal_append
from tidings.topics import EVENTS, deliveries

_REMEMBERED_MS = 86_400_000  # for how long a callback that comes again is known
_AHEAD_MS = 86_400_000  # a provider's clock may be so far ahead; what it says beyond is no time
_QUIET_MS = 3_600_000  # without such a receipt, and the trouble is over
_SEE = (
    "look the code up with the provider, and the outcomes whose reason is needs_people: carriers "
    "that filter want another text or a registered sender"
)


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
            STEP,
            f"tidings.{STEP}",
            (PROVIDER_EVENTS,),
            log=log,
            clock=clock,
            on_out_of_range=OutOfRange.FAIL,
        )
        self.stages = stages([(f"{STEP}.read", self._read)], io)
        self._desks = desks
        self._channels = channels
        self._site = Site(f"{STEP}.read", STEP, Part.INTAKE)
        self._alerts = Alerts(STEP, this_process())
        self._positions: dict[Slot, Label] = {}
        self._lookback = Lookback(log, clock)

    def close(self) -> None:
        """Let go of the clients."""
        super().close()
        self._lookback.close()

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
        found: list[Case | Answer] = []
        bad: list[tuple[Item, str, Exception | str]] = []
        for item in batch.items:
            try:
                found += self._found(item)
            except Forged as error:
                bad.append((item, "forged", error))
            except Exception as error:  # noqa: BLE001  whatever a parser stumbles over, it is alone
                bad.append((item, "undecodable", f"{type(error).__name__}: {error}"))
        answers = [each for each in found if isinstance(each, Answer)]
        cases = _not_tried_already([each for each in found if isinstance(each, Case)], io)
        senders = replies.senders(answers, self._channels, io.people)
        for case in cases:
            self._carry_out(case, io)
        named = [case for case in cases if case.receipt.address and case.channel]
        soft = [case.bounce() for case in named if case.receipt.soft]
        soft_bounces.count(soft, io, batch.now)
        arrived = [case.bounce() for case in named if case.receipt.kind is Kind.DELIVERED]
        soft_bounces.lift(arrived, io, batch.now)
        known = [self._lookback.ask(case) for case in cases]
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

    def _found(self, item: Item) -> list[Case | Answer]:
        """What one callback says. Raises ValueError for one that can't be read or trusted."""
        assert item.record is not None
        webhook = Webhook.of(item.record)
        desk = self._desks.get(webhook.provider)
        if desk is None:
            raise ValueError(f"no provider `{webhook.provider}` whose callbacks we can read")
        found: list[Case | Answer] = []
        for said in desk.read(webhook):
            receipt = _as_declared(said)
            if isinstance(receipt, Reply):
                found.append(Answer(item, webhook.provider, receipt))
                continue
            reference = None
            if receipt.reference:
                reference = Reference.read(receipt.reference, desk.keys)
            at = receipt.at if 0 < receipt.at <= item.time + _AHEAD_MS else item.time
            found.append(Case(item, webhook.provider, receipt, reference, at))
        return found

    def _carry_out(self, case: Case, io: Io) -> None:
        """Addresses that must not be sent to. Raises Unavailable; then all of it is done again."""
        receipt, channel = case.receipt, case.channel
        reason = case.reason()
        if reason and receipt.address and channel:
            suppression = Suppression(
                channel=channel,
                address=receipt.address,
                reason=reason,
                scope=case.scope(),
                source=case.provider,
                until=case.at if receipt.lift else 0,
            )
            io.suppressions.add(case.tenant, suppression)
        if receipt.gone and case.reference is not None and channel in self._channels:
            person = Person(case.reference.tenant, case.reference.recipient_id)
            kind = self._channels[channel]
            io.people.remove_address(person, kind, receipt.address, "provider_says_gone")

    # ── What is written ───────────────────────────────────────────────────────────────────────

    def _write(self, case: Case, known: Known, batch: FlowBatch) -> None:
        reference, receipt = case.reference, case.receipt
        if reference is None:
            return  # whose it was nobody knows: it has its consequence, and no line
        delivery = known.delivery
        outcome = outcome_of(case, reference)
        if receipt.alert:
            raise_alarm(outcome, delivery)
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
            again = once_more(delivery, receipt, case.at)
        if again is not None:
            topic = deliveries(again.channel, again.priority)
            batch.appends.append(Append(topic, key, encode(again)))
            batch.appends.append(Append(EVENTS, key, encode(deferred(outcome, again))))
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


def _as_declared(said: Receipt | Reply) -> Receipt | Reply:
    """``said`` with the types that it declares, which nothing has checked when a parser made it.

    Raises ValidationError.
    """
    return msgspec.convert(msgspec.to_builtins(said), type(said))


def _not_tried_already(cases: Sequence[Case], io: Io) -> list[Case]:
    """``cases`` without those of which another callback has said the same, where it has the message
    tried again: the time that we put under it would differ. Raises Unavailable."""
    asked = [case for case in cases if case.reference is not None and case.receipt.again_ms]
    if not asked:
        return [*cases]
    claims = [(_told(case), str(case.item.origin)) for case in asked]
    holders = io.claims.first(claims, _REMEMBERED_MS)
    told = {claim for claim, holder in zip(claims, holders, strict=True) if claim[1] != holder}
    gone = {id(case) for case, claim in zip(asked, claims, strict=True) if claim in told}
    return [case for case in cases if id(case) not in gone]


def _told(case: Case) -> str:
    """What a callback has said, however often."""
    reference = case.reference
    assert reference is not None
    return id_of("r", reference.send_id, str(reference.origin), case.receipt.event_id)
