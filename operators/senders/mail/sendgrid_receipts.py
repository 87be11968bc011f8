"""What SendGrid tells of mails: its signed event webhook, many events a call.

How fresh a call is has to be looked at where it comes in: what is read here may have waited.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidings.receipts import Forged, Receipt, Webhook
from tidings.records import Kind

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_HOUR = 3_600_000  # ms
_KINDS = {
    "delivered": Kind.DELIVERED,
    "open": Kind.OPENED,
    "click": Kind.CLICKED,
    "bounce": Kind.BOUNCED,
    "dropped": Kind.FAILED,
    "spamreport": Kind.COMPLAINED,
    "unsubscribe": Kind.UNSUBSCRIBED,
    "group_unsubscribe": Kind.UNSUBSCRIBED,
    "group_resubscribe": Kind.UNSUBSCRIBED,
}
_SUPPRESSED = {
    "spamreport": "complaint",
    "unsubscribe": "unsubscribe",
    "group_unsubscribe": "unsubscribe",
    "group_resubscribe": "unsubscribe",
}
_DROPPED = {
    "bounced address": "hard_bounce",
    "invalid": "hard_bounce",
    "spam reporting address": "complaint",
    "unsubscribed address": "unsubscribe",
}

_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


def receipts(key: str, webhook: Webhook) -> Sequence[Receipt]:
    """What a call says; ``key`` is the public one of SendGrid's settings, base64.

    Raises Forged where SendGrid has not signed it.
    """
    _check(key, webhook)
    found = (_receipt(event) for event in _decode(webhook.body))
    return [receipt for receipt in found if receipt is not None]


def _check(key: str, webhook: Webhook) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if not key:
        raise ValueError("events of SendGrid are checked with `event_key`, which is not set")
    public = load_der_public_key(b64decode(key))
    assert isinstance(public, ec.EllipticCurvePublicKey), "SendGrid's keys are of P-256"
    signed = webhook.headers.get(_TIMESTAMP, "").encode() + webhook.body
    try:
        signature = b64decode(webhook.headers.get(_SIGNATURE, ""), validate=True)
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise Forged("SendGrid has not signed this") from None


def _epoch_ms(seconds: Any) -> int:
    """0 for what is no time: one event that lacks it must not take the others of its call along."""
    return int(seconds * 1000) if isinstance(seconds, int | float) else 0


def _receipt(event: Mapping[str, Any]) -> Receipt | None:
    name = str(event.get("event", ""))
    kind = _KINDS.get(name)
    if kind is None:
        return None
    reason = str(event.get("reason", ""))
    suppress, again, soft = _SUPPRESSED.get(name, ""), 0, False
    if name == "bounce":
        blocked = event.get("type") == "blocked"
        suppress, again = ("", _HOUR) if blocked else ("hard_bounce", 0)
        # 4.7.x, 5.7.x: our reputation, and not the mailbox, is what it is about.
        soft = blocked and str(event.get("status", ""))[1:3] != ".7"
    elif name == "dropped":
        suppress = _DROPPED.get(reason.lower(), "")
    return Receipt(
        kind=kind,
        event_id=str(event.get("sg_event_id", "")),
        reference=str(event.get("reference", "")),
        channel="email",
        provider_id=str(event.get("sg_message_id", "")),
        at=_epoch_ms(event.get("timestamp")),
        address=str(event.get("email", "")),
        code=str(event.get("status") or event.get("type") or ""),
        detail=(reason or str(event.get("url", "")))[:500],
        suppress=suppress,
        lift=name == "group_resubscribe",
        scope="category" if name.startswith("group_") else "all",
        soft=soft,
        again_ms=again,
        alert=name == "dropped" and not suppress,
    )
