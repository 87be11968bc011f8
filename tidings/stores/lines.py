"""Files of lines that are followed while people edit them and processes append to them.

The file-backed adapters keep two such files each: one that people write, read again as a whole when
it has changed, and a journal that processes write, of which only what is new is read. A journal is
only ever appended to, whole lines at a time, under a lock on the file itself, so that any number of
processes share it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from tidings.ports import Unavailable

T = TypeVar("T")
_LOG = structlog.get_logger(__name__)
_TAIL = 256  # bytes before our place in a journal that must still be the same to read on from there
_SHOWN = 10  # problems that one message names


class _Seen(NamedTuple):
    """What tells a file that has changed from one that has not."""

    inode: int
    size: int
    modified_ns: int


_NO_FILE = _Seen(0, 0, 0)


class Lines:
    """A file that people write. One that is not there is an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _NO_FILE

    def read(self, decode: Callable[[bytes], T]) -> list[T] | None:
        """All of it, decoded, when it has changed since the last call; else None.

        Empty lines and those that start with ``#`` are skipped. Raises ValueError that names file
        and line of what can't be decoded, Unavailable when the file can't be read.
        """
        try:
            if _look(self.path) == self._seen:
                return None
            with self.path.open("rb") as file:
                seen, text = _of(os.fstat(file.fileno())), file.read()
        except FileNotFoundError:
            seen, text = _NO_FILE, b""
        except OSError as error:
            raise Unavailable(f"{self.path} can't be read: {error.strerror}") from error
        self._seen = seen
        return self._decoded(text, decode)

    def _decoded(self, text: bytes, decode: Callable[[bytes], T]) -> list[T]:
        found: list[T] = []
        problems: list[str] = []
        for number, line in enumerate(text.split(b"\n"), 1):
            if not line.strip() or line.startswith(b"#"):
                continue
            try:
                found.append(decode(line))
            except ValueError as error:
                problems.append(f"{self.path}:{number}: {error}")
        if problems:
            more = len(problems) - _SHOWN
            shown = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
            raise ValueError("\n".join(shown))
        return found


class News(NamedTuple):
    """The new lines of a journal; ``restarted`` says that they are all that it holds, anew."""

    restarted: bool
    lines: list[bytes]


class Journal:
    """A file that processes append to. One that is not there is an empty one.

    ``sync`` waits for the disk at each append: it then survives a power cut, not only a kill.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self._sync = sync
        self._forget()

    def _forget(self) -> None:
        self._seen = _NO_FILE
        self._offset = 0
        self._tail = b""

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

    def replace(self, lines: Sequence[bytes]) -> None:
        """Hold these lines in place of all others. Raises Unavailable when that fails.

        What another process appends in the meantime is lost.
        """
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            beside.write_bytes(b"".join(line + b"\n" for line in lines))
            beside.replace(self.path)
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

    def follow(self) -> News | None:
        """The lines written since the last call; None when nothing has changed.

        A journal that was replaced or cut short is read again from its start. A last line without
        its newline is left for later: somebody is still writing it. Raises Unavailable when the
        file can't be read.
        """
        try:
            return self._follow()
        except OSError as error:
            raise Unavailable(f"{self.path} can't be read: {error.strerror}") from error

    def _follow(self) -> News | None:
        if _look(self.path) == self._seen:
            return None
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            self._forget()
            return News(restarted=True, lines=[])
        with os.fdopen(descriptor, "rb") as file:
            seen = _of(os.fstat(descriptor))
            restarted = not self._continues(descriptor, seen)
            if restarted:
                self._forget()
            file.seek(self._offset)
            # Not what is appended meanwhile: its time of change was not seen.
            text = file.read(seen.size - self._offset)
        whole = text[: text.rfind(b"\n") + 1]
        self._seen = seen
        self._offset += len(whole)
        self._tail = (self._tail + whole)[-_TAIL:]
        return News(restarted, whole.split(b"\n")[:-1])

    def _continues(self, descriptor: int, found: _Seen) -> bool:
        """Whether what lies before our place is still what we read."""
        if found.inode != self._seen.inode:
            return False
        return os.pread(descriptor, len(self._tail), self._offset - len(self._tail)) == self._tail

    def decoded(self, news: News, decode: Callable[[bytes], T]) -> Iterator[T]:
        """News as records; a line that can't be decoded is logged and passed over."""
        for line in news.lines:
            if not line:
                continue
            try:
                yield decode(line)
            except ValueError as error:
                _LOG.error("journal line passed over", file=str(self.path), error=str(error))


def _look(path: Path) -> _Seen:
    try:
        return _of(path.stat())
    except FileNotFoundError:
        return _NO_FILE


def _of(found: os.stat_result) -> _Seen:
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns)
