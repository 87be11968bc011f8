"""What the simulator got: a file of JSON lines, written before the answer is given.

A line of a request that was answered survives a kill -9 of the simulator: the file is what a
provider would know.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tidings.sender import Verdict


class Received(msgspec.Struct, omit_defaults=True, gc=False):
    """One message of one call; ``call`` numbers the calls. ``at`` is epoch ms.

    ``status`` is the answer's, 0 where there is none. A call that was wrong in itself has no
    address, and ``code`` says what was wrong. ``client`` is the topic in the certificate that the
    client has shown.
    """

    at: int
    provider: str
    call: int
    http: str
    status: int
    answer: Verdict = Verdict.OK
    accepted: bool = False
    key: str = ""
    address: str = ""
    attempt: int = 0
    id: str = ""
    code: str = ""
    platform: str = ""
    parts: Mapping[str, str] = {}
    client: str = ""


_encode = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(Received).decode


class Journal:
    """The file at ``path``, appended to. Raises OSError where it can't be written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # a process died in the middle of its line: end it

    def keep(self, received: Sequence[Received]) -> None:
        """Write these."""
        lines = _encode(received)
        while lines:
            lines = lines[os.write(self._file, lines) :]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def received(path: Path) -> list[Received]:
    """What a journal holds, in the order of arrival; a line cut short by a kill is left out."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(_decode(line))
        except msgspec.DecodeError:
            continue
    return found
