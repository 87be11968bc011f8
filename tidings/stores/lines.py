"""Files of lines that are followed while people edit them and processes append to them.

The file-backed adapters keep two such files each: one that people write, and a journal that
processes write. A journal is only ever appended to, whole lines at a time, under a lock on the file
itself, so that any number of processes share it; each follows it by reading what is new.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from tidings.ports import Unavailable

T = TypeVar("T")
_LOG = structlog.get_logger(__name__)
_TAIL = 256  # bytes before our place that must still be the same for us to read on from there
_SHOWN = 10  # problems that one message names


class News(NamedTuple):
    """What following found: ``restarted`` means that ``lines`` are the whole file, anew."""

    restarted: bool
    first: int
    lines: list[bytes]


class _Seen(NamedTuple):
    inode: int
    size: int
    modified_ns: int


class Lines:
    """One file, followed. A file that is not there is an empty one.

    People's last line counts without its newline too.
    """

    _open_end = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._seen: _Seen | None = None
        self._offset = 0
        self._count = 0
        self._tail: bytes | None = None

    def follow(self) -> News | None:
        """The lines written since the last call; None when nothing has changed.

        A file that was replaced, cut short or edited above our place is read again from its start.
        Raises Unavailable when the file can't be read.
        """
        try:
            return self._follow()
        except OSError as error:
            raise Unavailable(f"{self.path} can't be read: {error.strerror}") from error

    def reject(self) -> None:
        """What came was of no use: at the file's next change, read it from its start."""
        self._tail = None

    def _follow(self) -> News | None:
        try:
            if _seen(self.path.stat()) == self._seen:
                return None
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            if self._seen is None:
                return None
            self._forget()
            return News(restarted=True, first=1, lines=[])
        with os.fdopen(descriptor, "rb") as file:
            seen = _seen(os.fstat(descriptor))
            restarted = not self._continues(descriptor, seen)
            if restarted:
                self._forget()
            file.seek(self._offset)
            fresh = file.read(seen.size - self._offset)
        return self._news(seen, fresh, restarted)

    def _news(self, seen: _Seen, fresh: bytes, restarted: bool) -> News:
        whole, end, rest = fresh.rpartition(b"\n")
        lines = whole.split(b"\n") if end else []
        news = News(restarted, self._count + 1, lines)
        self._seen = seen
        self._offset += len(whole) + len(end)
        self._count += len(lines)
        self._tail = ((self._tail or b"") + whole + end)[-_TAIL:]
        if rest and self._open_end:
            lines.append(rest)
            self.reject()
        return news

    def _continues(self, descriptor: int, found: _Seen) -> bool:
        """Whether what lies before our place is still what we read."""
        if self._seen is None or self._tail is None:
            return False
        if found.inode != self._seen.inode or found.size <= self._seen.size:
            return False
        return os.pread(descriptor, len(self._tail), self._offset - len(self._tail)) == self._tail


def _seen(found: os.stat_result) -> _Seen:
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns)


class Journal(Lines):
    """Lines that processes append, and follow as well.

    A last line without its newline is left for later: somebody is still writing it. ``sync``
    waits for the disk at each append: it then survives a power cut, not only a kill.
    """

    _open_end = False

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        super().__init__(path)
        self._sync = sync

    def append(self, lines: Sequence[bytes]) -> None:
        """Write whole lines after all others. Raises Unavailable when that fails."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._write(descriptor, b"".join(line + b"\n" for line in lines))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(f"{self.path} can't be written: {error.strerror}") from error

    def _write(self, descriptor: int, text: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text  # a writer died in the middle of its line: end it
        while text:
            text = text[os.write(descriptor, text) :]
        if self._sync:
            os.fsync(descriptor)


def decode_all(file: Lines, news: News, decode: Callable[[bytes], T]) -> list[T]:
    """Decode lines that people wrote; empty ones and those that start with ``#`` are skipped.

    Raises ValueError that names file and line of what can't be read.
    """
    found: list[T] = []
    problems: list[str] = []
    for number, line in enumerate(news.lines, news.first):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            found.append(decode(line))
        except ValueError as error:
            problems.append(f"{file.path}:{number}: {error}")
    if problems:
        file.reject()
        more = len(problems) - _SHOWN
        shown = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise ValueError("\n".join(shown))
    return found


def decode_good(file: Lines, news: News, decode: Callable[[bytes], T]) -> Iterable[T]:
    """Decode lines that processes wrote; one that can't be read is logged and passed over."""
    for number, line in enumerate(news.lines, news.first):
        if not line:
            continue
        try:
            yield decode(line)
        except ValueError as error:
            _LOG.error(
                "journal line passed over", file=str(file.path), line=number, error=str(error)
            )
