"""Payloads in a SQLite file: for the processes of one machine, with nothing to install."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidings.ports import Payload
from tidings.stores.sqlite import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payloads (
    id TEXT PRIMARY KEY, until INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS payloads_until ON payloads (until);
"""
_SWEEP_EVERY_MS = 60_000


class SqliteShelf:
    """Kept for all processes that know the file. What has ended goes once a minute."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self._next_sweep = 0

    def put(self, payloads: Sequence[Payload], now: int) -> None:
        """Keep each; see ``payloads.Shelf``."""
        rows = [(each.id, each.expires_at, each.body) for each in payloads]
        with self._database.transaction() as connection:
            if now >= self._next_sweep:
                self._next_sweep = now + _SWEEP_EVERY_MS
                connection.execute("DELETE FROM payloads WHERE until <= ?", (now,))
            connection.executemany("INSERT OR REPLACE INTO payloads VALUES (?, ?, ?)", rows)

    def get(self, payload_id: str, now: int) -> bytes | None:
        """What is kept."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT body FROM payloads WHERE id = ? AND until > ?", (payload_id, now)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
