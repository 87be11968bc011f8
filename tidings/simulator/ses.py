"""Amazon's SES v2: a mail, or up to fifty in a call; its events, in notifications signed by SNS."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tidings.ids import id_of
from tidings.receipts import Webhook
from tidings.sender import Verdict
from tidings.simulator.scenario import ProviderName
from tidings.simulator.sigv4 import fault
from tidings.simulator.wire import Asked, Fate, Reply, Request, Told, as_json, wording, worst

CERTIFICATE_PATH = "/SimpleNotificationService-51d1a7ed51d1a7ed51d1a7ed51d1a7ed.pem"
_SINGLE, _BULK = "/v2/email/outbound-emails", "/v2/email/outbound-bulk-emails"
_ACCOUNT = "/v2/email/account"
_OPERATIONS = {_SINGLE: "POST", _BULK: "POST", _ACCOUNT: "GET"}
_MOST = 50
_STATUSES = {
    "TooManyRequestsException": 429,
    "InternalServiceErrorException": 500,
    "ServiceUnavailable": 503,
    "NotFoundException": 404,
    "UnrecognizedClientException": 403,
    "InvalidSignatureException": 403,
}
_USUAL = {
    Verdict.RETRY: "ServiceUnavailable",
    Verdict.CFG: "SendingPausedException",
    Verdict.DROP: "MessageRejected",
    Verdict.INV: "BadRequestException",
}
_ENTRIES = {
    Verdict.RETRY: "TRANSIENT_FAILURE",
    Verdict.CFG: "ACCOUNT_SENDING_PAUSED",
    Verdict.DROP: "MESSAGE_REJECTED",
    Verdict.INV: "INVALID_PARAMETER",
}
_EVENTS = {
    "sent": "Send",
    "deferred": "DeliveryDelay",
    "delivered": "Delivery",
    "opened": "Open",
    "clicked": "Click",
    "bounced": "Bounce",
    "complained": "Complaint",
    "unsubscribed": "Subscription",
    "failed": "Reject",
}
_FIELDS = {"DeliveryDelay": "deliveryDelay", "Rendering Failure": "failure"}
_SIGNED = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Ses:
    """One account: its access key and secret, the SNS topic of its events, and who signs those."""

    name: ProviderName = "ses"
    bounces = True

    def __init__(
        self,
        access_key: str,
        secret: str,
        topic: str,
        signs: rsa.RSAPrivateKey,
        certificate: bytes,
        called: str,
        url: str,
    ) -> None:
        self._access_key = access_key
        self._secret = secret
        self._topic = topic
        self._signs = signs
        self._certificate = certificate
        self._called = called
        self._url = url

    def knows(self, path: str) -> bool:
        """Whether it is one of SES', or the certificate of SNS."""
        return path.startswith("/v2/email/") or path == CERTIFICATE_PATH

    def read(self, request: Request, now: int) -> Sequence[Asked] | Reply:
        """The mails of a call, or what SES says to one that is wrong."""
        if request.path == CERTIFICATE_PATH:
            return Reply(200, self._certificate, (("content-type", "application/x-pem-file"),))
        if _OPERATIONS.get(request.path) != request.method:
            return _error(404, "NotFoundException", "no such operation")
        if (wrong := fault(request, self._access_key, self._secret, now)) is not None:
            return _error(403, *wrong)
        if request.path == _ACCOUNT:
            return as_json(200, {"ProductionAccessEnabled": True, "SendingEnabled": True})
        try:
            call = _decode(request.body)
            asked = _bulk(call) if request.path == _BULK else _single(call)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError):
            return _error(400, "BadRequestException", "a member that is missing or malformed")
        if not 1 <= len(asked) <= _MOST:
            return _error(400, "BadRequestException", f"{len(asked)} destinations; 50 is the limit")
        if "@" not in str(call.get("FromEmailAddress", "")):
            return _error(400, "BadRequestException", "FromEmailAddress is no address")
        return asked

    def reply(self, asked: Sequence[Asked], fates: Sequence[Fate], now: int) -> Reply:
        """Their ids; of a call of many the status of each, unless the script sets the call's."""
        fate = worst(fates)
        if asked[0].more["bulk"] and not any(one.status for one in fates):
            return as_json(200, {"BulkEmailEntryResults": [_entry(one) for one in fates]})
        if fate.verdict is Verdict.OK:
            return as_json(200, {"MessageId": _message_id(fate.id)})
        status, code = wording(fate, _STATUSES, _USUAL, "TooManyRequestsException")
        return _error(status, code, code, fate)

    def webhook(self, told: Told, now: int) -> Webhook | None:
        """The event, in a notification that SNS has signed."""
        if told.event.event not in _EVENTS:
            return None
        message = msgspec.json.encode(_event(told)).decode()
        envelope = {
            "Type": "Notification",
            "MessageId": id_of("sns", told.id, told.asked.key, str(told.number)),
            "TopicArn": self._topic,
            "Message": message,
            "Timestamp": _stamp(told.at),
            "SignatureVersion": "2",
            "SigningCertURL": f"https://sns.us-east-1.amazonaws.com{CERTIFICATE_PATH}",
        }
        signed = "".join(f"{name}\n{envelope[name]}\n" for name in _SIGNED).encode()
        signature = self._signs.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        envelope["Signature"] = b64encode(signature).decode()
        headers = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-topic-arn": self._topic}
        return Webhook(
            provider=self._called,
            url=self._url,
            headers=headers,
            body=msgspec.json.encode(envelope),
            certificate=self._certificate,
        )


