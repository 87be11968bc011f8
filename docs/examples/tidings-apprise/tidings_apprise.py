"""Messages to the chat services that Apprise knows, as a provider of Tidings.

It shows what a third party writes: settings, a sender, and ``SENDER``, which an entry point of the
group ``tidings.senders`` names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated
from urllib.parse import quote

import apprise
from pydantic import BaseModel, ConfigDict, Field

from tidings.ports import Clock
from tidings.secret import Secret
from tidings.sender import Answer, Done, Send, SenderKind, Verdict


class Settings(BaseModel):
    """Settings of Apprise."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    url: Secret
    """Apprise's address of the service; ``{address}`` in it stands for the person's."""
    threads: Annotated[int, Field(ge=1, le=64)] = 8
    """How many messages are sent at once."""


class Chat:
    """A sender over one service. All on the lane's loop, but for Apprise's own work."""

    name = "apprise"

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._url = ""
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="apprise")
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the address. Raises ValueError for one that Apprise does not know."""
        self._url = self._settings.url.read().strip()
        if apprise.Apprise.instantiate(self._at("0")) is None:
            raise ValueError("Apprise knows no service for `url`")

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Each on a thread."""
        loop = asyncio.get_running_loop()
        for send in sends:
            task = loop.create_task(self._one(send, done))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Finish what is under way: a thread can't be stopped."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown()

    async def _one(self, send: Send, done: Done) -> None:
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, partial(self._notify, send))
        done(send, answer)

    def _notify(self, send: Send) -> Answer:
        service = apprise.Apprise.instantiate(self._at(send.address.value))
        if service is None:
            return Answer(verdict=Verdict.INV, code="BadAddress")
        parts = send.content.parts
        try:
            taken = service.notify(body=parts.get("body", ""), title=parts.get("title", ""))
        except TypeError as error:  # nothing to send
            return Answer(verdict=Verdict.DROP, code="BadMessage", detail=str(error))
        if taken:
            return Answer(verdict=Verdict.OK)
        # Apprise says no more than that: it may have been refused, or its answer lost.
        return Answer(verdict=Verdict.AMB, code="NotTaken")

    def _at(self, address: str) -> str:
        return self._url.replace("{address}", quote(address, safe=""))


SENDER = SenderKind("apprise", Settings, Chat)
