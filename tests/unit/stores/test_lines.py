"""Files that are followed, and journals that processes share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tidings.stores.lines import Journal, Lines, News

APPEND = """
import sys
from pathlib import Path
from tidings.stores.lines import Journal

journal = Journal(Path(sys.argv[1]))
for number in range(200):
    journal.append([f"{sys.argv[2]}-{number}-{'x' * number * 20}".encode(), b"and more"])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "journal.jsonl"


def test_a_file_that_is_not_there_is_empty(path: Path) -> None:
    assert Lines(path).read(bytes.decode) is None
    assert Journal(path).follow() is None


def test_only_what_is_new_is_read(path: Path) -> None:
    journal = Journal(path)
    journal.append([b"one", b"two"])
    assert journal.follow() == News(restarted=True, lines=[b"one", b"two"])
    assert journal.follow() is None
    journal.append([b"three"])
    assert journal.follow() == News(restarted=False, lines=[b"three"])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("ONE\ntwo\nthree\n", [b"ONE", b"two", b"three"], id="edited, longer"),
        pytest.param("ONE\ntwo\n", [b"ONE", b"two"], id="edited, of the same length"),
        pytest.param("one\n", [b"one"], id="cut short"),
        pytest.param("", [], id="emptied"),
    ],
)
def test_a_journal_that_was_written_anew_is_read_from_its_start(
    path: Path, text: str, lines: list[bytes]
) -> None:
    journal = Journal(path)
    journal.append([b"one", b"two"])
    journal.follow()
    path.unlink()
    path.write_text(text)
    assert journal.follow() == News(restarted=True, lines=lines)


def test_a_journal_that_was_replaced_by_a_longer_one_is_read_from_its_start(path: Path) -> None:
    journal = Journal(path)
    journal.append([b"one", b"x" * 1_000])
    journal.follow()
    other = Journal(path.with_suffix(".new"))
    other.append([b"ONE", b"x" * 1_000, b"three"])
    other.path.replace(path)
    assert journal.follow() == News(restarted=True, lines=[b"ONE", b"x" * 1_000, b"three"])


def test_a_file_of_peoples_is_read_as_a_whole_when_it_has_changed(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("# head\none\n\ntwo")
    lines = Lines(path)
    assert lines.read(bytes.decode) == ["one", "two"]
    assert lines.read(bytes.decode) is None
    path.write_text("# HEAD\nONE\n\ntwo\nthree\n")
    assert lines.read(bytes.decode) == ["ONE", "two", "three"]
    path.unlink()
    assert lines.read(bytes.decode) == []
    assert lines.read(bytes.decode) is None


def test_a_long_list_of_problems_is_cut(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("\n".join("abcdefghijklm"))
    with pytest.raises(ValueError, match="invalid literal") as caught:
        Lines(path).read(int)
    shown = str(caught.value).splitlines()
    assert len(shown) == 11
    assert shown[0].startswith(f"{path}:1: ")
    assert shown[-1] == "and 3 more"


def test_a_journal_that_is_gone_is_news_once(path: Path) -> None:
    journal = Journal(path)
    journal.append([b"one"])
    journal.follow()
    path.unlink()
    assert journal.follow() == News(restarted=True, lines=[])
    assert journal.follow() is None


def test_a_journals_last_line_waits_for_its_newline(path: Path) -> None:
    journal = Journal(path)
    journal.append([b"one"])
    with path.open("a") as file:
        file.write("tw")
        file.flush()
        assert journal.follow() == News(restarted=True, lines=[b"one"])
        assert journal.follow() is None
        file.write("o\n")
    assert journal.follow() == News(restarted=False, lines=[b"two"])


def test_a_line_that_its_writer_died_in_is_ended_by_the_next(path: Path) -> None:
    journal = Journal(path)
    journal.append([b"one"])
    with path.open("a") as file:
        file.write("tor")
    journal.append([b"two"])
    assert path.read_bytes() == b"one\ntor\ntwo\n"


def test_lines_of_many_writers_stay_whole(path: Path) -> None:
    command = [sys.executable, "-c", APPEND, str(path)]
    writers = [subprocess.Popen([*command, name]) for name in "abcd"]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    news = Journal(path).follow()
    assert news is not None
    firsts, seconds = news.lines[::2], news.lines[1::2]
    wanted = [f"{name}-{n}-{'x' * n * 20}".encode() for name in "abcd" for n in range(200)]
    assert sorted(firsts) == sorted(wanted)
    assert set(seconds) == {b"and more"}
