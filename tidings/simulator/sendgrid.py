"""SendGrid's v3 Mail Send: a call of up to a thousand mails, and its signed event webhook."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tidings.ids import id_of
from tidings.receipts import Webhook
from tidings.sender import Verdict
from tidings.simulator.scenario import Event, ProviderName
from tidings.simulator.wire import Asked, Fate, Reply, Request, Told, as_json, wording, worst

_PATH = "/v3/mail/send"
_SCOPES = "/v3/scopes"
_MOST = 1_000  # personalizations
_STATUSES = {"too many requests": 429, "unauthorized": 401, "forbidden": 403, "unavailable": 503}
_USUAL = {
    Verdict.INV: "Does not contain a valid address.",
    Verdict.RETRY: "unavailable",
    Verdict.CFG: "unauthorized",
    Verdict.DROP: "Bad Request",
}
_EVENTS = {
    "sent": "processed",
    "deferred": "deferred",
    "delivered": "delivered",
    "opened": "open",
    "clicked": "click",
    "bounced": "bounce",
    "complained": "spamreport",
    "unsubscribed": "unsubscribe",
    "failed": "dropped",
}
_GROUPS = ("group_unsubscribe", "group_resubscribe")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SendGrid:
    """One account: its API key, and the key by which it signs events for the address ``url``."""

    name: ProviderName = "sendgrid"
    bounces = False

    def __init__(self, key: str, signs: ec.EllipticCurvePrivateKey, called: str, url: str) -> None:
        self._authorization = f"Bearer {key}"
        self._signs = signs
        self._called = called
        self._url = url

    def knows(self, path: str) -> bool:
        """Whether it is the one way to send, or to ask what a key may do."""
        return path in (_PATH, _SCOPES)

    def read(self, request: Request, now: int) -> Sequence[Asked] | Reply:
        """The mails of a call, or what SendGrid says to one that is wrong."""
        if request.method != ("GET" if request.path == _SCOPES else "POST"):
            return _errors(405, "method not allowed")
        if request.headers.get("authorization") != self._authorization:
            return _errors(401, "The provided authorization grant is invalid, expired, or revoked")
        if request.path == _SCOPES:
            return as_json(200, {"scopes": ["mail.send"]})
        try:
            call = _decode(request.body)
            mails = call["personalizations"]
            asked = [_asked(call, mail) for mail in mails]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError):
            return _errors(400, "Bad Request", "personalizations")
        if not 1 <= len(mails) <= _MOST:
            return _errors(400, f"There are {len(mails)} personalizations.", "personalizations")
        if "@" not in str(call.get("from", {}).get("email", "")):
            return _errors(400, "The from address does not match a verified Sender.", "from.email")
        if not call.get("content") and not call.get("template_id"):
            return _errors(400, "Unless a template is used, content is required.", "content")
        for place, one in enumerate(asked):
            if "@" not in one.address:
                field = f"personalizations.{place}.to.0.email"
                return _errors(400, _USUAL[Verdict.INV], field)
        return asked

    def reply(self, asked: Sequence[Asked], fates: Sequence[Fate], now: int) -> Reply:
        """202 for all of them, or a refusal of the whole call that names who is to blame."""
        fate = worst(fates)
        if fate.verdict is Verdict.OK:
            return Reply(202, b"", (("x-message-id", fate.id[:22]),))
        named = [
            {"message": one.code or _USUAL[one.verdict], "field": _field(place, one)}
            for place, one in enumerate(fates)
            if one.verdict in (Verdict.INV, Verdict.DROP)
        ]
        status, code = wording(fate, _STATUSES, _USUAL, "too many requests")
        if status != 400:
            headers = fate.waits
            if status == 429:
                reset = -(-(now + max(fate.retry_after, 0)) // 1000)
                headers = (("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(reset)))
            return as_json(status, {"errors": [{"message": code, "field": None}]}, code=code,
                           headers=headers)  # fmt: skip
        return as_json(400, {"errors": named}, code=code)

    def webhook(self, told: Told, now: int) -> Webhook | None:
        """The signed call of one event."""
        if told.event.event not in _EVENTS:
            return None
        body = msgspec.json.encode([_event(told)]) + b"\r\n"
        stamp = str(now // 1000)
        signature = self._signs.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "content-type": "application/json",
            "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": stamp,
        }
        return Webhook(provider=self._called, url=self._url, headers=headers, body=body)


def _asked(call: dict[str, Any], mail: dict[str, Any]) -> Asked:
    address = str(mail["to"][0]["email"])
    arguments = {**call.get("custom_args", {}), **mail.get("custom_args", {})}
    words = mail.get("substitutions") or mail.get("dynamic_template_data") or {}
    parts = {"subject": str(mail.get("subject") or call.get("subject", ""))}
    for content in call.get("content") or ():
        value = str(content["value"])
        for tag, word in words.items():
            value = value.replace(tag, str(word))
        parts["html" if content["type"] == "text/html" else "text"] = value
    key = arguments.get("send_id") or id_of("sendgrid", address, *parts.values())
    return Asked(str(key), address, parts, "", arguments)


def _event(told: Told) -> dict[str, Any]:
    asked, event = told.asked, told.event
    made = {
        "email": asked.address,
        "timestamp": told.at // 1000,
        "event": event.code if event.code in _GROUPS else _EVENTS[event.event],
        "sg_event_id": id_of("event", told.id, asked.key, str(told.number))[:22],
        "sg_message_id": f"{told.id[:22]}.recvd-simulated",
        **asked.more,
    }
    return made | _why(event)


def _why(event: Event) -> dict[str, str]:
    if event.event == "bounced":
        if event.code == "blocked":
            return {"type": "blocked", "status": "4.7.1", "reason": "421 4.7.1 try later"}
        status = event.code or "5.1.1"
        return {"type": "bounce", "status": status, "reason": f"550 {status} rejected"}
    if event.event == "failed":
        return {"reason": event.code or "Bounced Address"}
    if event.event == "deferred":
        return {"response": event.code or "451 4.3.0 try later", "attempt": "1"}
    return {"url": "https://example.com/"} if event.event == "clicked" else {}


def _field(place: int, fate: Fate) -> str:
    part = "to.0.email" if fate.verdict is Verdict.INV else "headers"
    return f"personalizations.{place}.{part}"


def _errors(status: int, message: str, field: str | None = None) -> Reply:
    content = {"errors": [{"message": message, "field": field, "help": None}]}
    return as_json(status, content, code=field or message)
