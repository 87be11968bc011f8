"""A sender of mail in a loop of its own: what its sends were answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tidings.ports import Address
from tidings.records import Delivery, Origin
from tidings.sender import Answer, Content, Send, Sender

NOW = 1_800_000_000_000
KEY = "k" * 32
TEXT, HTML = "Grüße,\n.\nAna\n", '<p>Grüße, <a href="https://example.com/a?b=1&amp;c=2">Ana</a></p>'


class Clock:
    """A clock that stands."""

    def now(self) -> int:
        return NOW


def links(folder: Path) -> dict[str, Any]:
    """Settings of links of ours."""
    file = folder / "link.key"
    file.write_text(KEY + "\n")
    return {"url": "https://mail.example.com", "key": f"file:{file}"}


def a_send(number: int = 1, *, to: str = "", **changes: Any) -> Send:
    """A send of a mail. Changes of its delivery and of its parts have their names."""
    campaign = changes.pop("campaign_id", "")
    parts = changes.pop("parts", {"subject": "Schöne Grüße", "text": TEXT, "html": HTML})
    given: dict[str, Any] = {
        "send_id": f"{number:032x}",
        "channel": "email",
        "address": Address(kind="email", value=to or f"user-{number}@example.org"),
        "content": Content(parts=parts),
        "tenant": "default",
        "category": "social",
        "priority": "normal",
        "attempt": 1,
        "now": NOW,
        "origin": Origin("deliveries.email.normal", 3, number),
    } | changes
    delivery = Delivery(
        notif_id=f"n-{number}",
        recipient_id=f"person-{number}",
        flow="social",
        step="social.deliver",
        version="v1",
        channel="email",
        template="hello",
        category=given["category"],
        tenant=given["tenant"],
        created_at=NOW,
        origin=Origin("tidings.social", 0, number),
        campaign_id=campaign,
    )
    return Send(**({"delivery": delivery} | given))


class Desk:
    """Hands sends to a sender and waits for their answers."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self._answers: dict[int, Answer] = {}
        self._changed = asyncio.Event()

    async def send(self, *batches: Sequence[Send] | Send) -> list[Answer]:
        """The answers to all, in their order; each batch is handed over in one call."""
        handed = [[batch] if isinstance(batch, Send) else batch for batch in batches]
        for batch in handed:
            self.sender.send(batch, self._done)
        sends = [send for batch in handed for send in batch]
        async with asyncio.timeout(30):
            while any(id(send) not in self._answers for send in sends):
                self._changed.clear()
                await self._changed.wait()
        return [self._answers.pop(id(send)) for send in sends]

    def _done(self, send: Send, answer: Answer) -> None:
        assert id(send) not in self._answers, "answered twice"
        self._answers[id(send)] = answer
        self._changed.set()


def answers_of(sender: Sender, *batches: Sequence[Send] | Send) -> list[Answer]:
    """What the sends of ``batches`` are answered."""
    found: list[Answer] = []

    async def test(desk: Desk) -> None:
        found.extend(await desk.send(*batches))

    run(sender, test)
    return found


def run(sender: Sender, test: Callable[[Desk], Awaitable[None]]) -> None:
    """Runs ``test`` with an open sender."""

    async def whole() -> None:
        await sender.open(asyncio.get_running_loop())
        try:
            await test(Desk(sender))
        finally:
            await sender.close()

    asyncio.run(whole())
