"""A consumer group of the SQLite log: its positions, and the lock of the one process that reads."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tidings.log.port import METADATA_LIMIT, LogError, Position, Slot

_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (
    topic     TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset"  INTEGER NOT NULL,
    metadata  TEXT NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID
"""


class Group:
    """One process's hold on a group. The lock is the kernel's: kill -9 frees it at once.

    Positions are saved with ``synchronous=NORMAL``: kill -9 takes none back, and one that a power
    loss takes back is read again.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        home = folder / "groups"
        home.mkdir(parents=True, exist_ok=True)
        stem = quote(name, safe="")
        self._lock_path = home / f"{stem}.lock"
        self._lock: int | None = None
        self._db = sqlite3.connect(
            home / f"{stem}.db", isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(_SCHEMA)

    @property
    def held(self) -> bool:
        """Whether this process reads for the group."""
        return self._lock is not None

    def take(self) -> bool:
        """Takes the group where nobody has it; never waits."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Leaves the group to the next process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Leaves the group and closes its file."""
        self.release()
        self._db.close()

    def positions(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The saved positions of ``slots``."""
        rows = self._db.execute('SELECT topic, partition, "offset", metadata FROM positions')
        saved = {Slot(topic, number): Position(at, note) for topic, number, at, note in rows}
        return {slot: saved.get(slot) for slot in slots}

    def commit(self, positions: Mapping[Slot, Position]) -> None:
        """Saves positions, all or none.

        Raises LogError where metadata is too long.
        """
        for slot, position in positions.items():
            if len(position.metadata.encode()) > METADATA_LIMIT:
                raise LogError(f"the metadata of {slot} is longer than {METADATA_LIMIT} bytes")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
            [(*slot, *position) for slot, position in positions.items()],
        )
        self._db.execute("COMMIT")
