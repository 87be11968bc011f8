"""What goes out on a connection beyond the usual: bodies that wait for the server's credit.

The usual body fits in the windows and goes out with its headers. One that does not is cut: what
fits goes at once, the rest as WINDOW_UPDATE frames come in.
"""

from __future__ import annotations

from tidings.http2 import frames
from tidings.http2.frames import DATA, END_STREAM, HEADER, ErrorCode, ProtocolError


class _Rest:
    """What is left of a body, and the window of its stream."""

    __slots__ = ("at", "body", "window")

    def __init__(self, body: bytes, window: int) -> None:
        self.body = body
        self.at = 0
        self.window = window


class Outbound:
    """The server's windows and the bodies they hold back; writes to ``out``.

    ``waiting``, by stream, are the requests whose end has not been written: the server can't have
    accepted them.
    """

    def __init__(self, out: list[bytes]) -> None:
        self.window = frames.DEFAULT_WINDOW
        self.stream_window = frames.DEFAULT_WINDOW
        self.frame_size = frames.DEFAULT_FRAME_SIZE
        self.waiting: dict[int, _Rest] = {}
        self._out = out

    def start(self, stream: int, body: bytes) -> None:
        """Sends a body that does not fit in one frame or in the windows."""
        self.waiting[stream] = _Rest(body, self.stream_window)
        self._push(stream)

    def resize(self, stream_window: int) -> None:
        """Takes a new initial window for streams; open ones change by the difference."""
        change = stream_window - self.stream_window
        self.stream_window = stream_window
        for stream, rest in list(self.waiting.items()):
            rest.window += change
            self._push(stream)

    def credit(self, stream: int, increment: int) -> None:
        """Takes credit for a stream, or for the connection (0). Raises ProtocolError."""
        if stream:
            rest = self.waiting.get(stream)
            if rest is not None:
                rest.window = _sum(rest.window, increment)
                self._push(stream)
            return
        self.window = _sum(self.window, increment)
        for waiting in list(self.waiting):
            self._push(waiting)

    def _push(self, stream: int) -> None:
        rest = self.waiting[stream]
        size = len(rest.body)
        while True:
            chunk = min(size - rest.at, self.window, rest.window, self.frame_size)
            if chunk <= 0:
                return
            ends = rest.at + chunk == size
            header = HEADER.pack(chunk >> 16, chunk & 0xFFFF, DATA, END_STREAM * ends, stream)
            self._out += (header, rest.body[rest.at : rest.at + chunk])
            self.window -= chunk
            rest.window -= chunk
            rest.at += chunk
            if ends:
                del self.waiting[stream]
                return


def _sum(window: int, increment: int) -> int:
    if increment == 0:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
    if window + increment > frames.LARGEST_WINDOW:
        raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
    return window + increment
