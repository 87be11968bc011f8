"""E-mail by the bulk calls of SES and SendGrid: messages per CPU-second of the client.

    python -m benchmarks.mail [--messages N] [--runs N] [--json]

nginx stands for both, over TLS and HTTP/1.1; each mail has its own words, a signed link to
unsubscribe and a signed reference. A process of its own keeps so many mails under way as ten calls
carry, and counts its CPU from the first to the last answer. In one run, by turns:

    ses             our sender, from a `Send` to an `Answer`, 50 in a call
    boto3           Amazon's own client, the same calls; a tenth of the messages
    ses-single      our sender, one in a call; a twentieth of the messages
    boto3-single    Amazon's own client, one in a call; a hundredth of them
    sendgrid        our sender, 1,000 in a call
    sendgrid-sdk    SendGrid's own client and its helper classes; a tenth of the messages
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clients import Meter, compare
from benchmarks.harness import peak_mb

_RESULT = '{"Status":"SUCCESS","MessageId":"0102018c0a1b2c3d-4e5f6071-8293-a4b5-c6d7-e8f90a1b2c3d"}'
_BULK = '{"BulkEmailEntryResults":[' + ",".join(["$result"] * 50) + "]}"
ANSWERS = f"""
    keepalive_requests 1000000000;
    client_max_body_size 40m;
    client_body_buffer_size 2m;
    set $result '{_RESULT}';
    location = /v2/email/outbound-bulk-emails {{ return 200 '{_BULK}'; }}
    location = /v2/email/outbound-emails {{ return 200 '{{"MessageId":"m-1"}}'; }}
    location = /v3/mail/send {{ add_header X-Message-Id sg-1; return 202; }}
"""
SUBJECT = "Alice and 49 others liked your photo"
TEXT = (
    "Alice and 49 others liked your photo “Sunset over the old harbour”.\n\nhttps://example.com/p/"
)
HTML = (
    "<p><b>Alice and 49 others</b> liked your photo <b>Sunset over the old harbour</b>.</p>"
    '<p><a href="https://example.com/p/{0}">Look at it</a></p>'
)
SENDER = "Example <hello@example.com>"
KEY = "k" * 32


def send_of(number: int) -> Any:
    """A send with words of its own."""
    from tidings.ports import Address
    from tidings.records import Delivery, Origin
    from tidings.sender import Content, Send

    delivery = Delivery(
        notif_id=f"{number:032x}",
        recipient_id=f"user-{number}",
        flow="social",
        step="social.deliver",
        version="v1",
        channel="email",
        template="hello",
        category="social",
        created_at=0,
        origin=Origin("tidings.social", 0, number),
        campaign_id="summer",
    )
    html = HTML.format(number)
    return Send(
        send_id=f"{number:032x}",
        channel="email",
        address=Address(kind="email", value=f"user-{number}@example.org"),
        content=Content(parts={"subject": SUBJECT, "text": f"{TEXT}{number}", "html": html}),
        tenant="default",
        category="social",
        priority="low",
        attempt=1,
        now=0,
        marketing=True,
        delivery=delivery,
        origin=Origin("deliveries.email.low", 0, number),
    )


# ── Ours ──────────────────────────────────────────────────────────────────────────────────────


async def run_sender(sender: Any, messages: int, in_flight: int) -> dict[str, Any]:
    """A whole sender."""
    from tidings.sender import Answer, Send, Verdict

    await sender.open(asyncio.get_running_loop())
    sends = [send_of(number) for number in range(in_flight)]

    def done(send: Send, answer: Answer) -> None:
        assert answer.verdict is Verdict.OK, answer
        meter.answered()

    meter = Meter(messages, in_flight, lambda count: sender.send(sends[:count], done))
    await meter.finished
    await sender.close()
    return meter.report()


def common(folder: Path, ca: str) -> dict[str, Any]:
    """Settings of both senders."""
    key = folder / "key"
    key.write_text(KEY)
    secret = f"file:{key}"
    return {
        "sender": SENDER,
        "ca": ca,
        "links": {"url": "https://mail.example.com", "key": secret},
        "callback": {"url": "https://example.com/hooks", "key": secret},
    }


def ses(url: str, ca: str, messages: int, bulk: int = 50) -> dict[str, Any]:
    """Ours for SES."""
    from tidings.operators.senders.ses import Ses, Settings
    from tidings.stores.clock import SystemClock

    with tempfile.TemporaryDirectory() as folder:
        given = common(Path(folder), ca)
        settings = Settings(
            region="eu-west-1",
            access_key_id="AKIDEXAMPLE",
            secret_access_key=given["links"]["key"],
            endpoint=url,
            bulk=bulk,
            **given,
        )
        sender = Ses(settings, SystemClock())
        return asyncio.run(run_sender(sender, messages, 10 * bulk if bulk > 1 else 100))


def ses_single(url: str, ca: str, messages: int) -> dict[str, Any]:
    """Ours for SES, one mail in a call."""
    return ses(url, ca, messages // 20, bulk=1)


def sendgrid(url: str, ca: str, messages: int) -> dict[str, Any]:
    """Ours for SendGrid."""
    from tidings.operators.senders.sendgrid import SendGrid, Settings
    from tidings.stores.clock import SystemClock

    with tempfile.TemporaryDirectory() as folder:
        given = common(Path(folder), ca)
        settings = Settings(key=given["links"]["key"], endpoint=url, **given)
        return asyncio.run(run_sender(SendGrid(settings, SystemClock()), messages, 10_000))


# ── Theirs ────────────────────────────────────────────────────────────────────────────────────


def counted(messages: int, call: Callable[[range], None], most: int) -> dict[str, Any]:
    """One call after the other, each for so many messages."""
    call(range(most))  # the connection is made
    calls = max(messages // most, 2)
    gc.collect()
    cpu, wall = time.process_time(), time.monotonic()
    for number in range(calls):
        call(range(number * most, (number + 1) * most))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    sent = calls * most
    return {
        "per_cpu_second": round(sent / cpu),
        "us": round(cpu / sent * 1e6, 2),
        "per_second": round(sent / wall),
        "mb": peak_mb(),
    }


def boto3_client(url: str, ca: str) -> Any:
    """Amazon's own client, which sends nothing twice."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=url,
        verify=ca,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=KEY,
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
    )


