"""What the events of SES are read as: signed and delivered by moto's SNS."""

from __future__ import annotations

import datetime
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import boto3
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.peers.moto import Moto
from tests.peers.provider import Provider, Say
from tidings.operators.senders.mail import ses_receipts
from tidings.operators.senders.text.sns_message import certificate_url, notified
from tidings.receipts import Forged, Receipt, Webhook
from tidings.records import Kind
from tidings.services.process import wait_for

HOUR = 3_600_000
TO_SNS = {  # moto has one address for all services, and goes by whom a request is signed for
    "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260301/us-east-1/sns/aws4_request, "
    "SignedHeaders=host, Signature=none"
}
MAIL = {
    "messageId": "m-1",
    "timestamp": "2026-03-01T10:00:00.000Z",
    "destination": ["ana@example.com"],
    "tags": {"reference": ["ref"], "ses:caller-identity": ["x"]},
}


@pytest.fixture(scope="module")
def deliver() -> Iterator[Callable[[dict[str, Any]], tuple[str, Webhook]]]:
    """Publishes over moto's SNS; gives the topic, and the webhook as it came with its
    certificate."""
    with Moto() as moto, Provider(lambda got: Say(200)) as endpoint:
        sns = boto3.client(
            "sns",
            region_name="us-east-1",
            endpoint_url=moto.url,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        topic = sns.create_topic(Name="ses-events")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"{endpoint.url}/ses")

        def publish(message: dict[str, Any]) -> tuple[str, Webhook]:
            before = len(endpoint.got)
            sns.publish(TopicArn=topic, Message=json.dumps(message))
            wait_for(lambda: len(endpoint.got) > before, timeout=30, what="a notification")
            body = endpoint.got[-1].body
            named = certificate_url(json.loads(body))
            asked = Request(f"{moto.url}/{named.rsplit('/', 1)[1]}", headers=TO_SNS)
            certificate = urlopen(asked).read()
            hook = Webhook(provider="ses", url="", headers={}, body=body, certificate=certificate)
            return topic, hook

        yield publish
        sns.close()


Deliver = Callable[[dict[str, Any]], tuple[str, Webhook]]


def test_a_notification_of_amazons_is_believed_and_a_changed_one_is_not(deliver: Deliver) -> None:
    topic, hook = deliver({"eventType": "Send", "mail": MAIL})
    assert json.loads(notified(hook, topic))["eventType"] == "Send"
    assert ses_receipts.receipts(topic, hook) == ()
    with pytest.raises(Forged, match="another topic"):
        notified(hook, topic + "x")
    changed = msgspec.structs.replace(hook, body=hook.body.replace(b"Send", b"Open"))
    with pytest.raises(Forged, match="not signed"):
        notified(changed, topic)
    with pytest.raises(Forged, match="no certificate"):
        notified(msgspec.structs.replace(hook, certificate=b""), topic)


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_what_amazon_asks_us_to_confirm_is_no_receipt(kind: str) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    said = {
        "Message": "You have chosen to subscribe to the topic.",
        "MessageId": "m-1",
        "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription",
        "Timestamp": WHEN,
        "Token": "2336412f37",
        "TopicArn": "arn:aws:sns:us-east-1:1:t",
        "Type": kind,
    }
    text = "".join(f"{name}\n{value}\n" for name, value in said.items())  # in the order it signs
    signature = b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    place = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"
    more = {"SignatureVersion": "2", "Signature": signature, "SigningCertURL": place}
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    hook = Webhook(
        provider="ses", url="", headers={}, body=json.dumps(said | more).encode(), certificate=pem
    )
    assert ses_receipts.receipts(said["TopicArn"], hook) == ()
    other = msgspec.structs.replace(hook, body=hook.body.replace(b"2336", b"2337"))
    with pytest.raises(Forged, match="not signed"):
        ses_receipts.receipts(said["TopicArn"], other)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com.example.com/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com@example.com/SimpleNotificationService-1.pem",
        "https://example.com/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com/../x.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem?x=1",
        "",
    ],
)
def test_certificates_come_from_amazon_alone(url: str) -> None:
    with pytest.raises(Forged):
        certificate_url({"SigningCertURL": url})


