"""A few connections to one server, and the requests that wait for a place on them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from tidings.http2.connection import Connection
from tidings.http2.limits import Limits
from tidings.http2.link import Link, Origin
from tidings.http2.message import Failure, Fate, Request, answer

TICK = 0.25  # seconds between two looks at time-outs
LEAST_SHARE = 16  # requests of a batch for one connection, so that a small batch is one write


class Pool:
    """Sends requests to ``origin`` over several connections; all methods run on ``loop``.

        pool = Pool(origin, Limits(), loop=loop, random=random.random)
        await pool.open()
        pool.submit([Request(head, b"/3/device/" + token, b"", body, token, done)])
        await pool.close(grace=1.0)

    Each request's ``done`` is called exactly once: with a Response, or with a Failure after
    ``limits.wait`` (no free stream) or ``limits.timeout`` (no answer) at the latest. A request
    that the server refused before it did anything is sent once more on another stream.
    """

    def __init__(
        self,
        origin: Origin,
        limits: Limits,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Callable[[], float],
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.limits = limits
        self._loop = loop
        self._clock = clock or loop.time
        self._links = [
            Link(self, origin, loop, self._clock, random) for _ in range(limits.connections)
        ]
        self._connections: set[Connection] = set()
        self._waiting: deque[tuple[float, Request]] = deque()  # by the end of their patience
        self._timer: asyncio.TimerHandle | None = None
        self._pumps = False
        self._closing = False
        self._changed = asyncio.Event()

    @property
    def under_way(self) -> int:
        """Requests written and not answered."""
        return sum(connection.under_way for connection in self._connections)

    @property
    def waiting(self) -> int:
        """Requests that wait for a free stream."""
        return len(self._waiting)

    @property
    def free(self) -> int:
        """How many requests would be written at once."""
        return sum(link.free for link in self._links)

    @property
    def trouble(self) -> str:
        """Why no connection takes requests, or "" when one does."""
        troubles = [link.trouble for link in self._links]
        return "" if "" in troubles else troubles[0]

    async def open(self) -> None:
        """Begins to connect; returns when a connection is ready, or each link has tried once."""
        for link in self._links:
            link.start()
        self._timer = self._loop.call_later(TICK, self._tick)
        await self._until(
            lambda: self._closing or self.free > 0 or all(link.tried for link in self._links)
        )

    def submit(self, requests: Sequence[Request]) -> None:
        """Takes a batch; returns at once. Never raises, and answers none before it returns."""
        if self._closing:
            self._turn_away(requests, "the pool is closed")
            return
        if not self._waiting:
            requests = self._spread(requests)
        if requests:
            room = self.limits.queue - len(self._waiting)
            until = self._clock() + self.limits.wait
            self._waiting.extend((until, request) for request in requests[: max(room, 0)])
            if room < len(requests):
                self._turn_away(requests[max(room, 0) :], "too many requests wait")

    async def close(self, grace: float) -> None:
        """Waits ``grace`` seconds for what is under way, answers the rest, and lets go."""
        self._closing = True
        self._changed.set()
        self._expire(float("inf"), "the pool is closing")
        for link in self._links:
            await link.stop()
        for connection in list(self._connections):
            connection.retire("the pool is closing")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._until(lambda: not self._connections)
        for connection in list(self._connections):
            connection.abort("no answer before the pool closed")
        await self._until(lambda: not self._connections)
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # the last answers are on their way

    # ── what its links tell ───────────────────────────────────────────────────────────────────

    def made(self, connection: Connection) -> None:
        """A new connection; it needs ticks."""
        self._connections.add(connection)

    def unfit(self, requests: Sequence[Request]) -> None:
        """Answers requests that can't be written."""
        self._turn_away(requests, "path and headers are too long")

    def freed(self) -> None:
        """A connection may have room."""
        if self._waiting:
            self._pump()

    def refused(self, request: Request, why: str) -> None:
        """Sends a request again, once: the server surely did nothing with it."""
        if request.resent or self._closing:
            self._turn_away([request], why)
            return
        request.resent = True
        self._waiting.append((self._clock() + self.limits.wait, request))
        self._pump_soon()

    def closed(self, connection: Connection) -> None:
        """A connection's socket is closed."""
        self._connections.discard(connection)
        self._changed.set()

    def tried(self) -> None:
        """A link's attempt to connect has come to an end, well or not."""
        self._changed.set()
        self._pump_soon()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _spread(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Writes what fits, evenly over the connections with the most room; gives back the rest."""
        rooms = sorted(
            ((free, place) for place, link in enumerate(self._links) if (free := link.free)),
            reverse=True,
        )
        some = rooms[: -(-len(requests) // LEAST_SHARE)]
        chosen = some if sum(free for free, _ in some) >= len(requests) else rooms
        start = 0
        for used, (free, place) in enumerate(reversed(chosen)):
            share = min(-(-(len(requests) - start) // (len(chosen) - used)), free)
            if share:
                self._links[place].send(requests[start : start + share])
                start += share
        return requests[start:]

    def _pump(self) -> None:
        self._pumps = False
        waiting = self._waiting
        room = min(sum(link.free for link in self._links), len(waiting))
        if room:
            self._spread([waiting.popleft()[1] for _ in range(room)])

    def _pump_soon(self) -> None:
        if not self._pumps:
            self._pumps = True
            self._loop.call_soon(self._pump)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        now = self._clock()
        for connection in list(self._connections):
            connection.tick(now)
        self._expire(now, self.trouble or "no free stream")

    def _expire(self, now: float, why: str) -> None:
        waiting = self._waiting
        late = []
        while waiting and waiting[0][0] <= now:
            late.append(waiting.popleft()[1])
        self._turn_away(late, why)

    def _turn_away(self, requests: Sequence[Request], why: str) -> None:
        # Later, so that no callback runs inside the call that hands a batch over.
        failure = Failure(Fate.NOT_SENT, why)
        for request in requests:
            self._loop.call_soon(answer, request, failure)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()
