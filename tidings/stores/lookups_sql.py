"""Lookups in a database, by SQLAlchemy Core: one query for all keys of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from tidings.ports import LookupFailed, Query, Row
from tidings.stores.lookups import Key, Rows

AT_ONCE = 1_000  # keys of one query


class SqlConnection:
    """A database by its URL, ``mysql+pymysql://USER@HOST/DATABASE`` or ``sqlite:///FILE``.

    It connects at the first question. Raises ValueError for a URL that is none, or of a database
    whose driver is not installed.
    """

    def __init__(self, name: str, url: str, password: str = "", concurrency: int = 4) -> None:
        self.name = name
        self.concurrency = concurrency
        try:
            address = make_url(url)
            if password:
                address = address.set(password=password)
            self._engine = create_engine(
                address,
                poolclass=QueuePool,
                pool_size=concurrency,
                max_overflow=0,
                pool_pre_ping=True,
            )
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ValueError(f"connections.{name}: {error}; install the driver") from None
        except ArgumentError as error:
            raise ValueError(f"connections.{name}: {error}") from None

    def fetch(self, query: Query, keys: Sequence[Key]) -> Rows:
        """The rows whose column ``match`` is one of the keys. Raises LookupFailed."""
        statement = text(query.text).bindparams(bindparam("keys", expanding=True))
        found: dict[str, Row] = {}
        try:
            with self._engine.connect() as connection:
                for start in range(0, len(keys), AT_ONCE):
                    given = {"keys": list(keys[start : start + AT_ONCE])}
                    for row in connection.execute(statement, given).mappings():
                        if query.match not in row:
                            raise LookupFailed(f"the query gives no column {query.match}")
                        found[str(row[query.match])] = _plain(dict(row))
        except SQLAlchemyError as error:
            raise LookupFailed(str(getattr(error, "orig", None) or error)) from error
        return found

    def close(self) -> None:
        """Let go of idle connections."""
        self._engine.dispose()


def _plain(row: dict[str, Any]) -> Row:
    """A row as JSON has it: moments as ISO 8601, decimals as text, bytes as base64."""
    plain: Row = msgspec.to_builtins(row, str_keys=True)
    return plain
