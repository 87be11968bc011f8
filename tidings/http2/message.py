"""A request as its sender gives it, and the two kinds of answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from hpack import Decoder, HPACKError
from hpack.hpack import encode_integer

if TYPE_CHECKING:
    from tidings.http2.connection import Connection

_LOG = logging.getLogger(__name__)

Fields = tuple[tuple[bytes, bytes], ...]  # names and values

LONGEST_HEAD = 8_192  # bytes of names and values, so that a header block fits in one frame
_STATIC_NAMES = {b":path": 4, b"authorization": 23, b"content-type": 31}  # RFC 7541, appendix A


class Head:
    """The headers that many requests share; compared by identity, so keep and reuse it.

    ``indexed`` fields enter the server's compression table and cost a byte each from then on;
    ``plain`` ones are sent in full each time (what changes now and then, or is too long for the
    table). Names in lower case. Raises ValueError for a head of more than 8 KiB, and for
    characters that no header may carry.
    """

    __slots__ = ("authority", "indexed", "plain")

    def __init__(self, authority: bytes, indexed: Fields = (), plain: Fields = ()) -> None:
        fields = ((b":authority", authority), *indexed, *plain)
        if sum(len(name) + len(value) + 32 for name, value in fields) > LONGEST_HEAD:
            raise ValueError(f"the headers of a request exceed {LONGEST_HEAD} bytes")
        for name, value in fields:
            if any(byte < 0x20 or byte == 0x7F for byte in name + value):
                raise ValueError(f"the header {name!r} holds a control character")
        self.authority = authority
        self.indexed = indexed
        self.plain = b"".join(literal(name, value) for name, value in plain)


def literal(name: bytes, value: bytes) -> bytes:
    """One header field as it goes over the wire when it enters no table (RFC 7541, 6.2.2)."""
    return literal_start(name, len(value)) + value


@lru_cache(1_024)
def literal_start(name: bytes, size: int) -> bytes:
    """What comes before the value of a literal field: its name and the value's size."""
    index = _STATIC_NAMES.get(name)
    if index is None:
        start = b"\x00" + bytes(encode_integer(len(name), 7)) + name
    else:
        start = bytes(encode_integer(index, 4))
    return start + bytes(encode_integer(size, 7))


class Fate(StrEnum):
    """What a request without an answer came to."""

    NOT_SENT = "not sent"  # the server surely did nothing with it: safe to send again
    UNKNOWN = "unknown"  # it was written: the server may have acted on it


class Response(msgspec.Struct):
    """What the server said. Its headers are decoded when they are asked for; a 200 has none here.

    ``head``: the fields, or a block that can be decoded by itself.
    """

    status: int
    head: Fields | bytes
    body: bytes
    connection: Connection

    @property
    def headers(self) -> Fields:
        """The header fields in order, names in lower case; none where they make no sense."""
        if isinstance(self.head, bytes):
            decoder = Decoder()
            decoder.header_table_size = 0
            try:
                fields = decoder.decode(self.head, raw=True)
            except HPACKError:
                fields = ()
            self.head = tuple((bytes(name), bytes(value)) for name, value in fields)
        return self.head

    def header(self, name: bytes) -> bytes:
        """The value of the first header of that name, or b""."""
        return next((value for key, value in self.headers if key == name), b"")


class Failure(msgspec.Struct, frozen=True, gc=False):
    """No answer, and why."""

    fate: Fate
    why: str


Result = Response | Failure
Done = Callable[[Any, Result], None]


class Request(msgspec.Struct, gc=False):
    """One POST.

    ``path``: as is. ``fields``: its own headers, each made by `literal`. ``done`` is called once
    with ``token`` and the result. ``resent`` belongs to the pool.
    """

    head: Head
    path: bytes
    fields: bytes
    body: bytes
    token: Any
    done: Done
    resent: bool = False


def answer(request: Request, result: Result) -> None:
    """Calls the request's ``done``; what that raises is logged and goes no further."""
    try:
        request.done(request.token, result)
    except Exception:  # noqa: BLE001 - a caller's bug must not cost its neighbours their answers
        _LOG.exception("the callback of a request failed")
