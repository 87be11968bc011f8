"""One place of a pool: keeps one connection up, and sets a new one in when it goes.

A connection that did some good is replaced at once; one that did none (it could not be made, or
the server would not have us) after a growing pause with jitter, so that a pool does not hammer a
server in trouble.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidings.http2.connection import Connection
from tidings.http2.limits import Limits
from tidings.http2.message import Request

FIRST_PAUSE = 0.1  # seconds; doubled at each failure
LONGEST_PAUSE = 30.0
SHUTDOWN_TIMEOUT = 1.0  # seconds for the goodbye of TLS


@dataclass(frozen=True)
class Origin:
    """A server: where it is, and whom we trust it to be."""

    host: str
    port: int
    tls: ssl.SSLContext
    server_name: str = ""  # where it differs from the host


class Holder(Protocol):
    """The pool, as its links see it."""

    limits: Limits

    def made(self, connection: Connection) -> None:
        """There is a new connection; it needs ticks."""

    def tried(self) -> None:
        """A link's attempt to connect has come to an end, well or not."""

    def freed(self) -> None:
        """There may be room for more requests."""

    def refused(self, request: Request, why: str) -> None:
        """A request was surely not acted on."""

    def unfit(self, requests: Sequence[Request]) -> None:
        """These can't be written at all."""

    def closed(self, connection: Connection) -> None:
        """A connection's socket is closed."""


class Link:
    """One place of a pool.

    ``trouble``: why it has no connection that takes requests, "" when it has one. ``tried``: its
    first attempt is over.
    """

    def __init__(
        self,
        holder: Holder,
        origin: Origin,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._connection: Connection | None = None
        self.trouble = "not connected yet"
        self.tried = False
        self._holder = holder
        self._origin = origin
        self._loop = loop
        self._clock = clock
        self._random = random
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def free(self) -> int:
        """How many requests its connection would take now."""
        return 0 if self._connection is None else self._connection.free

    def send(self, requests: Sequence[Request]) -> None:
        """Writes these, no more than ``free`` of them."""
        if self._connection is not None:
            self._connection.send(requests)

    def start(self) -> None:
        """Begins to connect."""
        self._timer = None
        self._task = self._loop.create_task(self._connect())

    async def stop(self) -> None:
        """Makes no more connections; the one it has stays."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _connect(self) -> None:
        origin = self._origin
        limits = self._holder.limits
        try:
            async with asyncio.timeout(limits.connect_timeout):
                await self._loop.create_connection(
                    lambda: Connection(self, limits, self._clock()),
                    origin.host,
                    origin.port,
                    ssl=origin.tls,
                    server_hostname=origin.server_name or origin.host,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
                )
        except TimeoutError:
            self._failed(f"no connection within {limits.connect_timeout:g} s")
        except (OSError, UnicodeError) as error:  # errors of TLS, and names that can be none
            self._failed(str(error))

    def _failed(self, why: str) -> None:
        self.trouble = f"{self._origin.host}:{self._origin.port}: {why}"
        self._failures += 1
        self.tried = True
        self._again()
        self._holder.tried()

    def _again(self) -> None:
        if self._stopped or self._timer is not None:
            return
        pause = 0.0
        if self._failures:
            pause = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE)
            pause *= 0.5 + self._random() / 2
        self._timer = self._loop.call_later(pause, self.start)

    # ── what its connections tell ─────────────────────────────────────────────────────────────

    def opened(self, connection: Connection) -> None:
        """A connection is made; it needs ticks from now on."""
        self._connection = connection
        self._holder.made(connection)

    def ready(self) -> None:
        """It takes requests."""
        self.trouble = ""
        self.tried = True
        self._holder.tried()

    def freed(self) -> None:
        """It may have room."""
        self._holder.freed()

    def unfit(self, requests: Sequence[Request]) -> None:
        """It can't write these."""
        self._holder.unfit(requests)

    def refused(self, request: Request, why: str) -> None:
        """It gives a request back."""
        self._holder.refused(request, why)

    def leaving(self, connection: Connection) -> None:
        """It takes no new requests: the next one is made while it finishes."""
        self._replace(connection)

    def ended(self, connection: Connection, why: str) -> None:
        """It is over."""
        if connection is self._connection:
            self.trouble = f"{self._origin.host}:{self._origin.port}: {why}"
            self.tried = True
            self._replace(connection)
            self._holder.tried()

    def closed(self, connection: Connection) -> None:
        """Its socket is closed."""
        self._holder.closed(connection)

    def _replace(self, connection: Connection) -> None:
        if connection is self._connection:
            self._connection = None
            self._failures = 0 if connection.proven else self._failures + 1
            self._again()
