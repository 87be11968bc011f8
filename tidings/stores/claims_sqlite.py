"""Claims in a SQLite file: for the processes of one machine, with nothing to install.

A round loads the sends that it touches, plays the rules of ``claims_local.settle`` on them and
writes back what has changed, all in one transaction. What has expired goes once a minute.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tidings.ports import Clock, End, Lease, Leased, Mark, Verdict
from tidings.stores.claims_local import Held, going_place, newest_place, settle, turn_place
from tidings.stores.sqlite import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS firsts (
    key TEXT PRIMARY KEY, origin TEXT NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS firsts_until ON firsts (until);
CREATE TABLE IF NOT EXISTS sends (
    send_id TEXT PRIMARY KEY, state TEXT NOT NULL, until INTEGER NOT NULL,
    origin TEXT NOT NULL, holder TEXT NOT NULL, answer TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sends_until ON sends (until);
"""
_FIRST = """
INSERT INTO firsts VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    origin = iif(until <= ?, excluded.origin, origin),
    until = iif(until <= ?, excluded.until, until)
RETURNING origin
"""
_FORGET = "DELETE FROM firsts WHERE key = ?"
_SEND = "SELECT state, until, origin, holder, answer FROM sends WHERE send_id = ?"
_SWEEP_EVERY_MS = 60_000


class SqliteClaims:
    """Claims shared by all processes that know the file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._database = Database(path, _SCHEMA)
        self._next_sweep = clock.now() + _SWEEP_EVERY_MS

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        """The origin that holds each key; see ``ports.Claims``."""
        if not (claims or forgotten):
            return []
        now = self._clock.now()
        with self._database.transaction() as connection:
            self._sweep(connection, now)
            connection.executemany(_FORGET, [(key,) for key in forgotten])
            return [
                connection.execute(_FIRST, (key, origin, now + ttl_ms, now, now)).fetchone()[0]
                for key, origin in claims
            ]

    def round(
        self,
        leases: Sequence[Lease],
        marks: Sequence[Mark],
        done: Sequence[str],
        released: Sequence[tuple[str, str]],
        now: int,
        lease_ms: int,
        keep_ms: int,
        ends: Sequence[End] = (),
    ) -> list[Leased]:
        """All that a lane says in a batch; see ``ports.Claims``."""
        if not (leases or marks or done or released or ends):
            return []
        touched = {*done, *(lease.send_id for lease in leases), *(mark.send_id for mark in marks)}
        touched.update(send_id for send_id, _ in released)
        touched |= {newest_place(lease.newest) for lease in leases if lease.newest}
        turns = [lease.turn for lease in leases] + [mark.turn for mark in marks]
        turns += [end.turn for end in ends]
        touched |= {place(turn) for turn in turns if turn for place in (turn_place, going_place)}
        with self._database.transaction() as connection:
            self._sweep(connection, self._clock.now())
            before = _load(connection, touched)
            ended = (before.get(turn_place(end.turn)) for end in ends)
            sent = {held.answer for held in ended if held and held.state is Verdict.SENT}
            before |= _load(connection, sent - touched)
            sends = before.copy()
            answers = settle(sends, leases, marks, done, released, now, lease_ms, keep_ms, ends)
            _save(connection, before, sends)
        return answers

    def _sweep(self, connection: sqlite3.Connection, now: int) -> None:
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY_MS
            connection.execute("DELETE FROM firsts WHERE until <= ?", (now,))
            connection.execute("DELETE FROM sends WHERE until <= ?", (now,))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _load(connection: sqlite3.Connection, touched: set[str]) -> dict[str, Held]:
    found: dict[str, Held] = {}
    for send_id in touched:
        row = connection.execute(_SEND, (send_id,)).fetchone()
        if row is not None:
            state, *rest = row
            found[send_id] = Held(Verdict(state), *rest)
    return found


def _save(connection: sqlite3.Connection, before: dict[str, Held], after: dict[str, Held]) -> None:
    changed = [(send_id, *held) for send_id, held in after.items() if before.get(send_id) != held]
    connection.executemany("INSERT OR REPLACE INTO sends VALUES (?, ?, ?, ?, ?, ?)", changed)
    gone = [(send_id,) for send_id in before if send_id not in after]
    connection.executemany("DELETE FROM sends WHERE send_id = ?", gone)
