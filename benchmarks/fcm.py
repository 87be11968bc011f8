"""Pushes to FCM over HTTP/2 and TLS: requests per CPU-second of the client.

    python -m benchmarks.fcm [--requests N] [--runs N] [--in-flight N] [--json]

nginx stands for Google: TLS 1.3, a 200 whose body names the message. A process of its own keeps so
many requests under way, and counts its CPU from the first to the last answer. In one run, by turns:

    client     our HTTP/2 client alone, with all that keeps it safe (time-outs, windows, GOAWAY)
    sender     the whole sender: message, token and headers from a `Send`, an `Answer` back
    refused    the sender where one device in ten is unregistered
    firebase   the official library's `messaging.send`, a hundredth of the requests
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import ssl
import time
from pathlib import Path
from typing import Any

from benchmarks.apns import BODY, CONNECTIONS, TITLE
from benchmarks.clients import Meter, compare, port_of
from benchmarks.harness import peak_mb

PROJECT = "example-app"
PATH = f"/v1/projects/{PROJECT}/messages:send"
ACCEPTED = json.dumps({"name": f"projects/{PROJECT}/messages/0:1500415314455276%31bd1c9631bd1c96"})
UNREGISTERED = json.dumps(
    {
        "error": {
            "code": 404,
            "message": "Requested entity was not found.",
            "status": "NOT_FOUND",
            "details": [
                {
                    "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
                    "errorCode": "UNREGISTERED",
                }
            ],
        }
    }
)
TOKEN = "ya29.c." + "t" * 1_017  # as long as a service account's
GRANT = json.dumps({"access_token": TOKEN, "expires_in": 3_600})
PATHS = f"""
    default_type application/json;
    location = {PATH} {{ return 200 '{ACCEPTED}'; }}
    location = /v1/projects/gone/messages:send {{ return 404 '{UNREGISTERED}'; }}
    location = /token {{ return 200 '{GRANT}'; }}
"""
ANSWERS = f"""
    http2_max_concurrent_streams 1000;
    keepalive_requests 1000000000;
    {PATHS}
"""


def device(number: int) -> str:
    """A registration token."""
    return f"{number:022d}:APA91b" + f"{number * 0x9E3779B97F4A7C15 % 2**256:0134x}"


def account(folder: str, port: int) -> Path:
    """The key file of a service account whose tokens come from ``port``."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    content = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"https://127.0.0.1:{port}/token",
    }
    file = Path(folder) / "firebase.json"
    file.write_text(json.dumps(content))
    return file


# ── What is measured, each in a process of its own ────────────────────────────────────────────


async def run_client(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The client alone."""
    from tidings.http2 import Head, Limits, Origin, Pool, Request, Response, Result

    tls = ssl.create_default_context(cafile=ca)
    tls.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    limits = Limits(connections=CONNECTIONS, streams=1_000)
    pool = Pool(Origin("127.0.0.1", port_of(url), tls), limits, loop=loop, random=random.random)
    await pool.open()
    kind = (b"content-type", b"application/json")
    head = Head(b"127.0.0.1", (kind, (b"authorization", b"Bearer " + TOKEN.encode())))
    path = PATH.encode()
    bodies = [
        json.dumps({"message": {"token": device(number), "notification": {"body": BODY}}}).encode()
        for number in range(in_flight)
    ]

    def done(token: Any, result: Result) -> None:
        assert isinstance(result, Response)
        assert result.status == 200
        assert result.body
        meter.answered()

    def more(count: int) -> None:
        pool.submit([Request(head, path, b"", bodies[n], None, done) for n in range(count)])

    meter = Meter(requests, in_flight, more)
    await meter.finished
    await pool.close(1.0)
    return meter.report()


async def run_sender(
    url: str, ca: str, requests: int, in_flight: int, gone: int = 0
) -> dict[str, Any]:
    """The whole sender; of every ten devices ``gone`` are."""
    from tidings.operators.senders.fcm import Fcm, Settings
    from tidings.operators.senders.push.fcm_token import Account, Token
    from tidings.ports import Address
    from tidings.sender import Answer, Content, Send, Verdict
    from tidings.stores.clock import SystemClock

    def account(key: object) -> Account:
        return Account(PROJECT, lambda: Token(TOKEN, int(time.time() * 1000) + 3_600_000))

    settings = Settings(host="127.0.0.1", port=port_of(url), ca=Path(ca), connections=CONNECTIONS)
    of_gone = settings.model_copy(update={"project": "gone"})
    senders = [Fcm(one, SystemClock(), account=account) for one in (settings, of_gone)]
    for sender in senders:
        await sender.open(asyncio.get_running_loop())
    sends = [
        Send(
            send_id=f"{number:032x}",
            channel="push",
            address=Address(kind="device", value=device(number), platform="android"),
            content=Content(parts={"title": TITLE, "body": BODY}),
            tenant="default",
            category="social",
            priority="normal",
            attempt=1,
            now=0,
            expires_at=2_000_000_000_000,
        )
        for number in range(in_flight)
    ]

    def done(send: Send, answer: Answer) -> None:
        assert answer.verdict is Verdict.OK, answer
        meter.answered()

    def refused(send: Send, answer: Answer) -> None:
        assert answer.verdict is Verdict.INV, answer
        meter.answered()

    def more(count: int) -> None:
        few = count * gone // 10
        senders[0].send(sends[few:count], done)
        senders[1].send(sends[:few], refused)

    meter = Meter(requests, in_flight, more)
    await meter.finished
    for sender in senders:
        await sender.close()
    return meter.report()


async def run_refused(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The sender, one device in ten unregistered."""
    return await run_sender(url, ca, requests, in_flight, gone=1)


async def run_firebase(url: str, ca: str, requests: int, in_flight: int) -> dict[str, Any]:
    """The official library, one message after the other on a kept connection: its fastest way."""
    os.environ["REQUESTS_CA_BUNDLE"] = ca
    import firebase_admin
    from firebase_admin import credentials, messaging
    from google.oauth2.credentials import Credentials

    class Known(credentials.Base):  # type: ignore[misc]
        def get_credential(self) -> Credentials:
            return Credentials(TOKEN)  # type: ignore[no-untyped-call]

    messaging._MessagingService.FCM_URL = url + PATH
    firebase_admin.initialize_app(Known(), {"projectId": PROJECT})
    messages = [
        messaging.Message(
            fid=device(number),
            notification=messaging.Notification(TITLE, BODY),
            data={"send_id": f"{number:032x}"},
            android=messaging.AndroidConfig(priority="high", ttl=3_600),
        )
        for number in range(in_flight)
    ]
    requests = max(requests // 100, 200)
    gc.collect()
    cpu, wall = time.process_time(), time.monotonic()
    for number in range(requests):
        messaging.send(messages[number % in_flight])
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return {
        "per_cpu_second": round(requests / cpu),
        "us": round(cpu / requests * 1e6, 2),
        "per_second": round(requests / wall),
        "mb": peak_mb(),
    }


# ── The run ───────────────────────────────────────────────────────────────────────────────────

MEASURED = {
    "client": run_client,
    "sender": run_sender,
    "refused": run_refused,
    "firebase": run_firebase,
}


def main() -> None:
    """The command line."""
    compare(
        "benchmarks.fcm",
        __doc__,
        MEASURED,
        ANSWERS,
        "Pushes to FCM",
        count=100_000,
        in_flight=1_000,
    )


if __name__ == "__main__":
    main()
