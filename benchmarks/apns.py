"""Pushes to APNs over HTTP/2 and TLS: requests per CPU-second of the client.

    python -m benchmarks.apns [--requests N] [--runs N] [--in-flight N] [--json]

nginx stands for Apple: TLS 1.3, an empty 200 with the `apns-id`. A process of its own keeps so many
requests under way, and counts its CPU from the first to the last answer. In one run, by turns:

    client     our HTTP/2 client alone, with all that keeps it safe (time-outs, windows, GOAWAY)
    sender     the whole sender: payload, headers and token from a `Send`, an `Answer` back
    refused    the sender where one device in ten is dead
    aioapns    the stock library, a twentieth of the requests; its warnings are switched off
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.clients import Meter, compare, port_of

DEAD = "dead" * 16
ANSWERS = f"""
    http2_max_concurrent_streams 1000;
    keepalive_requests 1000000000;
    add_header apns-id $http_apns_id always;
    location / {{ return 200; }}
    location /3/device/{DEAD} {{ return 410 '{{"reason":"Unregistered","timestamp":1790000000}}'; }}
"""
TITLE = "Alice and 49 others"
BODY = "liked your photo “Sunset over the old harbour, seen from the pier”"
TOPIC = "com.example.app"
CONNECTIONS = 2


def device(number: int) -> str:
    """A device token."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**256:064x}"


# ── What is measured, each in a process of its own ────────────────────────────────────────────


async def run_client(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The client alone."""
    from tidings.http2 import Head, Limits, Origin, Pool, Request, Response, Result, literal

    tls = ssl.create_default_context(cafile=ca)
    tls.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    limits = Limits(connections=CONNECTIONS, streams=1_000)
    pool = Pool(Origin("127.0.0.1", port_of(url), tls), limits, loop=loop, random=random.random)
    await pool.open()
    indexed = ((b"apns-topic", TOPIC.encode()), (b"apns-push-type", b"alert"))
    head = Head(b"127.0.0.1", indexed, ((b"authorization", b"bearer " + b"t" * 190),))
    body = json.dumps({"aps": {"alert": {"title": TITLE, "body": BODY}}}).encode()
    paths = [b"/3/device/" + device(number).encode() for number in range(in_flight)]
    name = literal(b"apns-id", b"01234567-89ab-cdef-0123-456789abcdef")

    def done(token: Any, result: Result) -> None:
        assert isinstance(result, Response)
        assert result.status == 200
        meter.answered()

    def more(count: int) -> None:
        pool.submit([Request(head, paths[n], name, body, None, done) for n in range(count)])

    meter = Meter(requests, in_flight, more)
    await meter.finished
    await pool.close(1.0)
    return meter.report()


async def run_sender(
    url: str, ca: str, requests: int, in_flight: int, dead: int = 0
) -> dict[str, Any]:
    """The whole sender; of every ten devices ``dead`` are."""
    from tidings.operators.senders.apns import Apns
    from tidings.operators.senders.push.apns_settings import Settings
    from tidings.ports import Address
    from tidings.secret import Secret
    from tidings.sender import Answer, Content, Send, Verdict
    from tidings.stores.clock import SystemClock

    settings = Settings(
        key=Secret(f"file:{signing_key()}"),
        key_id="KEY1234567",
        team_id="TEAM123456",
        topic=TOPIC,
        host="127.0.0.1",
        port=port_of(url),
        ca=Path(ca),
        connections=CONNECTIONS,
    )
    sender = Apns(settings, SystemClock())
    await sender.open(asyncio.get_running_loop())
    content = Content(parts={"title": TITLE, "body": BODY})
    sends = [
        Send(
            send_id=f"{number:032x}",
            channel="push",
            address=Address(kind="device", value=DEAD if number % 10 < dead else device(number)),
            content=content,
            tenant="default",
            category="social",
            priority="normal",
            attempt=1,
            now=0,
            expires_at=2_000_000_000_000,
        )
        for number in range(in_flight)
    ]
    expected = {Verdict.OK, Verdict.INV} if dead else {Verdict.OK}

    def done(send: Send, answer: Answer) -> None:
        assert answer.verdict in expected, answer
        meter.answered()

    meter = Meter(requests, in_flight, lambda count: sender.send(sends[:count], done))
    await meter.finished
    await sender.close()
    return meter.report()


async def run_refused(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The sender, one device in ten dead."""
    return await run_sender(url, ca, requests, in_flight, dead=1)


async def run_aioapns(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The stock library."""
    import aioapns
    from aioapns.connection import APNsProductionClientProtocol

    requests = max(requests // 20, 2 * in_flight)
    logging.disable(logging.CRITICAL)
    APNsProductionClientProtocol.APNS_SERVER = "127.0.0.1"
    APNsProductionClientProtocol.APNS_PORT = port_of(url)
    tls = ssl.create_default_context(cafile=ca)
    tls.set_alpn_protocols(["h2"])
    client = aioapns.APNs(
        key=signing_key().read_text(),
        key_id="KEY1234567",
        team_id="TEAM123456",
        topic=TOPIC,
        max_connections=CONNECTIONS,
        ssl_context=tls,
    )
    message = {"aps": {"alert": {"title": TITLE, "body": BODY}}}
    tasks: set[asyncio.Task[None]] = set()
    ready = [aioapns.NotificationRequest(device(number), message) for number in range(in_flight)]

    async def send(request: aioapns.NotificationRequest) -> None:
        result = await client.send_notification(request)
        assert result.is_successful
        ready.append(request)
        meter.answered()

    def more(count: int) -> None:
        for _ in range(count):
            task = asyncio.create_task(send(ready.pop()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    meter = Meter(requests, in_flight, more)
    await meter.finished
    client.pool.close()
    return meter.report()


def signing_key() -> Path:
    """A signing key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    file = Path(tempfile.mkdtemp()) / "AuthKey.p8"
    file.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


# ── The run ───────────────────────────────────────────────────────────────────────────────────

MEASURED = {
    "client": run_client,
    "sender": run_sender,
    "refused": run_refused,
    "aioapns": run_aioapns,
}


def main() -> None:
    """The command line."""
    compare(
        "benchmarks.apns",
        __doc__,
        MEASURED,
        ANSWERS,
        "Pushes to APNs",
        count=100_000,
        in_flight=1_000,
    )


if __name__ == "__main__":
    main()
