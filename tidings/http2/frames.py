"""The frames of HTTP/2 (RFC 9113) that this client writes, and the numbers in those it reads."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

HEADER = Struct(">BHBBI")  # length (8 + 16 bits), type, flags, stream id
HEADER_SIZE = 9
RESET_SIZE = 4  # of its payload
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

SETTING = Struct(">HI")
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
LARGEST_FRAME_SIZE = 2**24 - 1
LARGEST_WINDOW = LARGEST_STREAM_ID = 2**31 - 1
LONGEST_DEBUG = 200  # bytes that we keep of a GOAWAY's own words

_UINT = Struct(">I")
_TWO_UINTS = Struct(">II")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ProtocolError(Exception):
    """The server broke the protocol; the connection can't go on."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def error_name(code: int) -> str:
    """The name of an error code, or its number where it has none."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """Credit given back to the server, for a stream or (0) for the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _UINT.pack(increment))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """The end of a stream before its time."""
    return frame(RST_STREAM, 0, stream, _UINT.pack(code))


def goaway(code: ErrorCode) -> bytes:
    """The end of a connection; a server opens no streams here, so the last one is 0."""
    return frame(GOAWAY, 0, 0, _TWO_UINTS.pack(0, code))


def uint(payload: bytes, offset: int = 0) -> int:
    """The 32-bit number at ``offset``."""
    (value,) = _UINT.unpack_from(payload, offset)
    assert isinstance(value, int)
    return value


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding. Raises ProtocolError."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def one_uint(payload: bytes) -> int:
    """The payload of a frame that is one 32-bit number. Raises ProtocolError."""
    if len(payload) != _UINT.size:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"{len(payload)} bytes in place of 4")
    return uint(payload)


def read_settings(payload: bytes) -> dict[int, int]:
    """The settings of a server, checked. Raises ProtocolError."""
    if len(payload) % SETTING.size:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS cut short")
    values: dict[int, int] = dict(SETTING.iter_unpack(payload))
    if values.get(ENABLE_PUSH, 0) != 0:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a server can't enable push")
    if values.get(INITIAL_WINDOW_SIZE, 0) > LARGEST_WINDOW:
        raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "initial window too large")
    frame_size = values.get(MAX_FRAME_SIZE, DEFAULT_FRAME_SIZE)
    if not DEFAULT_FRAME_SIZE <= frame_size <= LARGEST_FRAME_SIZE:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"maximum frame size {frame_size}")
    return values


def read_goaway(payload: bytes) -> tuple[int, str]:
    """The last stream that the server may have acted on, and its reason. Raises ProtocolError."""
    if len(payload) < _TWO_UINTS.size:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY too short")
    said = payload[8 : 8 + LONGEST_DEBUG].decode("utf-8", "replace")
    why = f"GOAWAY {error_name(uint(payload, 4))}"
    return uint(payload) & LARGEST_STREAM_ID, f"{why}: {said}" if said else why
