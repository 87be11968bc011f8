"""A pool of kept-alive connections to one origin; one request at a time on each.

Whether a failed request may be made again is a question of what was written. aiohttp calls
``on_request_headers_sent`` when a request is handed to its connection: before that it was surely
not sent, after that the server may have acted on it.

A few connections are made ahead of the requests, and anew after a silence, in which they have
lapsed; a pool that is in use keeps itself warm. None is held open for longer than others are: what
the server closes under a request leaves its fate unknown.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from tidings.http2 import Failure, Fate

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Bounds of a pool; times in seconds, sizes in bytes.

    ``warm``: connections that are made before there is a request for them, ``connections`` of them
    at most. ``wait``: how long a request waits for a free connection, and for a new one to be made.
    ``timeout``: from then to the end of its answer. ``keep_alive``: silence after which we close a
    connection, before the server does it under a request. ``body``: of an answer; the rest is cut
    off.
    """

    connections: int = 50
    warm: int = 0
    wait: float = 5.0
    timeout: float = 10.0
    keep_alive: float = 15.0
    body: int = 1 << 20


class Response(msgspec.Struct, frozen=True):
    """What the server said; names of ``headers`` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Result = Response | Failure
Done = Callable[[Result], None]

_LAPSED = 0.1  # seconds after ``keep_alive`` when a connection is surely not taken any more


class _Flight:
    """What is known of a request under way."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = False


class Pool:
    """Connections to ``origin``, as in ``https://api.example.com``. All on one loop."""

    def __init__(self, origin: str, limits: Limits, *, tls: ssl.SSLContext | None = None) -> None:
        self._origin = URL(origin)
        self._limits = limits
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._warming: set[asyncio.Task[None]] = set()
        self._used_at = 0.0  # when a connection was last put back

    async def open(self) -> None:
        """Make ready, and begin to connect; all other connections come with the requests."""
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_written)
        limits = self._limits
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limits.connections,
                keepalive_timeout=limits.keep_alive,
                ssl=self._tls or True,
            ),
            timeout=aiohttp.ClientTimeout(total=limits.wait + limits.timeout, connect=limits.wait),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
        )
        if limits.warm:
            self._keeper = asyncio.get_running_loop().create_task(self._keep_warm(self._session))

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, done: Done
    ) -> None:
        """Start one request; ``done`` is called once, from the loop. ``path`` is sent as it is."""
        if self._session is None:
            raise RuntimeError("the pool is not open")
        if self._warming:
            self._make_room()
        url = self._origin.join(URL(path, encoded=True))
        task = asyncio.get_running_loop().create_task(
            self._run(self._session, method, url, headers, body, done)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace: float) -> None:
        """Let what is under way end for ``grace`` seconds, cut off the rest, and let go."""
        if self._keeper is not None:
            making = [self._keeper, *self._warming]
            for task in making:
                task.cancel()
            await asyncio.wait(making)
            self._keeper = None
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _run(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        done: Done,
    ) -> None:
        flight = _Flight()
        result: Result
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                trace_request_ctx=flight,
            ) as response:
                result = Response(response.status, response.headers, await self._body(response))
        except asyncio.CancelledError:
            result = _failed(flight, "closed before an answer came")
        except TimeoutError:
            limits = self._limits
            within = limits.timeout + limits.wait if flight.written else limits.wait
            what = "answer" if flight.written else "connection"
            result = _failed(flight, f"no {what} within {within:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            result = _failed(flight, f"{error.host}:{error.port}: {error.certificate_error}")
        except aiohttp.ClientConnectorError as error:
            result = _failed(flight, f"{error.host}:{error.port}: {error.os_error}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            result = _failed(flight, str(error) or type(error).__name__)
        self._used_at = asyncio.get_running_loop().time()
        try:
            done(result)
        except Exception:  # noqa: BLE001 - a caller's bug must not cost its neighbours their answers
            _LOG.exception("the callback of a request failed")

    # ── Made ahead ────────────────────────────────────────────────────────────────────────────

    async def _keep_warm(self, session: aiohttp.ClientSession) -> None:
        """Connect, and again whenever there has been silence for so long that none is left."""
        loop, limits = asyncio.get_running_loop(), self._limits
        while True:
            for _ in range(min(limits.warm, limits.connections)):
                task = loop.create_task(self._connect(session))
                self._warming.add(task)
                task.add_done_callback(self._warming.discard)
            await asyncio.wait(self._warming)
            self._used_at = loop.time()
            left = limits.keep_alive + _LAPSED
            while left > 0:
                await asyncio.sleep(left)
                left = self._used_at + limits.keep_alive + _LAPSED - loop.time()

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        """Make a connection and put it where requests find it. Its failure is nobody's."""
        request = aiohttp.ClientRequest(
            "GET", self._origin, loop=asyncio.get_running_loop(), session=session
        )
        assert session.connector is not None
        try:
            connection = await session.connector.connect(request, [], session.timeout)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a time-out is an OSError
            _LOG.debug("no connection to %s was made ahead: %s", self._origin, error)
        else:
            connection.release()

    def _make_room(self) -> None:
        """A request never waits for one that is being made: it can make its own."""
        making = [task for task in self._warming if not task.cancelling()]
        if making and len(self._tasks) + len(making) >= self._limits.connections:
            making[0].cancel()

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        parts, left = [], self._limits.body
        while left > 0 and (part := await response.content.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


async def _written(session: aiohttp.ClientSession, context: Any, params: object) -> None:
    context.trace_request_ctx.written = True


def _failed(flight: _Flight, why: str) -> Failure:
    return Failure(Fate.UNKNOWN if flight.written else Fate.NOT_SENT, why)
