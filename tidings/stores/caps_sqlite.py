"""Caps in a SQLite file: for the processes of one machine, with nothing to install.

Two windows of counts are kept, so that an asker whose clock is a window behind counts right; what
is older goes once a minute.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tidings.ports import Count, tied_together
from tidings.stores.sqlite import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
    key TEXT NOT NULL, notif_id TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (key, notif_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counts_standing ON counts (key, until, at);
CREATE INDEX IF NOT EXISTS counts_until ON counts (until);
"""
_STANDING = """
SELECT count(*) FILTER (WHERE at > ?), total(notif_id = ?) FROM counts WHERE key = ? AND until > ?
"""
_SWEEP_EVERY_MS = 60_000


class SqliteCaps:
    """Counts shared by all processes that know the file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self._next_sweep = 0

    def count(self, counts: Sequence[Count], now: int) -> list[bool]:
        """Whether each may pass; see ``ports.Caps``."""
        if not counts:
            return []
        with self._database.transaction() as connection:
            if now >= self._next_sweep:
                self._next_sweep = now + _SWEEP_EVERY_MS
                connection.execute("DELETE FROM counts WHERE until <= ?", (now,))
            return [
                passes for tied in tied_together(counts) for passes in _count(connection, tied, now)
            ]

    def give_back(self, counts: Sequence[tuple[str, str]]) -> None:
        """Uncount (key, notif_id)."""
        if counts:
            with self._database.transaction() as connection:
                connection.executemany(
                    "DELETE FROM counts WHERE key = ? AND notif_id = ?", list(counts)
                )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _count(connection: sqlite3.Connection, tied: Sequence[Count], now: int) -> list[bool]:
    passes: list[bool] = []
    new: list[tuple[str, str, int, int]] = []
    for key, notif_id, at_most, within_ms, exempt, _ in tied:
        asked = (now - within_ms, notif_id, key, now)
        counted, known = connection.execute(_STANDING, asked).fetchone()
        passes.append(bool(known or exempt or counted < at_most))
        if not known:
            new.append((key, notif_id, now, now + 2 * within_ms))
    if all(passes):
        connection.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)", new)
    return passes
