"""What a call of the command comes to."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Said(NamedTuple):
    """The exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Calls the command: ``tidings("emit", "a.topic", stdin=b"…")``."""

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Said: ...
