"""One connection to a Valkey or Redis, for scripts: a call is one round trip, or ``Unavailable``.

A script takes few arguments, the last of them a MessagePack of the whole batch: redis-py spends
about 0.4 µs on each argument of a command, so 1,000 claims as one packed argument cost 0.3 ms of
the caller's CPU rather than 1.1 (and one connection of our own, rather than its pool and command
layer, 50 µs a call rather than 100). All scripts may be repeated, so a call is tried once more at
once when the connection turned out to be dead.

The client library comes with the first question (``valkey_wire``): it costs a quarter of a second
of CPU, and a process that only keeps state asks nothing.

Time-outs are short, and after a failure nothing is asked for a moment: a lane that finds Valkey
away must go on deciding what to do without it. The server must not evict keys (``maxmemory-policy
noeviction``): an evicted mark is a message sent twice. A cluster is out of scope: the keys are
made by the scripts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tidings.ports import Unavailable
from tidings.stores.valkey_script import Script, Unanswered

if TYPE_CHECKING:
    from tidings.stores.valkey_wire import Wire

SCHEMES = {  # of a URL, and how redis-py calls them
    "valkey": "redis",
    "valkeys": "rediss",
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
}


class Valkey:
    """A server by its URL: ``valkey://HOST:PORT/0``, ``valkeys://`` for TLS, ``unix://PATH``.

    ``timeout_ms`` bounds connecting and each answer; ``pause_ms`` is how long nothing is asked
    after a failure. It connects at the first call. Threads may share it; they wait for each other.
    Raises ValueError for a URL of another form.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int = 250,
        pause_ms: int = 100,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = _without_password(url)
        self._url = _as_redis(url)
        self._timeout = timeout_ms / 1_000
        self._pause = pause_ms / 1_000
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failure: str = ""
        self._ask_again_at = 0.0
        self._wire: Wire | None = None

    def load(self) -> None:
        """Load the client library now, for who asks soon and must be quick then."""
        if self._wire is None:
            from tidings.stores.valkey_wire import Wire

            self._wire = Wire(self._url, self._timeout)

    def run(self, script: Script, *arguments: str | int | bytes) -> Any:
        """What the script answers.

        Raises Unavailable when the server does not answer in time, or says that it can't now.
        """
        with self._lock:
            if self._failure and self._monotonic() < self._ask_again_at:
                raise Unavailable(self._failure)
            if self._wire is None:
                self.load()
            assert self._wire is not None
            try:
                answer = self._wire.run(script, arguments)
            except Unanswered as error:
                self._failure = f"{self.name} can't answer: {error}"
                self._ask_again_at = self._monotonic() + self._pause
                raise Unavailable(self._failure) from error.__cause__
            self._failure = ""
            return answer

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            if self._wire is not None:
                self._wire.disconnect()


def _as_redis(url: str) -> str:
    scheme, _, rest = url.partition("://")
    try:
        return f"{SCHEMES[scheme]}://{rest}"
    except KeyError:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(
            f"{_without_password(url)!r} is no server's URL: it starts with {known}"
        ) from None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
