"""The simulator in this process, and a sender of ours that is pointed at it.

async with simulated(tmp_path, {"script": [...]}) as peer:
    answers = await peer.send("apns", [a_send("apns", 1)])
    peer.got()                      # what its journal holds
"""

from __future__ import annotations

import asyncio
import atexit
import datetime
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any

from tidings.ports import Address
from tidings.providers import sender_of
from tidings.receipts import Webhook
from tidings.records import Delivery, Origin
from tidings.sender import Answer, Content, Send
from tidings.simulator.credentials import Credentials
from tidings.simulator.journal import Journal, Received, received
from tidings.simulator.scenario import Scenario
from tidings.simulator.server import Server
from tidings.simulator.simulator import Simulator
from tidings.stores.clock import SystemClock

KINDS = ("apns", "fcm", "ses", "sendgrid", "twilio")
ADDRESSES = {
    "apns": "{:064x}",
    "fcm": "token-{}:APA91bsimulated",
    "ses": "user-{}@example.org",
    "sendgrid": "user-{}@example.org",
    "twilio": "+120255501{:02d}",
}
CHANNELS = {"apns": "push", "fcm": "push", "ses": "email", "sendgrid": "email", "twilio": "sms"}
PARTS = {
    "push": {"title": "Hello", "body": "There"},
    "email": {"subject": "Hello", "text": "There", "html": "<p>There</p>"},
    "sms": {"body": "481516 is your code"},
}
Later = list[tuple[int, Callable[[int], Webhook | None]]]


def now_ms() -> int:
    return int(time.time() * 1000)


def a_send(
    kind: str, number: int, *, attempt: int = 1, registered_at: int = 0, recipient_id: str = ""
) -> Send:
    """One send, with the delivery that a receipt leads back to."""
    channel = CHANNELS[kind]
    place = {"push": "device", "email": "email", "sms": "phone"}[channel]
    delivery = Delivery(
        notif_id=f"n-{number}",
        recipient_id=recipient_id or f"user-{number}",
        flow="social",
        step="social.deliver",
        version="v1",
        channel=channel,
        template="hello",
        category="social",
        created_at=now_ms(),
        origin=Origin("tidings.social", 0, number),
    )
    return Send(
        send_id=f"{number:032x}",
        channel=channel,
        address=Address(
            kind=place,
            value=ADDRESSES[kind].format(number),
            platform={"apns": "ios", "fcm": "android"}.get(kind, ""),
            registered_at=registered_at,
        ),
        content=Content(parts=PARTS[channel]),
        tenant="default",
        category="social",
        priority="normal",
        attempt=attempt,
        now=now_ms(),
        delivery=delivery,
        origin=Origin(f"deliveries.{channel}.normal", 0, number),
    )


class Peer:
    """A simulator that listens; ``later`` are the callbacks that it would make."""

    def __init__(self, server: Server, settings: dict[str, dict[str, Any]], file: Path) -> None:
        self.server = server
        self.settings = settings
        self.later: Later = []
        self._file = file

    def got(self) -> list[Received]:
        return received(self._file)

    async def send(
        self, kind: str, *batches: Sequence[Send], **changes: Any
    ) -> dict[str, list[Answer]]:
        """What a sender of ours answers to these, one batch after the other, by send id."""
        given = {kind: {**self.settings[kind], **changes}}
        sender = await asyncio.to_thread(sender_of, kind, given, SystemClock())
        loop = asyncio.get_running_loop()
        await sender.open(loop)
        answers: dict[str, list[Answer]] = {}
        try:
            for batch in batches:
                left, whole = len(batch), loop.create_future()

                def done(send: Send, answer: Answer) -> None:
                    nonlocal left
                    answers.setdefault(send.send_id, []).append(answer)
                    left -= 1
                    if not left:
                        whole.set_result(None)  # noqa: B023 - of the batch under way

                sender.send(batch, done)
                await asyncio.wait_for(whole, 30)
        finally:
            await sender.close()
        return answers

    async def one(self, kind: str, **changes: Any) -> Answer:
        """What the first send of ours is answered."""
        answers = await self.send(kind, [a_send(kind, 1)], **changes)
        return answers[a_send(kind, 1).send_id][0]

    def webhooks(self, at: int | None = None) -> list[Webhook]:
        """The callbacks in the order in which they are due, as they are made then."""
        made = [make(at or due) for due, make in sorted(self.later, key=lambda one: one[0])]
        return [one for one in made if one is not None]


Use = Callable[[Peer], Coroutine[Any, Any, Any]]


@cache
def credentials_of_all() -> Credentials:
    """One set for all tests: to make RSA keys takes half a second, to read them a tenth."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-simulator-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Credentials(folder, datetime.datetime.now(datetime.UTC))


@asynccontextmanager
async def simulated(folder: Path, scenario: Mapping[str, Any] | None = None) -> AsyncIterator[Peer]:
    """A simulator of this scenario, listening until the block ends."""
    read = Scenario.model_validate(scenario or {})
    credentials = credentials_of_all()
    file = folder / "journal.jsonl"
    with closing(Journal(file)) as journal:
        later: Later = []
        simulator = Simulator(
            read,
            credentials.services(read),
            journal,
            now_ms,
            lambda at, make: later.append((at, make)),
        )
        clients = credentials.authority.certificate
        async with Server(simulator, credentials.certificate, clients) as server:
            settings = credentials.settings(read, server.port, server.plain_port)
            peer = Peer(server, settings, file)
            peer.later = later
            yield peer


def against(folder: Path, use: Use, *script: dict[str, Any], **scenario: Any) -> Any:
    """What ``use`` makes of a simulator with this script."""

    async def run() -> Any:
        async with simulated(folder, {"script": script, **scenario}) as peer:
            return await use(peer)

    return asyncio.run(run())