WHEN = "2026-03-01T10:00:05.250Z"
AT = 1_772_359_205_250


@pytest.mark.parametrize(
    ("event", "what", "expected"),
    [
        ("Delivery", {"timestamp": WHEN}, {"kind": Kind.DELIVERED}),
        ("Open", {"timestamp": WHEN}, {"kind": Kind.OPENED}),
        (
            "Click",
            {"timestamp": WHEN, "link": "https://example.com"},
            {"kind": Kind.CLICKED, "detail": "https://example.com"},
        ),
        (
            "Bounce",
            {
                "timestamp": WHEN,
                "feedbackId": "f-1",
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": [{"emailAddress": "ana@example.com", "status": "5.1.1"}],
            },
            {
                "kind": Kind.BOUNCED,
                "event_id": "f-1",
                "code": "Permanent/General",
                "detail": "5.1.1",
                "suppress": "hard_bounce",
            },
        ),
        (
            "Bounce",
            {
                "timestamp": WHEN,
                "feedbackId": "f-1",
                "bounceType": "Transient",
                "bounceSubType": "MailboxFull",
                "bouncedRecipients": [{"emailAddress": "ana@example.com"}],
            },
            {
                "kind": Kind.BOUNCED,
                "event_id": "f-1",
                "code": "Transient/MailboxFull",
                "soft": True,
                "again_ms": HOUR,
            },
        ),
        (
            "Bounce",
            {
                "timestamp": WHEN,
                "feedbackId": "f-1",
                "bounceType": "Transient",
                "bounceSubType": "ContentRejected",
                "bouncedRecipients": [{"emailAddress": "ana@example.com"}],
            },
            {"kind": Kind.BOUNCED, "event_id": "f-1", "code": "Transient/ContentRejected"},
        ),
        (
            "Bounce",
            {
                "timestamp": WHEN,
                "feedbackId": "f-1",
                "bounceType": "Undetermined",
                "bounceSubType": "Undetermined",
                "bouncedRecipients": [{"emailAddress": "ana@example.com"}],
            },
            {
                "kind": Kind.BOUNCED,
                "event_id": "f-1",
                "code": "Undetermined/Undetermined",
                "soft": True,
            },
        ),
        (
            "Bounce",
            {
                "timestamp": WHEN,
                "feedbackId": "f-1",
                "bounceType": "Transient",
                "bounceSubType": "General",
                "bouncedRecipients": [
                    {"emailAddress": "ana@example.com", "action": "failed", "status": "4.4.7"}
                ],
            },
            {
                "kind": Kind.BOUNCED,
                "event_id": "f-1",
                "code": "Transient/General",
                "detail": "4.4.7",
                "soft": True,
                "again_ms": HOUR,
            },
        ),
        (
            "Complaint",
            {
                "timestamp": WHEN,
                "feedbackId": "f-2",
                "complaintFeedbackType": "abuse",
                "complainedRecipients": [{"emailAddress": "ana@example.com"}],
            },
            {
                "kind": Kind.COMPLAINED,
                "event_id": "f-2",
                "code": "abuse",
                "suppress": "complaint",
            },
        ),
    ],
)
def test_events_of_ses(
    deliver: Deliver, event: str, what: dict[str, Any], expected: dict[str, Any]
) -> None:
    for name in ("eventType", "notificationType"):
        topic, hook = deliver({name: event, "mail": MAIL, event.lower(): what})
        [receipt] = ses_receipts.receipts(topic, hook)
        common = {
            "event_id": f"m-1:{event}:{WHEN}",
            "reference": "ref",
            "channel": "email",
            "provider_id": "m-1",
            "at": AT,
            "address": "ana@example.com",
        }
        assert receipt == Receipt(**{**common, **expected})


