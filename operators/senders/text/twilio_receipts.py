"""What Twilio tells of a message or a call, and what people answer, by webhook.

Status callbacks come out of order, and some more than once; only what is final is a receipt. Set
the messaging service's incoming webhook to the same address: Twilio itself heeds a STOP, and so
learn we to ask it no more; any other text is a reply. Where several tenants send, each has an
address with ``?tenant=`` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, parse_qsl, urlsplit

import msgspec
from multidict import MultiDict

from tidings.operators.senders.text.twilio_api import FILTERED, Account, classify
from tidings.receipts import Forged, Receipt, Reply, Webhook
from tidings.records import Kind
from tidings.sender import Verdict

_HOUR = 3_600_000  # ms
_HAPPENED = {
    "delivered": Kind.DELIVERED,
    "read": Kind.OPENED,
    "undelivered": Kind.FAILED,
    "failed": Kind.FAILED,
    "canceled": Kind.FAILED,
    "completed": Kind.DELIVERED,  # a call that was answered
    "busy": Kind.FAILED,
    "no-answer": Kind.FAILED,
}
_UNREACHABLE, _UNKNOWN_ERROR = 30003, 30008
# TCPA's words, and Twilio's own; a text that says nothing else is one of them.
_STOP = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "OPT OUT"}
)
_START = frozenset({"START", "UNSTOP", "YES"})
_YES = "YES"  # opts in again at Twilio, and is what people answer to a question


def receipts(settings: Account, webhook: Webhook) -> Sequence[Receipt | Reply]:
    """What a callback says. Raises Forged where Twilio has not signed it."""
    form = MultiDict(parse_qsl(webhook.body.decode(errors="replace"), keep_blank_values=True))
    _check(settings, webhook, form)
    asked = parse_qs(urlsplit(webhook.url).query)
    if form.get("SmsStatus") == "received":
        return _answered(form, asked.get("tenant", ["default"])[0])
    status = form.get("MessageStatus") or form.get("CallStatus") or ""
    kind = _HAPPENED.get(status)
    if kind is None:
        return ()
    sid = form.get("MessageSid") or form.get("CallSid") or ""
    code = form.get("ErrorCode", "")
    receipt = Receipt(
        kind=kind,
        event_id=f"{sid}:{status}",
        reference=asked.get("ref", [""])[0],
        provider_id=sid,
        address=form.get("To", ""),
        code=code or (status if kind is Kind.FAILED else ""),
    )
    if kind is not Kind.FAILED or not code.isdigit():
        return (receipt,)
    return (_failed(receipt, int(code)),)


def _check(settings: Account, webhook: Webhook, form: Mapping[str, str]) -> None:
    from twilio.request_validator import RequestValidator

    if settings.auth_token is None:
        raise ValueError("callbacks of Twilio are checked with `auth_token`, which is not set")
    validator = RequestValidator(settings.auth_token.read().strip())
    signature = webhook.headers.get("x-twilio-signature", "")
    if not validator.validate(webhook.url, form, signature):
        raise Forged("Twilio has not signed this, or it called another address than `url` says")


def _failed(receipt: Receipt, code: int) -> Receipt:
    """A message that was accepted and did not arrive."""
    replace = msgspec.structs.replace
    if code == FILTERED:
        return replace(receipt, alert=True, detail="carriers filter it: look at its content")
    if code == _UNREACHABLE:
        return replace(receipt, again_ms=3 * _HOUR, tries=2)
    if code == _UNKNOWN_ERROR:
        return replace(receipt, again_ms=_HOUR // 6)
    answer = classify(400, code)
    verdict = answer.verdict
    if verdict is Verdict.INV:
        return replace(receipt, gone=not answer.suppress, suppress=answer.suppress)
    if verdict is Verdict.RETRY:
        return replace(receipt, again_ms=_HOUR // 2, tries=2)
    return replace(receipt, alert=verdict is Verdict.CFG)


def _answered(form: Mapping[str, str], tenant: str) -> Sequence[Receipt | Reply]:
    """A person's own text: STOP, START, or a reply. YES is both of the last two."""
    text, sender = form.get("Body", "").strip(), form.get("From", "")
    sid = form.get("MessageSid", "")
    said = " ".join(text.upper().split()).rstrip(".!")
    word = form.get("OptOutType") or said
    found: list[Receipt | Reply] = []
    opts = word in _STOP or word in _START
    if opts:
        found.append(
            Receipt(
                kind=Kind.UNSUBSCRIBED,
                event_id=f"{sid}:received",
                tenant=tenant,
                channel="sms",
                provider_id=sid,
                address=sender,
                suppress="stop",
                lift=word in _START,
                detail=word,
            )
        )
    if text and (not opts or (said == _YES and word in _START)):
        found.append(Reply(event_id=sid, tenant=tenant, channel="sms", address=sender, text=text))
    return found