def _single(call: dict[str, Any]) -> list[Asked]:
    content = call["Content"]
    parts: dict[str, str] = {}
    if "Simple" in content:
        message = content["Simple"]
        parts["subject"] = message["Subject"]["Data"]
        for name, part in message["Body"].items():
            parts[name.lower()] = part["Data"]
    return [
        _asked(to, parts, call.get("EmailTags", ()), bulk=False)
        for to in call["Destination"]["ToAddresses"]
    ]


def _bulk(call: dict[str, Any]) -> list[Asked]:
    common, found = call.get("DefaultEmailTags", ()), []
    for entry in call["BulkEmailEntries"]:
        given = entry.get("ReplacementEmailContent", {}).get("ReplacementTemplate", {})
        words = _decode(given.get("ReplacementTemplateData") or "{}")
        parts = {name: str(value) for name, value in words.items()}
        tags = (*common, *entry.get("ReplacementTags", ()))
        [to] = entry["Destination"]["ToAddresses"]
        found.append(_asked(to, parts, tags, bulk=True))
    return found


def _asked(to: str, parts: dict[str, str], given: Any, *, bulk: bool) -> Asked:
    tags = {tag["Name"]: tag["Value"] for tag in given}
    key = tags.get("send_id") or id_of("ses", to, *parts.values())
    return Asked(key, to, parts, "", {"bulk": bulk, "tags": tags})


def _entry(fate: Fate) -> dict[str, str]:
    if fate.verdict is Verdict.OK:
        return {"Status": "SUCCESS", "MessageId": _message_id(fate.id)}
    usual = "ACCOUNT_THROTTLED" if fate.limited else _ENTRIES[fate.verdict]
    code = fate.code if fate.code.isupper() else usual
    return {"Status": code, "Error": code}


def _event(told: Told) -> dict[str, Any]:
    name, code, at = told.event.event, told.event.code, _stamp(told.at)
    event, address = _EVENTS[name], told.asked.address
    what: dict[str, Any] = {"timestamp": at}
    if name == "bounced":
        kind, _, sub = (code if "/" in code else "Permanent/General").partition("/")
        status = "5.1.1" if kind == "Permanent" else "4.2.2"
        bounced = [{"emailAddress": address, "action": "failed", "status": status}]
        what |= {"bounceType": kind, "bounceSubType": sub, "bouncedRecipients": bounced}
        what["feedbackId"] = id_of("feedback", told.id, str(told.number))
    elif name == "complained":
        what["complainedRecipients"] = [{"emailAddress": address}]
        what["complaintFeedbackType"] = code or "abuse"
        what["feedbackId"] = id_of("feedback", told.id, str(told.number))
    elif name == "clicked":
        what["link"] = "https://example.com/"
    elif name == "deferred":
        what["delayType"] = code or "TransientCommunicationFailure"
        what["delayedRecipients"] = [{"emailAddress": address, "status": "4.4.1"}]
    elif code == "Rendering Failure":
        event = code
        what |= {"errorMessage": "a word that the template has is missing", "templateName": "t"}
    elif name == "failed":
        what["reason"] = code or "Bad content"
    mail = {
        "timestamp": at,
        "messageId": _message_id(told.id),
        "destination": [address],
        "tags": {tag: [value] for tag, value in told.asked.more["tags"].items()},
    }
    return {"eventType": event, "mail": mail, _FIELDS.get(event, event.lower()): what}


def _error(status: int, code: str, message: str, fate: Fate | None = None) -> Reply:
    waits = fate.waits if fate is not None else ()
    headers = (("x-amzn-errortype", code), *waits)
    return as_json(status, {"message": message}, code=code, headers=headers)


def _message_id(name: str) -> str:
    return f"0100{name[:12]}-{name[12:20]}-000000"


def _stamp(at: int) -> str:
    when = datetime.fromtimestamp(at / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
