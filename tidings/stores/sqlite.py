"""A SQLite file that several processes of one machine share: opened the same way everywhere."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidings.ports import Unavailable

_PATIENCE_MS = 250


class Database:
    """One file in WAL mode, survives a kill at any instant (a power cut may take the last moment).

    Threads may share it; they wait for each other. Raises Unavailable, here and in transactions,
    when the file can't be opened, stays locked for 250 ms, or the disk refuses; ValueError here
    when it is no SQLite file.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._reported():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_PATIENCE_MS / 1_000, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.DatabaseError as error:
                self._connection.close()
                if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                    raise ValueError(f"{path} is no SQLite file; name another") from None
                raise
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Alone with the file until the block ends: committed, or rolled back if it raises."""
        with self._lock, self._reported():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"{self._path} can't answer: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()
