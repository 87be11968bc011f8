"""One connection to a Valkey or Redis, for scripts: a call is one round trip, or ``Unavailable``.

A script takes few arguments, the last of them a MessagePack of the whole batch: redis-py spends
about 0.4 µs on each argument of a command, so 1,000 claims as one packed argument cost 0.3 ms of
the caller's CPU rather than 1.1 (and one connection of our own, rather than its pool and command
layer, 50 µs a call rather than 100). All scripts may be repeated, so a call is tried once more at
once when the connection turned out to be dead.

Time-outs are short, and after a failure nothing is asked for a moment: a lane that finds Valkey
away must go on deciding what to do without it. The server must not evict keys (``maxmemory-policy
noeviction``): an evicted mark is a message sent twice. A cluster is out of scope: the keys are
made by the scripts.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from importlib import resources
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
)
from redis.retry import Retry

from tidings.ports import Unavailable

SCHEMES = {  # of a URL, and how redis-py calls them
    "valkey": "redis",
    "valkeys": "rediss",
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
}
# What a server says that may work later; anything else that it refuses is a mistake of ours.
_PASSING = (MasterDownError, OutOfMemoryError, ReadOnlyError)
_PASSING_WORDS = ("BUSY", "MISCONF", "NOREPLICAS")  # that redis-py has no class for


class _Connection(Protocol):
    is_connected: bool

    def send_command(self, *words: str | int | bytes) -> None: ...
    def read_response(self) -> Any: ...
    def disconnect(self) -> None: ...


class Script:
    """A Lua script beside this file, by its name and its hash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (resources.files(__package__) / "lua" / f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


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
        self._pause = pause_ms / 1_000
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failure: str = ""
        self._ask_again_at = 0.0
        pool = ConnectionPool.from_url(
            _as_redis(url),
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout_ms / 1_000,
            socket_connect_timeout=timeout_ms / 1_000,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = cast(_Connection, pool.make_connection())

    def run(self, script: Script, *arguments: str | int | bytes) -> Any:
        """What the script answers.

        Raises Unavailable when the server does not answer in time, or says that it can't now.
        """
        with self._lock:
            if self._failure and self._monotonic() < self._ask_again_at:
                raise Unavailable(self._failure)
            try:
                answer = self._run(script, arguments)
            except (ConnectionError, TimeoutError, OSError) as error:
                raise self._failed(error) from error
            except ResponseError as error:
                if isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS):
                    raise self._failed(error) from error
                raise
            self._failure = ""
            return answer

    def _run(self, script: Script, arguments: tuple[str | int | bytes, ...]) -> Any:
        was_connected = self._connection.is_connected
        try:
            return self._ask(script, arguments)
        except AuthenticationError:
            raise
        except ConnectionError:
            if not was_connected:
                raise
            # The server was restarted, or has closed a quiet connection.
            return self._ask(script, arguments)

    def _ask(self, script: Script, arguments: tuple[str | int | bytes, ...]) -> Any:
        try:
            self._connection.send_command("EVALSHA", script.sha, 0, *arguments)
            return self._connection.read_response()
        except NoScriptError:
            self._connection.send_command("EVAL", script.text, 0, *arguments)
            return self._connection.read_response()

    def _failed(self, error: Exception) -> Unavailable:
        self._connection.disconnect()
        self._failure = f"{self.name} can't answer: {error}"
        self._ask_again_at = self._monotonic() + self._pause
        return Unavailable(self._failure)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._connection.disconnect()


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
