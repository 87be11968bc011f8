"""What comes in on a connection: answers put together from their frames, and credit given back.

Credit is what stock clients forget: without it a server stops after 65,535 bytes of bodies, and
error bodies are bodies too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidings.http2 import frames
from tidings.http2.frames import ErrorCode, ProtocolError
from tidings.http2.headers import HeadDecoder, status_of
from tidings.http2.message import Fields, Response

if TYPE_CHECKING:
    from tidings.http2.connection import Connection

CONNECTION_WINDOW = 4_194_304  # bytes of bodies on their way to us, over all streams
LARGEST_BLOCK = 16_384  # bytes of one header block, over its CONTINUATION frames


class StreamError(Exception):
    """One answer makes no sense; its stream ends, the connection goes on."""


class _Partial:
    """An answer whose headers are here and whose end is not."""

    __slots__ = ("body", "response", "uncredited")

    def __init__(self, response: Response) -> None:
        self.response = response
        self.body = b""
        self.uncredited = 0


class _Block:
    """A header block whose CONTINUATION frames are still to come."""

    __slots__ = ("data", "ends_stream", "stream")

    def __init__(self, stream: int, data: bytes, ends_stream: bool) -> None:
        self.stream = stream
        self.data = data
        self.ends_stream = ends_stream


class Inbound:
    """Answers under way, by stream (``partial``), and a header block under way (``block``)."""

    def __init__(self, connection: Connection, out: list[bytes], largest_body: int) -> None:
        self.decoder = HeadDecoder()
        self.partial: dict[int, _Partial] = {}
        self.block: _Block | None = None
        self._connection = connection
        self._out = out
        self._largest_body = largest_body
        self._uncredited = 0

    def headers(self, stream: int, flags: int, payload: bytes, known: bool) -> Response | None:
        """Takes a HEADERS frame; gives the answer if it is whole.

        ``known``: whether the stream is open. The block of one that is not is decoded all the
        same, since it may change the table. Raises StreamError, ProtocolError.
        """
        data = frames.unpadded(flags, payload)
        if flags & frames.WITH_PRIORITY:
            if len(data) < 5:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short")
            data = data[5:]
        ends_stream = bool(flags & frames.END_STREAM)
        if not flags & frames.END_HEADERS:
            self.block = _Block(stream, data, ends_stream)
            return None
        return self._whole_block(stream, data, ends_stream, known)

    def continuation(self, stream: int, flags: int, payload: bytes, known: bool) -> Response | None:
        """Takes a CONTINUATION frame; as `headers`."""
        block = self.block
        if block is None or block.stream != stream:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.data += payload
        if len(block.data) > LARGEST_BLOCK:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if not flags & frames.END_HEADERS:
            return None
        self.block = None
        return self._whole_block(stream, block.data, block.ends_stream, known)

    def data(self, stream: int, flags: int, payload: bytes, known: bool) -> Response | None:
        """Takes a DATA frame; gives the answer if it is whole. Raises as `headers`.

        A body that is too large is cut off, and its answer is whole.
        """
        size = len(payload)  # padding uses credit too
        data = frames.unpadded(flags, payload)
        self.credit(size)
        if not known:
            return None
        partial = self.partial.get(stream)
        if partial is None:
            raise StreamError("a body without headers")
        partial.body += data
        if flags & frames.END_STREAM or len(partial.body) > self._largest_body:
            partial.response.body = partial.body[: self._largest_body]
            return partial.response
        partial.uncredited += size
        if partial.uncredited * 2 >= frames.DEFAULT_WINDOW:
            self._out.append(frames.window_update(stream, partial.uncredited))
            partial.uncredited = 0
        return None

    def credit(self, size: int) -> None:
        """Gives the server its credit back for so many bytes of bodies, half a window at a time."""
        self._uncredited += size
        if self._uncredited * 2 >= CONNECTION_WINDOW:
            self._out.append(frames.window_update(0, self._uncredited))
            self._uncredited = 0

    def _whole_block(
        self, stream: int, data: bytes, ends_stream: bool, known: bool
    ) -> Response | None:
        head: Fields | bytes = data
        status = status_of(data) if self.decoder.stateless else 0
        if not status:
            head = self.decoder.decode(data)
            status = _status(head)
        if not known:
            return None
        partial = self.partial.get(stream)
        if partial is not None:  # trailers
            if not ends_stream or status != 0:
                raise StreamError("headers in the middle of a body")
            partial.response.body = partial.body
            return partial.response
        if not 100 <= status <= 999:
            raise StreamError("an answer without a status")
        if status < 200:  # an interim answer: the final one comes in another block
            if ends_stream:
                raise StreamError(f"nothing after an interim {status}")
            return None
        response = Response(status, head, b"", self._connection)
        if ends_stream:
            return response
        self.partial[stream] = _Partial(response)
        return None


def _status(fields: Fields) -> int:
    for name, value in fields:
        if name == b":status":
            return int(value) if len(value) == 3 and value.isdigit() else -1
    return 0
