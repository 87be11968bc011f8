"""The wire to a Valkey: redis-py's connection, and which of its errors may pass."""

from __future__ import annotations

from typing import Any, Protocol, cast

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

from tidings.stores.valkey_script import Script, Unanswered

# What a server says that may work later; anything else that it refuses is a mistake of ours.
_PASSING = (MasterDownError, OutOfMemoryError, ReadOnlyError)
_PASSING_WORDS = ("BUSY", "MISCONF", "NOREPLICAS")  # that redis-py has no class for


class _Connection(Protocol):
    is_connected: bool

    def send_command(self, *words: str | int | bytes) -> None: ...
    def read_response(self) -> Any: ...
    def disconnect(self) -> None: ...


class Wire:
    """One connection, made at the first call. ``url`` is as redis-py takes it, ``timeout`` in s."""

    def __init__(self, url: str, timeout: float) -> None:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = cast(_Connection, pool.make_connection())

    def run(self, script: Script, arguments: tuple[str | int | bytes, ...]) -> Any:
        """What the script answers; raises Unanswered, its cause being redis-py's error."""
        try:
            return self._run(script, arguments)
        except (ConnectionError, TimeoutError, OSError) as error:
            raise self._failed(error) from error
        except ResponseError as error:
            if isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS):
                raise self._failed(error) from error
            raise

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

    def _failed(self, error: Exception) -> Unanswered:
        self._connection.disconnect()
        return Unanswered(str(error))

    def disconnect(self) -> None:
        """Let go of the connection."""
        self._connection.disconnect()
