"""A SQLite file that processes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tidings.ports import Unavailable
from tidings.stores.sqlite import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS words (word TEXT)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "words.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path, SCHEMA)) as found:
        yield found


def words(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def test_a_block_that_ends_is_kept(database: Database, path: Path) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO words VALUES ('one')")
    with closing(Database(path, SCHEMA)) as other:
        assert words(other) == ["one"]


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO words VALUES ('one')")
            raise KeyError("two")

    with pytest.raises(KeyError):
        fail()
    assert words(database) == []


def test_a_file_that_another_holds_is_unavailable_until_it_lets_go(
    database: Database, path: Path
) -> None:
    with closing(Database(path, SCHEMA)) as other:
        with other.transaction(), pytest.raises(Unavailable, match="locked"):
            words(database)
        assert words(database) == []


def test_a_folder_that_cant_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="can't answer"):
        Database(tmp_path / "file" / "words.db", SCHEMA)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.db").write_text("words, words, words\n" * 100)
    with pytest.raises(ValueError, match="is no SQLite file"):
        Database(tmp_path / "words.db", SCHEMA)
