"""A sender of APNs whose Apple is a strict HTTP/2 server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.contract.push_keys import APNS as KEY
from tests.contract.push_keys import apns_key, pem_of
from tests.peers.h2_server import Exchange, H2Server
from tidings.operators.senders.apns import Apns
from tidings.operators.senders.push.apns_settings import Settings
from tidings.ports import Address
from tidings.sender import Answer, Content, Send, Verdict

MINUTE = 60_000
NOW = 1_800_000_000_000  # a full 20 minutes
TOPIC = "com.example.app"
DEVICE = "a1" * 32

PEM = pem_of(KEY)


class Clock:
    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


def settings(folder: Path, **changes: Any) -> Settings:
    given = {"topic": TOPIC, "connections": 1, "host": "127.0.0.1", **changes}
    if "certificate" not in given:
        given = {
            "key": f"file:{apns_key(folder)}",
            "key_id": "KEY1234567",
            "team_id": "TEAM123456",
            **given,
        }
    return Settings(**given)


def a_send(number: int = 1, *, address: Address | None = None, **changes: Any) -> Send:
    given: dict[str, Any] = {
        "send_id": f"{number:032x}",
        "channel": "push",
        "address": address or Address(kind="device", value=DEVICE, platform="ios"),
        "content": Content(parts={"title": "Hello", "body": "Alice and 49 others"}),
        "tenant": "default",
        "category": "social",
        "priority": "normal",
        "attempt": 1,
        "now": NOW,
    }
    return Send(**{**given, **changes})


class Desk:
    """A sender and what its sends were answered."""

    def __init__(self, sender: Apns, server: H2Server | None = None) -> None:
        self.sender = sender
        self._server = server
        self._answers: dict[int, Answer] = {}
        self._changed = asyncio.Event()

    @property
    def server(self) -> H2Server:
        assert self._server is not None
        return self._server

    async def send(self, *sends: Send) -> list[Answer]:
        """The answers, in the order of the sends."""

        def done(send: Send, answer: Answer) -> None:
            assert id(send) not in self._answers, "answered twice"
            self._answers[id(send)] = answer
            self._changed.set()

        self.sender.send(sends, done)
        async with asyncio.timeout(30):
            while any(id(send) not in self._answers for send in sends):
                self._changed.clear()
                await self._changed.wait()
        return [self._answers.pop(id(send)) for send in sends]


def run(
    folder: Path,
    test: Callable[[Desk], Awaitable[None]],
    answer: Callable[[Exchange], None] = Exchange.respond,
    *,
    clock: Clock | None = None,
    **changes: Any,
) -> None:
    """Runs ``test`` with a sender whose APNs is a strict HTTP/2 server."""

    async def whole() -> None:
        async with H2Server(folder, answer) as server:
            given = settings(folder, port=server.port, ca=server.ca, **changes)
            sender = Apns(given, clock or Clock(), random=lambda: 0.5)
            await sender.open(asyncio.get_running_loop())
            try:
                await test(Desk(sender, server))
            finally:
                await sender.close()

    asyncio.run(whole())


def sent(folder: Path, send: Send, **changes: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The headers and the payload that APNs gets for a send."""
    got: list[Exchange] = []

    async def test(desk: Desk) -> None:
        [answer] = await desk.send(send)
        assert answer.verdict is Verdict.OK
        got.extend(desk.server.exchanges)

    run(folder, test, **changes)
    [exchange] = got
    return exchange.headers, json.loads(exchange.body)


def of_size(size: int, **changes: Any) -> Send:
    """A send whose payload has so many bytes."""
    frame = len('{"send_id":"","aps":{"alert":{"body":""}}}') + 32
    return a_send(content=Content(parts={"body": "x" * (size - frame)}), **changes)


def refuses(status: int, reason: str, **more: Any) -> Callable[[Exchange], None]:
    body = json.dumps({"reason": reason, **more}).encode()
    return lambda exchange: exchange.respond(status, body)
