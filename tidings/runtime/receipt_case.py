"""A receipt in hand: whose it is, and what is written of it.

Case ──► outcome_of ──► Outcome of stage ``receipt``
         raise_alarm    the same, as a word to people
         once_more ───► Delivery, later ──► deferred ──► the decision that it is tried again
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import structlog

from tidings.contract import Item
from tidings.ids import address_hash, outcome_id
from tidings.receipts import Receipt, Reference
from tidings.records import Delivery, Kind, Outcome, Stage, encode
from tidings.redaction import redacted
from tidings.runtime.signals import AGAIN
from tidings.runtime.soft_bounces import Bounce

_LOG = structlog.get_logger(__name__)
STEP = "receipts"
_GONE = "invalid"
_LONGEST_DETAIL = 2_000  # characters


class Case(NamedTuple):
    """One receipt in hand; ``item`` is the callback that brought it, ``at`` epoch ms.

    ``reference`` is None where the provider gave none back.
    """

    item: Item
    provider: str
    receipt: Receipt
    reference: Reference | None
    at: int

    @property
    def channel(self) -> str:
        """The message's, where it is known which it was."""
        return self.reference.channel if self.reference is not None else self.receipt.channel

    @property
    def tenant(self) -> str:
        """Whose person's address it is."""
        return self.reference.tenant if self.reference is not None else self.receipt.tenant

    def reason(self) -> str:
        """Why the address is not to be sent to any more, "" where it is."""
        return self.receipt.suppress or (_GONE if self.receipt.gone else "")

    def scope(self) -> str:
        """What is suppressed."""
        if self.receipt.scope != "category":
            return self.receipt.scope
        return self.reference.category if self.reference is not None else "all"

    def bounce(self) -> Bounce:
        """As something to be counted."""
        receipt = self.receipt
        return Bounce(
            self.tenant, self.channel, receipt.address, receipt.event_id, self.at, self.provider
        )


def outcome_of(case: Case, reference: Reference) -> Outcome:
    """The line of a receipt. What comes twice has one id."""
    receipt = case.receipt
    subject = f"{reference.send_id}\x1f{receipt.event_id}"
    return Outcome(
        outcome_id=outcome_id(subject, receipt.kind.value, 0),
        at=case.at,
        stage=Stage.RECEIPT,
        kind=receipt.kind,
        recipient_id=reference.recipient_id,
        flow=reference.flow,
        step=STEP,
        tenant=reference.tenant,
        notif_id=reference.notif_id,
        send_id=reference.send_id,
        reason=case.reason(),
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


def raise_alarm(outcome: Outcome, delivery: Delivery | None) -> None:
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


def once_more(delivery: Delivery, receipt: Receipt, at: int) -> Delivery | None:
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


def deferred(outcome: Outcome, again: Delivery) -> Outcome:
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
