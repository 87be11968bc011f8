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

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.apns import Meter
from benchmarks.harness import child, medians, print_table

ANSWERS = """
    keepalive_requests 1000000000;
    default_type application/json;
    location / { return 201 '{"sid":"SM0123456789abcdef0123456789abcdef","status":"accepted",\
"num_segments":"1","error_code":null,"price":null,"to":"+12025550100","body":"hello"}'; }
"""
ACCOUNT = "AC" + "0123456789abcdef" * 2
SERVICE = "MG" + "0123456789abcdef" * 2
BODY = "{:06d} is your code. Never share it with anyone."
LONGEST = 60.0  # seconds after which no other run begins


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


def measure(requests: int, in_flight: int, runs: int) -> list[dict[str, Any]]:
    """One row for each: medians of ``runs``, taken by turns."""
    from tidings.services.nginx import Nginx

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in MEASURED}
    until = time.monotonic() + LONGEST
    with Nginx(ANSWERS) as nginx:
        for turn in range(runs):
            if turn and time.monotonic() > until:
                break  # the machine is busy: fewer runs, and the table says so
            for name in MEASURED:
                ca = str(nginx.certificate.certificate)
                arguments = json.dumps([name, nginx.url, ca, requests, in_flight])
                found[name].append(child("benchmarks.sms", "--child", arguments, timeout=60.0))
    return [
        {"what": name, **medians(rows), "least": min(row["per_cpu_second"] for row in rows)}
        for name, rows in found.items()
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=8_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *arguments = json.loads(options.child)
        sys.stdout.write(json.dumps(asyncio.run(MEASURED[name](*arguments))) + "\n")
        return
    rows = measure(options.requests, options.in_flight, options.runs)
    title = (
        f"Messages over Twilio (nginx), {options.in_flight} under way, of {rows[0]['runs']} runs"
    )
    print_table(title, rows, as_json=options.json)


if __name__ == "__main__":
    main()
