"""Text messages over Twilio: calls per CPU-second of the client.

    python -m benchmarks.sms [--requests N] [--runs N] [--in-flight N] [--json]

nginx stands for Twilio: TLS, HTTP/1.1, kept-alive connections, a 201 with JSON. A process of its
own keeps so many calls under way, and counts its CPU from the first to the last answer. In one run,
by turns:

    sender      the whole sender: number, segments, form and signed callback; an `Answer` back
    sdk async   Twilio's SDK on aiohttp, as many calls under way, a quarter of the calls
    sdk         Twilio's SDK as most people use it, one call after the other, a quarter of the calls
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clients import Meter, compare

ANSWERS = """
    keepalive_requests 1000000000;
    default_type application/json;
    location / { return 201 '{"sid":"SM0123456789abcdef0123456789abcdef","status":"accepted",\
"num_segments":"1","error_code":null,"price":null,"to":"+12025550100","body":"hello"}'; }
"""
ACCOUNT = "AC" + "0123456789abcdef" * 2
SERVICE = "MG" + "0123456789abcdef" * 2
BODY = "{:06d} is your code. Never share it with anyone."


def number(index: int) -> str:
    """A phone number."""
    return f"+1202555{index % 10_000:04d}"


async def run_sender(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The whole sender."""
    from tidings.operators.senders.twilio import Settings, Twilio
    from tidings.ports import Address
    from tidings.records import Delivery, Origin
    from tidings.sender import Answer, Content, Send, Verdict
    from tidings.stores.clock import SystemClock

    folder = Path(tempfile.mkdtemp())
    (folder / "token").write_text("secret")
    settings = Settings.model_validate(
        {
            "account": ACCOUNT,
            "auth_token": f"file:{folder}/token",
            "service": SERVICE,
            "callback": {"url": "https://example.com/twilio", "key": f"file:{folder}/token"},
            "url": url,
            "ca": ca,
            "prices": {"+1": 0.0079},
        }
    )
    sender = Twilio(settings, SystemClock())
    await sender.open(asyncio.get_running_loop())
    origin = Origin("deliveries.sms.high", 0, 1)
    delivery = Delivery(
        notif_id="0" * 32,
        recipient_id="ana",
        flow="otp",
        step="otp.deliver",
        version="v1",
        channel="sms",
        template="otp_code",
        category="codes",
        created_at=0,
        origin=origin,
    )
    sends = [
        Send(
            send_id=f"{index:032x}",
            channel="sms",
            address=Address(kind="phone", value=number(index)),
            content=Content(parts={"body": BODY.format(index)}),
            tenant="default",
            category="codes",
            priority="high",
            attempt=1,
            now=0,
            expires_at=2_000_000_000_000,
            delivery=delivery,
            origin=origin,
        )
        for index in range(in_flight)
    ]

    def done(send: Send, answer: Answer) -> None:
        assert answer.verdict is Verdict.OK, answer
        meter.answered()

    meter = Meter(requests, in_flight, lambda count: sender.send(sends[:count], done))
    await meter.finished
    await sender.close()
    return meter.report()


async def run_async_sdk(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """Twilio's SDK on aiohttp."""
    os.environ["SSL_CERT_FILE"] = ca  # aiohttp looks when it is imported

    from twilio.http.async_http_client import AsyncTwilioHttpClient
    from twilio.rest import Client

    http = AsyncTwilioHttpClient()
    client = Client(ACCOUNT, "secret", http_client=http)
    client.api.base_url = url
    tasks: set[asyncio.Task[None]] = set()

    async def send(index: int) -> None:
        message = await client.messages.create_async(
            to=number(index),
            body=BODY.format(index),
            messaging_service_sid=SERVICE,
            status_callback="https://example.com/twilio?ref=" + "r" * 150,
            validity_period=120,
        )
        assert message.sid
        meter.answered()

    def more(count: int) -> None:
        for index in range(count):
            task = asyncio.create_task(send(index))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    meter = Meter(requests // 4, in_flight, more)
    await meter.finished
    await http.close()
    return meter.report()


async def run_sdk(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """Twilio's SDK, a call at a time; nothing is under way beside it."""
    from twilio.rest import Client

    os.environ["REQUESTS_CA_BUNDLE"] = ca
    client = Client(ACCOUNT, "secret")
    client.api.base_url = url
    requests //= 4
    cpu, wall = time.process_time(), time.monotonic()
    for index in range(requests):
        client.messages.create(
            to=number(index),
            body=BODY.format(index),
            messaging_service_sid=SERVICE,
            status_callback="https://example.com/twilio?ref=" + "r" * 150,
            validity_period=120,
        )
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return {
        "per_cpu_second": round(requests / cpu),
        "us": round(cpu / requests * 1e6, 2),
        "per_second": round(requests / wall),
    }


MEASURED: dict[str, Callable[..., Any]] = {
    "sender": run_sender,
    "sdk async": run_async_sdk,
    "sdk": run_sdk,
}


def main() -> None:
    """The command line."""
    compare(
        "benchmarks.sms",
        __doc__,
        MEASURED,
        ANSWERS,
        "Messages over Twilio",
        count=8_000,
        in_flight=100,
    )


if __name__ == "__main__":
    main()
