"""What SES tells of a mail, by a notification of SNS: an event, or an identity's feedback.

Not all that is called a bounce or a complaint is one: an answer of "I am out of the office" comes
as a transient bounce without anything that a mail server said, and who takes a mail out of the spam
folder complains of ``not-spam``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tidings.operators.senders.mail.ses_request import REFERENCE_TAGS
from tidings.operators.senders.text.sns_message import notified
from tidings.receipts import Receipt, Webhook
from tidings.records import Kind

_HOUR = 3_600_000  # ms
_KINDS = {
    "Delivery": Kind.DELIVERED,
    "Open": Kind.OPENED,
    "Click": Kind.CLICKED,
    "Bounce": Kind.BOUNCED,
    "Complaint": Kind.COMPLAINED,
    "Subscription": Kind.UNSUBSCRIBED,
    "Reject": Kind.FAILED,
    "Rendering Failure": Kind.FAILED,
}
_FIELDS = {"Rendering Failure": "failure"}
_MAY_PASS = frozenset({"General", "MailboxFull"})  # of transient bounces
_SERVER_SAID = ("action", "status", "diagnosticCode")  # of a recipient whose mail came back
_OF_THE_MAIL = frozenset({"MessageTooLarge", "ContentRejected", "AttachmentRejected"})

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def receipts(topic: str, webhook: Webhook) -> Sequence[Receipt]:
    """What a notification of ``topic`` says. Raises Forged where Amazon has not signed it."""
    message = notified(webhook, topic)
    if not message:
        return ()
    said = _decode(message)
    event = str(said.get("eventType") or said.get("notificationType") or "")
    kind = _KINDS.get(event)
    if kind is None:
        return ()
    mail = _map(said.get("mail"))
    what = _map(said.get(_FIELDS.get(event, event.lower())))
    stamp = str(what.get("timestamp") or mail.get("timestamp") or "")
    sid = str(mail.get("messageId", ""))
    receipt = Receipt(
        kind=kind,
        event_id=str(what.get("feedbackId") or f"{sid}:{event}:{stamp}"),
        reference=_reference(_map(mail.get("tags"))),
        channel="email",
        provider_id=sid,
        at=_epoch_ms(stamp),
        address=_first(mail.get("destination")),
    )
    return [
        msgspec.structs.replace(receipt, **change)
        for change in _changes(event, what)
    ]  # fmt: skip


def _changes(event: str, what: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """What each recipient's receipt says beyond what all say."""
    if event == "Bounce":
        kind, sub = str(what.get("bounceType", "")), str(what.get("bounceSubType", ""))
        change: dict[str, Any] = {"code": f"{kind}/{sub}"}
        if kind == "Permanent":
            change["suppress"] = "hard_bounce"
        elif sub not in _OF_THE_MAIL:
            change["soft"] = True
            if kind == "Transient" and sub in _MAY_PASS:
                change["again_ms"] = _HOUR
        may_be_a_reply = (kind, sub) == ("Transient", "General")
        return [
            change | {"address": _text(one, "emailAddress"), "detail": _text(one, "status")}
            for one in _maps(what.get("bouncedRecipients"))
            if not may_be_a_reply or any(one.get(name) for name in _SERVER_SAID)
        ]
    if event == "Complaint":
        code = str(what.get("complaintFeedbackType", ""))
        if code == "not-spam":
            return []
        return [
            {"code": code, "suppress": "complaint", "address": _text(one, "emailAddress")}
            for one in _maps(what.get("complainedRecipients"))
        ]
    if event == "Click":
        return [{"detail": str(what.get("link", ""))[:500]}]
    if event == "Subscription":
        wishes = _map(what.get("newTopicPreferences"))
        return [{"suppress": "unsubscribe"}] if wishes.get("unsubscribeAll", True) else []
    if event in ("Reject", "Rendering Failure"):
        why = str(what.get("reason") or what.get("errorMessage") or "")
        return [{"code": event, "detail": why[:500], "alert": True}]
    return [{}]


def _reference(tags: Mapping[str, Any]) -> str:
    return "".join(_first(tags[name]) for name in REFERENCE_TAGS if name in tags)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(values: Any) -> list[Mapping[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _text(given: Mapping[str, Any], name: str) -> str:
    return str(given.get(name) or "")


def _first(values: Any) -> str:
    return str(values[0]) if isinstance(values, list) and values else ""


def _epoch_ms(stamp: str) -> int:
    try:
        return round(datetime.fromisoformat(stamp).timestamp() * 1000)
    except ValueError:
        return 0
