"""A pool of kept-alive connections to one origin; one request at a time on each.

Whether a failed request may be made again is a question of what was written. aiohttp calls
``on_request_headers_sent`` when a request is handed to its connection: before that it was surely
not sent, after that the server may have acted on it.
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

    ``wait``: how long a request waits for a free connection, and for a new one to be made.
    ``timeout``: from then to the end of its answer. ``keep_alive``: silence after which we close a
    connection, before the server does it under a request. ``body``: of an answer; the rest is cut
    off.
    """

    connections: int = 50
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

    async def open(self) -> None:
        """Make ready; connections come with the requests."""
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

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, done: Done
    ) -> None:
        """Start one request; ``done`` is called once, from the loop. ``path`` is sent as it is."""
        if self._session is None:
            raise RuntimeError("the pool is not open")
        url = self._origin.join(URL(path, encoded=True))
        task = asyncio.get_running_loop().create_task(
            self._run(self._session, method, url, headers, body, done)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace: float) -> None:
        """Let what is under way end for ``grace`` seconds, cut off the rest, and let go."""
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
        except (aiohttp.ClientError, OSError, ValueError) as error:
            result = _failed(flight, str(error) or type(error).__name__)
        try:
            done(result)
        except Exception:  # noqa: BLE001 - a caller's bug must not cost its neighbours their answers
            _LOG.exception("the callback of a request failed")

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
