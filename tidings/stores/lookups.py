"""Lookups: other systems behind a cache, asked on threads of their own.

The thread that runs flows must not wait for somebody's database: the other flows of its process
would wait along. So a question goes to a thread, and while its answer is under way the batch that
needs it is held, as for any port that can't answer; it asks again and finds the answer in the
cache. An answer that is there within a moment is waited for.

A system that fails is left alone for half a second, and at most a few questions are under way to
one at a time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import NamedTuple, Protocol

from tidings.ports import LookupFailed, Query, Row, Unavailable

WAIT = 0.02  # seconds for an answer before the batch is held
LEAST_LIFE = 5.0  # seconds of an answer: who was held for it must find it
PAUSE = 0.5  # seconds in which a system that failed is not asked
REMEMBERED = 200_000  # answers; some 100 MB of usual rows

Key = str | int
Rows = Mapping[str, Row]
"""By the key as a text: a database may hold 17 where the event says "17"."""


class Connection(Protocol):
    """One other system; its methods run on any thread."""

    name: str
    concurrency: int

    def fetch(self, query: Query, keys: Sequence[Key]) -> Rows:
        """The rows that there are. Raises LookupFailed."""
        ...

    def close(self) -> None: ...


class _Asked(NamedTuple):
    """A question under way."""

    future: Future[Rows]
    since: float


class ThreadedLookups:
    """Implements ``ports.Lookups`` over connections by name. For one thread of flows."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        wait_for: float = WAIT,
        remembered: int = REMEMBERED,
    ) -> None:
        self._connections = connections
        self._monotonic = monotonic
        self._wait_for = wait_for
        self._most = remembered
        self._known: OrderedDict[tuple[Query, str], tuple[float, Row | None]] = OrderedDict()
        self._asked: dict[tuple[Query, str], _Asked] = {}
        self._slots = {
            name: threading.BoundedSemaphore(each.concurrency) for name, each in connections.items()
        }
        self._failed: dict[str, tuple[float, str]] = {}

    def rows(self, query: Query, keys: Sequence[Key]) -> list[Row | None]:
        """The row of each key; see ``ports.Lookups``."""
        now, known = self._monotonic(), self._known
        found: dict[str, Row | None] = {}
        lacking: dict[str, Key] = {}
        for key in keys:
            name = str(key)
            until, row = known.get((query, name), (0.0, None))
            if until > now:
                found[name] = row
            else:
                lacking[name] = key
        if lacking:
            self._fetch(query, lacking, now)
            found.update({name: known[query, name][1] for name in lacking})
        return [found[str(key)] for key in keys]

    def close(self) -> None:
        """Let go of the connections; what is under way is not waited for."""
        for connection in self._connections.values():
            connection.close()

    def _fetch(self, query: Query, lacking: Mapping[str, Key], now: float) -> None:
        """Have the answers for these keys in ``_known``, or raise."""
        new = [key for name, key in lacking.items() if (query, name) not in self._asked]
        if new:
            asked = _Asked(self._ask(query, new, now), now)
            self._asked.update({(query, str(key)): asked for key in new})
        mine = {self._asked[query, name] for name in lacking}
        # Who asks again does not wait again: the other flows of this thread would be slowed down.
        _, late = wait([each.future for each in mine], self._wait_for if new else 0)
        now = self._monotonic()
        for asked in mine:
            if asked.future not in late:
                self._take(query, asked, now)
            elif now - asked.since >= query.timeout_ms / 1_000:
                self._forget(asked)
                self._fail(query, f"no answer within {query.timeout_ms} ms", now)
        if late:
            raise Unavailable(f"{query.connection} has not answered yet")

    def _take(self, query: Query, asked: _Asked, now: float) -> None:
        keys = self._forget(asked)
        error = asked.future.exception()
        if isinstance(error, LookupFailed):
            self._fail(query, str(error), now)
        rows = asked.future.result()
        until = now + max(query.keep_ms / 1_000, LEAST_LIFE)
        for place in keys:
            self._known[place] = until, rows.get(place[1])
            self._known.move_to_end(place)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _forget(self, asked: _Asked) -> list[tuple[Query, str]]:
        """Take a question off the list; gives what it asked for."""
        places = [place for place, each in self._asked.items() if each is asked]
        for place in places:
            del self._asked[place]
        return places

    def _fail(self, query: Query, reason: str, now: float) -> None:
        self._failed[query.connection] = now + PAUSE, reason
        raise LookupFailed(f"{query.connection}: {reason}")

    def _ask(self, query: Query, keys: Sequence[Key], now: float) -> Future[Rows]:
        """Put a question on its way. Raises LookupFailed where that makes no sense now."""
        name = query.connection
        connection = self._connections.get(name)
        if connection is None:
            raise LookupFailed(f"there is no connection {name}")
        again_at, reason = self._failed.get(name, (0.0, ""))
        if now < again_at:
            raise LookupFailed(f"{name}: {reason}")
        slot = self._slots[name]
        if not slot.acquire(blocking=False):
            raise LookupFailed(f"{name}: {connection.concurrency} questions are under way")
        future: Future[Rows] = Future()

        def run() -> None:
            try:
                future.set_result(connection.fetch(query, keys))
            except Exception as error:  # noqa: BLE001  # raised where the answer is taken
                future.set_exception(error)
            finally:
                slot.release()

        # A daemon: one that hangs in a driver must not keep the process from ending.
        threading.Thread(target=run, name=f"lookup-{name}", daemon=True).start()
        return future