@pytest.mark.parametrize(
    ("event", "what"),
    [
        # What ooto@simulator.amazonses.com answers: the mail has arrived.
        (
            "Bounce",
            {
                "bounceType": "Transient",
                "bounceSubType": "General",
                "bouncedRecipients": [{"emailAddress": "ana@example.com"}],
            },
        ),
        (
            "Complaint",
            {
                "complaintFeedbackType": "not-spam",
                "complainedRecipients": [{"emailAddress": "ana@example.com"}],
            },
        ),
        (
            "Subscription",
            {
                "contactList": "readers",
                "newTopicPreferences": {
                    "unsubscribeAll": False,
                    "topicSubscriptionStatus": [
                        {"topicName": "news", "subscriptionStatus": "OptIn"}
                    ],
                },
            },
        ),
    ],
    ids=["out of the office", "not spam after all", "other topics"],
)
def test_what_only_looks_like_bad_news_is_no_receipt(
    deliver: Deliver, event: str, what: dict[str, Any]
) -> None:
    said = {"timestamp": WHEN, "feedbackId": "f-1", **what}
    topic, hook = deliver({"eventType": event, "mail": MAIL, event.lower(): said})
    assert ses_receipts.receipts(topic, hook) == []


@pytest.mark.parametrize("wishes", [{"unsubscribeAll": True}, {}, None, ["all"]])
def test_who_leaves_every_list_at_ses_is_suppressed(deliver: Deliver, wishes: Any) -> None:
    what = {"timestamp": WHEN, "newTopicPreferences": wishes}
    topic, hook = deliver({"eventType": "Subscription", "mail": MAIL, "subscription": what})
    [receipt] = ses_receipts.receipts(topic, hook)
    assert (receipt.kind, receipt.suppress) == (Kind.UNSUBSCRIBED, "unsubscribe")


def test_a_mail_that_is_late_is_no_receipt(deliver: Deliver) -> None:
    what = {"timestamp": WHEN, "delayType": "MailboxFull", "delayedRecipients": []}
    topic, hook = deliver({"eventType": "DeliveryDelay", "mail": MAIL, "deliveryDelay": what})
    assert ses_receipts.receipts(topic, hook) == ()


@pytest.mark.parametrize(
    ("event", "field", "what"),
    [
        ("Reject", "reject", {"reason": "Bad content"}),
        ("Rendering Failure", "failure", {"errorMessage": "Bad content", "templateName": "t"}),
    ],
)
def test_what_ses_refuses_after_it_took_it_needs_people(
    deliver: Deliver, event: str, field: str, what: dict[str, Any]
) -> None:
    topic, hook = deliver({"eventType": event, "mail": MAIL, field: what})
    [receipt] = ses_receipts.receipts(topic, hook)
    assert (receipt.kind, receipt.alert, receipt.detail) == (Kind.FAILED, True, "Bad content")


@pytest.mark.parametrize(
    "said",
    [
        {"eventType": "Delivery"},
        {"eventType": "Delivery", "mail": None, "delivery": None},
        {"eventType": "Delivery", "mail": {"tags": None, "destination": {}}, "delivery": []},
        {"eventType": "Bounce", "mail": MAIL, "bounce": {"bouncedRecipients": [{"status": None}]}},
        {"eventType": "Complaint", "mail": [], "complaint": {"complainedRecipients": [{}]}},
    ],
)
def test_what_ses_leaves_out_is_empty(deliver: Deliver, said: dict[str, Any]) -> None:
    topic, hook = deliver(said)
    [receipt] = ses_receipts.receipts(topic, hook)
    assert msgspec.convert(msgspec.to_builtins(receipt), Receipt) == receipt
    assert (receipt.address or "ana@example.com", receipt.detail) == ("ana@example.com", "")


def test_an_event_that_names_no_time_is_of_the_time_of_its_mail(deliver: Deliver) -> None:
    topic, hook = deliver({"eventType": "Reject", "mail": MAIL, "reject": {"reason": "a virus"}})
    [receipt] = ses_receipts.receipts(topic, hook)
    assert receipt.at == AT - 5_250
    assert receipt.event_id == "m-1:Reject:2026-03-01T10:00:00.000Z"


def test_recipients_that_are_none_are_passed_over(deliver: Deliver) -> None:
    people = ["ana@example.com", None, {"emailAddress": "ben@example.com"}]
    topic, hook = deliver(
        {"eventType": "Bounce", "mail": MAIL, "bounce": {"bouncedRecipients": people}}
    )
    assert [one.address for one in ses_receipts.receipts(topic, hook)] == ["ben@example.com"]