UNSUBSCRIBE = [
    {"Name": "List-Unsubscribe", "Value": "<https://mail.example.com/u/" + "x" * 200 + ">"},
    {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
]


def boto3_bulk(url: str, ca: str, messages: int) -> dict[str, Any]:
    """Amazon's own client, 50 in a call."""
    client = boto3_client(url, ca)
    words = {"Subject": "{{subject}}", "Text": "{{text}}", "Html": "{{html}}"}

    def entry(number: int) -> dict[str, Any]:
        data = {"subject": SUBJECT, "text": f"{TEXT}{number}", "html": HTML.format(number)}
        return {
            "Destination": {"ToAddresses": [f"user-{number}@example.org"]},
            "ReplacementTags": [
                {"Name": "send_id", "Value": f"{number:032x}"},
                {"Name": "reference", "Value": "x" * 200},
            ],
            "ReplacementHeaders": UNSUBSCRIBE,
            "ReplacementEmailContent": {
                "ReplacementTemplate": {"ReplacementTemplateData": json.dumps(data)}
            },
        }

    def call(numbers: range) -> None:
        answer = client.send_bulk_email(
            FromEmailAddress=SENDER,
            DefaultContent={"Template": {"TemplateContent": words, "TemplateData": "{}"}},
            BulkEmailEntries=[entry(number) for number in numbers],
        )
        assert len(answer["BulkEmailEntryResults"]) == 50

    return counted(messages // 10, call, 50)


def boto3_single(url: str, ca: str, messages: int) -> dict[str, Any]:
    """Amazon's own client, one in a call."""
    client = boto3_client(url, ca)

    def call(numbers: range) -> None:
        [number] = numbers
        client.send_email(
            FromEmailAddress=SENDER,
            Destination={"ToAddresses": [f"user-{number}@example.org"]},
            EmailTags=[{"Name": "send_id", "Value": f"{number:032x}"}],
            Content={
                "Simple": {
                    "Subject": {"Data": SUBJECT},
                    "Body": {
                        "Text": {"Data": f"{TEXT}{number}"},
                        "Html": {"Data": HTML.format(number)},
                    },
                    "Headers": UNSUBSCRIBE,
                }
            },
        )

    return counted(messages // 100, call, 1)


def sendgrid_sdk(url: str, ca: str, messages: int) -> dict[str, Any]:
    """SendGrid's own client."""
    os.environ["SSL_CERT_FILE"] = ca
    from sendgrid import SendGridAPIClient
    from sendgrid.helpers import mail as helpers

    client = SendGridAPIClient("SG.key", host=url)

    def personalization(number: int) -> Any:
        made = helpers.Personalization()
        made.add_to(helpers.To(f"user-{number}@example.org"))
        made.subject = SUBJECT
        made.add_header(helpers.Header("List-Unsubscribe", UNSUBSCRIBE[0]["Value"]))
        made.add_header(helpers.Header("List-Unsubscribe-Post", UNSUBSCRIBE[1]["Value"]))
        made.add_custom_arg(helpers.CustomArg("send_id", f"{number:032x}"))
        made.add_custom_arg(helpers.CustomArg("reference", "x" * 200))
        made.add_substitution(helpers.Substitution("%text%", f"{TEXT}{number}"))
        made.add_substitution(helpers.Substitution("%html%", HTML.format(number)))
        return made

    def call(numbers: range) -> None:
        message = helpers.Mail(
            from_email=helpers.From("hello@example.com", "Example"),
            subject=SUBJECT,
            plain_text_content="%text%",
            html_content="%html%",
        )
        for number in numbers:
            message.add_personalization(personalization(number))
        assert client.send(message).status_code == 202

    return counted(messages // 10, call, 1_000)


# ── The run ───────────────────────────────────────────────────────────────────────────────────

MEASURED: dict[str, Callable[[str, str, int], dict[str, Any]]] = {
    "ses": ses,
    "boto3": boto3_bulk,
    "ses-single": ses_single,
    "boto3-single": boto3_single,
    "sendgrid": sendgrid,
    "sendgrid-sdk": sendgrid_sdk,
}


def main() -> None:
    """The command line."""
    compare(
        "benchmarks.mail",
        __doc__,
        MEASURED,
        ANSWERS,
        "Mails in bulk",
        counted="messages",
        count=100_000,
        in_flight=None,
    )


if __name__ == "__main__":
    main()
