"""A sender of FCM whose Google is a strict HTTP/2 server, and whose tokens the test hands out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.peers.h2_server import Exchange, H2Server
from tidings.operators.senders.fcm import Fcm, Settings
from tidings.operators.senders.push.fcm_token import Account, Token
from tidings.ports import Address
from tidings.sender import Answer, Content, Send

NOW = 1_800_000_000_000
SECOND = 1_000
TOKEN = "dQw4w9WgXcQ-dQw4w9WgXc:APA91b" + "Gx_-9" * 26
FID = "dQw4w9WgXcQ-dQw4w9WgXc"
SEND_ID = f"{0xABC:032x}"
HOUR = 3_600_000
ACCEPTED = b'{"name":"projects/example-app/messages/0:1500415314455276%31bd1c96"}'


def a_send(content: Content | None = None, **changes: Any) -> Send:
    given: dict[str, Any] = {
        "send_id": SEND_ID,
        "channel": "push",
        "address": Address(kind="device", value=TOKEN, platform="android"),
        "content": content or Content(parts={"title": "Hello", "body": "Alice and 49 others"}),
        "tenant": "default",
        "category": "social",
        "priority": "normal",
        "attempt": 1,
        "now": NOW,
    }
    return Send(**{**given, **changes})


def on(platform: str) -> Address:
    return Address(kind="device", value=TOKEN, platform=platform)


class Clock:
    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


class Google:
    """Hands out tokens `t1`, `t2`, … for an hour; an exception in ``answers`` is raised instead."""

    def __init__(self, clock: Clock, *answers: Exception) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.token = ""
        self.wait: Callable[[], object] = lambda: None

    def account(self, key: object) -> Account:
        return Account("example-app", self._ask)

    def _ask(self) -> Token:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.wait()
        self.at_once -= 1
        if self.answers:
            raise self.answers.pop(0)
        return Token(self.token or f"t{self.asked}", self.clock.now() + HOUR)


class Desk:
    """A sender, its server, and what its sends were answered."""

    def __init__(self, sender: Fcm, server: H2Server, google: Google, clock: Clock) -> None:
        self.sender = sender
        self.server = server
        self.google = google
        self.clock = clock

    def start(self, *sends: Send) -> asyncio.Future[list[Answer]]:
        """Hand these over; their answers come in their order."""
        answers: dict[int, Answer] = {}
        all_of_them: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()

        def done(send: Send, answer: Answer) -> None:
            assert id(send) not in answers, "answered twice"
            answers[id(send)] = answer
            if len(answers) == len(sends):
                all_of_them.set_result([answers[id(one)] for one in sends])

        self.sender.send(sends, done)
        return all_of_them

    async def send(self, *sends: Send) -> list[Answer]:
        async with asyncio.timeout(30):
            return await self.start(*sends)

    def tokens(self) -> list[str]:
        """By which token each request came."""
        given = [exchange.headers["authorization"] for exchange in self.server.exchanges]
        return [one.removeprefix("Bearer ") for one in given]


def accepts(exchange: Exchange) -> None:
    exchange.respond(200, ACCEPTED)


def error(status: int, code: str = "", message: str = "", *details: dict[str, Any]) -> bytes:
    """FCM's body of an error; ``code`` is its own (`FcmError`)."""
    own = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
    names |= {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
    said = {
        "code": status,
        "message": message or "Something is wrong.",
        "status": names.get(status, "UNKNOWN"),
        "details": [*([own] if code else []), *details],
    }
    return json.dumps({"error": said}).encode()


def violations(*fields: str) -> dict[str, Any]:
    """The detail that names what is wrong with a request."""
    found = [{"field": field, "description": f"Invalid {field}"} for field in fields]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": found}


def run(
    folder: Path,
    test: Callable[[Desk], Awaitable[None]],
    answer: Callable[[Exchange], None] = accepts,
    *answers: Exception,
    clock: Clock | None = None,
    **changes: Any,
) -> None:
    """Runs ``test`` with a sender; ``answers`` are Google's, before it gives tokens."""

    async def whole() -> None:
        the_clock = clock or Clock()
        google = Google(the_clock, *answers)
        async with H2Server(folder, answer) as server:
            place = {"host": "127.0.0.1", "port": server.port, "ca": server.ca, "connections": 1}
            settings = Settings(**{**place, **changes})
            sender = Fcm(settings, the_clock, random=lambda: 0.5, account=google.account)
            await sender.open(asyncio.get_running_loop())
            try:
                await test(Desk(sender, server, google, the_clock))
            finally:
                await sender.close()

    asyncio.run(whole())


def device(number: int) -> Address:
    """A phone of its own."""
    return Address(kind="device", value=f"{TOKEN}{number}", platform="android")


def sends(count: int) -> list[Send]:
    return [a_send(send_id=f"{n:032x}", address=device(n)) for n in range(count)]
