"""What the events of SendGrid are read as: signed as its own library checks them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sendgrid import EventWebhook

from tidings.operators.senders.mail import sendgrid_receipts
from tidings.receipts import Forged, Webhook
from tidings.records import Kind

HOUR = 3_600_000

PRIVATE = ec.derive_private_key(0x5E9D, ec.SECP256R1())
PUBLIC = b64encode(
    PRIVATE.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
).decode()


def of_sendgrid(*events: dict[str, Any]) -> Webhook:
    body, stamp = json.dumps(list(events)).encode() + b"\r\n", "1772359205"
    signature = PRIVATE.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    headers = {
        "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": stamp,
    }
    return Webhook(provider="sendgrid", url="", headers=headers, body=body)


def an_event(event: str, **more: Any) -> dict[str, Any]:
    given = {
        "event": event,
        "email": "ana@example.com",
        "timestamp": 1_772_359_205,
        "sg_event_id": "e-1",
        "sg_message_id": "m-1",
        "reference": "ref",
    }
    return given | more


def test_what_sendgrid_signs_its_own_library_believes_as_we_do() -> None:
    hook = of_sendgrid(an_event("delivered"))
    signature, stamp = hook.headers.values()
    theirs = EventWebhook(PUBLIC)
    assert theirs.verify_signature(hook.body.decode(), signature, stamp)
    assert len(sendgrid_receipts.receipts(PUBLIC, hook)) == 1
    stripped = msgspec.structs.replace(hook, body=hook.body.strip())
    assert not theirs.verify_signature(stripped.body.decode(), signature, stamp)
    with pytest.raises(Forged):
        sendgrid_receipts.receipts(PUBLIC, stripped)


def test_events_without_a_key_to_check_them_name_the_setting() -> None:
    with pytest.raises(ValueError, match="with `event_key`, which is not set"):
        sendgrid_receipts.receipts("", of_sendgrid(an_event("delivered")))


@pytest.mark.parametrize("signature", ["", "not base64!", "AAAA"])
def test_garbage_is_no_signature(signature: str) -> None:
    hook = of_sendgrid(an_event("delivered"))
    headers = {**hook.headers, "x-twilio-email-event-webhook-signature": signature}
    with pytest.raises(Forged):
        sendgrid_receipts.receipts(PUBLIC, msgspec.structs.replace(hook, headers=headers))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (an_event("delivered"), {"kind": Kind.DELIVERED}),
        (an_event("open"), {"kind": Kind.OPENED}),
        (
            an_event("click", url="https://x.example"),
            {"kind": Kind.CLICKED, "detail": "https://x.example"},
        ),
        (
            an_event("bounce", type="bounce", status="5.1.1", reason="no such user"),
            {
                "kind": Kind.BOUNCED,
                "suppress": "hard_bounce",
                "code": "5.1.1",
                "detail": "no such user",
                "soft": False,
                "again_ms": 0,
            },
        ),
        (
            an_event("bounce", type="blocked", reason="x" * 501),
            {"code": "blocked", "soft": True, "detail": "x" * 500},
        ),
        (
            an_event("bounce", type="blocked", status="4.7.1"),
            {"kind": Kind.BOUNCED, "suppress": "", "again_ms": HOUR, "soft": False},
        ),
        (
            an_event("bounce", type="blocked", status="4.2.2"),
            {"kind": Kind.BOUNCED, "suppress": "", "again_ms": HOUR, "soft": True},
        ),
        (
            an_event("dropped", reason="Bounced Address"),
            {"kind": Kind.FAILED, "suppress": "hard_bounce", "alert": False},
        ),
        (
            an_event("dropped", reason="Unsubscribed Address"),
            {"kind": Kind.FAILED, "suppress": "unsubscribe"},
        ),
        (
            an_event("dropped", reason="Spam Content"),
            {"kind": Kind.FAILED, "suppress": "", "alert": True},
        ),
        (an_event("spamreport"), {"kind": Kind.COMPLAINED, "suppress": "complaint"}),
        (
            an_event("unsubscribe"),
            {"kind": Kind.UNSUBSCRIBED, "suppress": "unsubscribe", "scope": "all"},
        ),
        (
            an_event("group_unsubscribe"),
            {"kind": Kind.UNSUBSCRIBED, "suppress": "unsubscribe", "scope": "category"},
        ),
        (
            an_event("group_resubscribe"),
            {"kind": Kind.UNSUBSCRIBED, "suppress": "unsubscribe", "lift": True},
        ),
    ],
)
def test_events_of_sendgrid(event: dict[str, Any], expected: dict[str, Any]) -> None:
    [receipt] = sendgrid_receipts.receipts(PUBLIC, of_sendgrid(event))
    assert {name: getattr(receipt, name) for name in expected} == expected
    assert (receipt.event_id, receipt.reference, receipt.address) == (
        "e-1",
        "ref",
        "ana@example.com",
    )
    assert receipt.at == 1_772_359_205_000


def test_what_is_on_its_way_is_no_receipt() -> None:
    hook = of_sendgrid(an_event("processed"), an_event("deferred"), an_event("delivered"))
    assert [one.kind for one in sendgrid_receipts.receipts(PUBLIC, hook)] == [Kind.DELIVERED]


@pytest.mark.parametrize("timestamp", [None, "now", [], {}])
def test_an_event_without_a_time_takes_no_other_along(timestamp: Any) -> None:
    found = sendgrid_receipts.receipts(
        PUBLIC, of_sendgrid(an_event("delivered", timestamp=timestamp), an_event("open"))
    )
    assert [(one.kind, one.at) for one in found] == [
        (Kind.DELIVERED, 0),
        (Kind.OPENED, 1_772_359_205_000),
    ]
