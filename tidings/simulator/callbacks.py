"""Callbacks on their way: each is made and signed when it is due, then written or posted.

To the log (`provider_events`), as whoever takes webhooks in would write them; or to the address
that the provider would call. One that is refused there is sent again, as providers do: after 1, 5
and 30 s. What is not due when the simulator stops is never told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from types import TracebackType
from typing import Protocol, Self

import aiohttp
import structlog

from tidings.log.port import Log
from tidings.receipts import Webhook

_LOG = structlog.get_logger(__name__)
_TICK = 0.02  # seconds between two looks at what is due
_AGAIN = (1_000, 5_000, 30_000)  # ms
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_FLUSH = 5.0  # seconds at the end

Make = Callable[[int], Webhook | None]


class Target(Protocol):
    """Where callbacks go."""

    async def open(self) -> None: ...

    async def send(self, webhooks: Sequence[Webhook]) -> list[Webhook]:
        """Send these; gives those that were not taken."""
        ...

    def tick(self) -> None:
        """Look after what was taken; called some times a second."""
        ...

    async def close(self) -> None: ...


class Callbacks:
    """Those that wait; ``now`` in epoch ms. ``sent`` counts those that were taken."""

    def __init__(self, target: Target, now: Callable[[], int]) -> None:
        self.sent = 0
        self._target = target
        self._now = now
        self._due: list[tuple[int, int, int, Make]] = []
        self._order = count()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._target.open()
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._target.close()

    @property
    def waiting(self) -> int:
        """How many are not due yet."""
        return len(self._due)

    def later(self, at: int, make: Make) -> None:
        """Have a callback made and sent at ``at``."""
        heappush(self._due, (at, next(self._order), 0, make))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._target.tick()
            now, ready = self._now(), deque[tuple[int, Make, Webhook]]()
            while self._due and self._due[0][0] <= now:
                _, _, tries, make = heappop(self._due)
                webhook = make(now)
                if webhook is not None:
                    ready.append((tries, make, webhook))
            if ready:
                await self._send(ready, now)

    async def _send(self, ready: Sequence[tuple[int, Make, Webhook]], now: int) -> None:
        refused = {id(one) for one in await self._target.send([one for _, _, one in ready])}
        for tries, make, webhook in ready:
            if id(webhook) not in refused:
                self.sent += 1
            elif tries < len(_AGAIN):
                heappush(self._due, (now + _AGAIN[tries], next(self._order), tries + 1, make))
            else:
                _LOG.error("a callback was never taken", provider=webhook.provider, url=webhook.url)


class ToLog:
    """Writes callbacks to `provider_events`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def open(self) -> None:
        """Connect."""
        self._producer = self._log.producer(linger_ms=5)

    async def send(self, webhooks: Sequence[Webhook]) -> list[Webhook]:
        """Append them; none is refused, the log keeps trying."""
        self._producer.append([one.append() for one in webhooks], _confirmed)
        return []

    def tick(self) -> None:
        """Let the producer write what has lingered long enough."""
        self._producer.poll()

    async def close(self) -> None:
        """Wait a moment for what is not confirmed."""
        if not self._producer.flush(_FLUSH):
            _LOG.error("not all callbacks were confirmed by the log")
        self._producer.close()


class ToUrl:
    """Posts callbacks to the addresses that providers call."""

    async def open(self) -> None:
        """Make ready."""
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def send(self, webhooks: Sequence[Webhook]) -> list[Webhook]:
        """Post them, all at once."""
        taken = await asyncio.gather(*map(self._post, webhooks))
        return [one for one, yes in zip(webhooks, taken, strict=True) if not yes]

    def tick(self) -> None:
        """Nothing: each is posted at once."""

    async def close(self) -> None:
        """Let go."""
        await self._session.close()

    async def _post(self, webhook: Webhook) -> bool:
        try:
            async with self._session.post(
                webhook.url, data=webhook.body, headers=dict(webhook.headers), allow_redirects=False
            ) as answer:
                return answer.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False


def _confirmed(error: object | None, receipt: object = None) -> None:
    if error is not None:
        _LOG.error("the log did not take a callback", error=str(error))
