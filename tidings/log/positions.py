"""Which records of a partition are settled, and how a commit's metadata says so.

A lane has many deliveries open at once and they settle in any order. The position that it commits
is the low watermark, below which everything is settled; what is settled above it goes into the
commit's metadata, so that a crash repeats only what was truly open. The Confluent Parallel Consumer
is the model.

The metadata is the version and the form, then base 85, together at most 4,096 bytes:

    t1b   a bit for each offset from the position on, 1 for settled, under a leading 1
    t1r   lengths of runs as varints, the first one of open offsets, then settled, open, …

The shorter form is taken. Where neither fits, the offsets farthest from the position are left out:
they count as open, and are repeated after a crash. Gaps in the offsets count as settled.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import re
from collections.abc import Iterable

from tidings.log.port import METADATA_LIMIT, Position

_OPEN, _SETTLED = ord("0"), ord("1")
_BITS, _RUNS = "t1b", "t1r"
_ROOM = (METADATA_LIMIT - len(_BITS)) * 4 // 5  # bytes under base 85
_TRIM_AT = 4096  # flags below the watermark that are kept before they are cut off
_RUN = re.compile(rb"0+|1+")
_log = logging.getLogger(__name__)


class Settled:
    """What is open and what is settled in one partition, from a committed position on.

    One byte for each offset between the watermark and the newest record, so that every question is
    answered by a search in C: 0.1 µs to take or to settle a record.
    """

    __slots__ = ("_base", "_flags", "_head", "_next")

    def __init__(self, position: Position) -> None:
        self._base = position.offset  # the offset of the first flag
        self._flags = bytearray(decode(position.metadata))
        self._head = 0  # no flag below this index is open
        self._next = position.offset  # one above the highest offset taken

    def took(self, offset: int) -> bool:
        """Notes a record that was read; tells if it is open, False where it is settled already.

        Offsets come in rising order; those left out are gaps and count as settled.
        """
        flags = self._flags
        if offset == self._next == self._base + len(flags):
            flags.append(_OPEN)
            self._next = offset + 1
            return True
        return self._took_elsewhere(offset)

    def _took_elsewhere(self, offset: int) -> bool:
        flags = self._flags
        if offset > self._next == self._base + len(flags) and self.low == self._next:
            flags.clear()  # nothing is open: begin anew above the gap, however wide it is
            self._base, self._next, self._head = offset, offset, 0
        index, frontier = offset - self._base, self._next - self._base
        if index < 0:
            return False
        if index > frontier:
            flags[frontier:index] = b"1" * (index - frontier)
        if index >= len(flags):
            flags.append(_OPEN)
        self._next = max(self._next, offset + 1)
        return flags[index] == _OPEN

    def settle(self, offset: int) -> None:
        """Notes that a taken record is settled; saying it twice changes nothing.

        Raises IndexError for an offset above those taken.
        """
        index = offset - self._base
        if index >= 0:
            self._flags[index] = _SETTLED

    def is_settled(self, offset: int) -> bool:
        """Whether a record is settled: below the watermark, or known to be from the metadata."""
        index = offset - self._base
        return index < 0 or (index < len(self._flags) and self._flags[index] == _SETTLED)

    @property
    def low(self) -> int:
        """The offset below which everything is settled: what to commit."""
        flags = self._flags
        head = flags.find(_OPEN, self._head)
        if head < 0:
            head = len(flags)
        if head > _TRIM_AT:
            del flags[:head]
            self._base += head
            head = 0
        self._head = head
        return self._base + head

    @property
    def span(self) -> int:
        """How many offsets lie between the watermark and the newest record taken.

        Bound it as well as what is open: one slow record keeps everything above it in the window.
        """
        return max(0, self._next - self.low)

    @property
    def open(self) -> int:
        """How many records were taken and are not settled."""
        self.low  # noqa: B018  moves the head past what is settled
        return self._flags.count(_OPEN, self._head, max(0, self._next - self._base))

    def position(self) -> Position:
        """What to commit: the watermark, with what is settled above it as metadata."""
        low = self.low
        return Position(low, encode(bytes(self._flags[self._head :])))


def encode(flags: bytes) -> str:
    """Metadata for ``flags``, a ``0`` (open) or ``1`` (settled) for each offset from the position.

    At most METADATA_LIMIT bytes; flags from the end are left out where they do not fit. Empty where
    nothing is settled.
    """
    flags = flags[: flags.rfind(b"1") + 1]
    if not flags:
        return ""
    bits = flags[: _ROOM * 8 - 1]
    length = len(bits) // 8 + 1
    runs, covered = _runs(flags, length if bits == flags else _ROOM)
    if covered >= len(bits):
        return _RUNS + base64.b85encode(runs).decode()
    return _BITS + base64.b85encode(int(b"1" + bits, 2).to_bytes(length, "big")).decode()


def decode(metadata: str) -> bytes:
    """The flags that ``metadata`` holds, a ``0`` or ``1`` for each offset from the position on.

    Metadata of another hand or of a newer version says nothing: it is logged and everything counts
    as open, which repeats and never loses.
    """
    if not metadata:
        return b""
    form, body = metadata[:3], b""
    with contextlib.suppress(ValueError):
        body = base64.b85decode(metadata[3:])
    if body and form == _BITS:
        return f"{int.from_bytes(body, 'big'):b}"[1:].encode()
    if body and form == _RUNS:
        return b"".join(b"01"[i & 1 : (i & 1) + 1] * n for i, n in enumerate(_lengths(body)))
    _log.warning("a commit's metadata can't be read, all above it counts as open: %.40r", metadata)
    return b""


def _runs(flags: bytes, room: int) -> tuple[bytes, int]:
    """Runs as varints in ``room`` bytes, and how many flags they cover."""
    out = bytearray() if flags[0] == _OPEN else bytearray(1)
    covered = 0
    for run in _RUN.finditer(flags):
        length = run.end() - covered
        while length > 127:
            out.append(length & 127 | 128)
            length >>= 7
        out.append(length)
        if len(out) > room:
            break
        covered = run.end()
    return bytes(out[:room]), covered


def _lengths(body: bytes) -> Iterable[int]:
    length = shift = 0
    for byte in body:
        length |= (byte & 127) << shift
        if byte > 127:
            shift += 7
        else:
            yield length
            length = shift = 0
