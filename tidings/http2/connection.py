"""One HTTP/2 connection: requests out in batches, answers in as callbacks.

A `BufferedProtocol` of asyncio: TLS writes into our buffer, frames are read in place, and only
what an answer is made of becomes an object. The usual answer of a push service, a HEADERS frame
that says 200 and ends its stream, is settled without decoding it.

Nothing raises out of here. A server that breaks the protocol loses the connection, and each
request on it gets its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol, cast

from tidings.http2 import frames
from tidings.http2.frames import HEADER, HEADER_SIZE, RESET_SIZE, ErrorCode, ProtocolError
from tidings.http2.headers import (
    LONGEST_VARIABLE,
    PATH_START,
    STATUS_200,
    HeadEncoder,
    status_of,
)
from tidings.http2.inbound import CONNECTION_WINDOW, Inbound, StreamError
from tidings.http2.limits import Limits
from tidings.http2.message import Failure, Fate, Head, Request, Response, answer
from tidings.http2.outbound import Outbound
from tidings.http2.watch import Life, Watch

BUFFER_SIZE = 262_144
WRITE_HIGH_WATER = 1_048_576  # bytes that the network has not taken: no requests beyond this

_USUAL = frames.END_STREAM | frames.END_HEADERS
_OUR_SETTINGS = {
    frames.HEADER_TABLE_SIZE: 0,
    frames.ENABLE_PUSH: 0,
    frames.MAX_HEADER_LIST_SIZE: 16_384,
}


class Owner(Protocol):
    """Whom a connection tells what becomes of it."""

    def opened(self, connection: Connection) -> None:
        """It has a socket; it needs ticks from now on."""

    def ready(self) -> None:
        """The server's settings are here: it takes requests."""

    def freed(self) -> None:
        """It may have room for more requests."""

    def leaving(self, connection: Connection) -> None:
        """It takes no new requests, and ends when those under way are answered."""

    def refused(self, request: Request, why: str) -> None:
        """The server surely did nothing with this request."""

    def unfit(self, requests: Sequence[Request]) -> None:
        """These can't be written: path and headers are too long."""

    def ended(self, connection: Connection, why: str) -> None:
        """It is over: each of its requests has been answered or refused."""

    def closed(self, connection: Connection) -> None:
        """Its socket is closed."""


class Connection(asyncio.BufferedProtocol):
    """One connection to a server; ``now`` in seconds on the clock that `tick` goes by.

    ``proven``: it has given an answer that shows server and credentials to be well.
    ``over``: it is of no more use, and owes no answer.
    """

    def __init__(self, owner: Owner, limits: Limits, now: float) -> None:
        self.proven = False
        self.over = False
        self._owner = owner
        self._limits = limits
        self._born = self._now = now  # as of the last tick
        self._rests_until = now
        self._settled = False  # the server's settings are here
        self._allowed = 0  # streams, by the server's settings
        self._leaving = ""  # why it takes no new requests
        self._streams: dict[int, Request] = {}
        self._next = 1
        self._written = 1  # the first stream that has not gone to the transport
        self._out: list[bytes] = []
        self._outbound = Outbound(self._out)
        self._inbound = Inbound(self, self._out, limits.body)
        self._encoder = HeadEncoder()
        self._watch = Watch(limits, now)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._buffer = bytearray(BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._reading = False

    # ── for its owner ─────────────────────────────────────────────────────────────────────────

    @property
    def under_way(self) -> int:
        """Requests that wait for their answer."""
        return len(self._streams)

    @property
    def free(self) -> int:
        """How many requests it would take now."""
        if self.over or self._leaving or self._paused or self._now < self._rests_until:
            return 0
        if self._outbound.window <= 0:
            return 0
        quota = min(self._allowed, self._limits.streams)
        if self._limits.probe and not self.proven:
            quota = min(quota, 1)
        numbers = (frames.LARGEST_STREAM_ID - self._next) // 2 + 1
        return max(min(quota - len(self._streams), numbers), 0)

    def send(self, requests: Sequence[Request]) -> None:
        """Writes these, no more than ``free`` of them, in one go."""
        out, streams, stream, outbound = self._out, self._streams, self._next, self._outbound
        window = outbound.window
        room = min(outbound.stream_window, outbound.frame_size)
        pack = HEADER.pack
        kept: Head | None = None
        before = after = b""
        fixed = 0
        unfit: list[Request] = []
        for request in requests:
            path, fields, body = request.path, request.fields, request.body
            if len(path) + len(fields) > LONGEST_VARIABLE:
                unfit.append(request)
                continue
            if request.head is not kept:
                before, after, again = self._encoder.encode(request.head)
                kept = request.head if again else None
                fixed = len(before) + len(after)
            start = PATH_START[len(path)]
            block = fixed + len(start) + len(path) + len(fields)
            size = len(body)
            streams[stream] = request
            if 0 < size <= room and size <= window:
                window -= size
                out += (
                    pack(0, block, frames.HEADERS, frames.END_HEADERS, stream),
                    *(before, start, path, after, fields),
                    pack(0, size, frames.DATA, frames.END_STREAM, stream),
                    body,
                )
            else:
                flags = frames.END_HEADERS if size else _USUAL
                out.append(pack(0, block, frames.HEADERS, flags, stream))
                out += (before, start, path, after, fields)
                if size:
                    outbound.window = window
                    outbound.start(stream, body)
                    window = outbound.window
            stream += 2
        outbound.window = window
        self._next = stream
        self._flush()
        if stream > frames.LARGEST_STREAM_ID:
            self.retire("stream numbers used up")
        if unfit:
            self._owner.unfit(unfit)

    def retire(self, why: str) -> None:
        """Takes no new requests, and ends when those under way are answered."""
        if not self.over and not self._leaving:
            self._leaving = why
            self._owner.leaving(self)
            self._end_if_done()

    def rest(self, seconds: float) -> None:
        """Takes no new requests for a while."""
        self._rests_until = self._now + seconds

    def end(self, why: str, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Says goodbye, answers what is under way, and closes."""
        if self._transport is not None and not self.over:
            self._transport.write(frames.goaway(code))
            self._transport.close()
        self._answer_all(why)

    def abort(self, why: str) -> None:
        """Answers what is under way and drops the socket."""
        if self._transport is not None:
            self._transport.abort()
        self._answer_all(why)

    def tick(self, now: float) -> None:
        """Looks for late answers and signs of life; to be called some times a second."""
        self._now = now
        if self.over:
            return
        if not self._settled and now - self._born > self._limits.connect_timeout:
            self.abort(f"no SETTINGS within {self._limits.connect_timeout:g} s")
            return
        late = self._watch.late(now, self._next)
        for stream in list(takewhile(lambda opened: opened < late, self._streams)):
            self._fail(stream, f"no answer within {self._limits.timeout:g} s", ErrorCode.CANCEL)
        life = self._watch.life(now, busy=bool(self._streams))
        if life is Life.DEAD:
            self.abort("the server is silent, and does not answer a PING")
            return
        if life is Life.ASK:
            self._out.append(frames.frame(frames.PING, 0, 0, bytes(8)))
        self._flush()
        self._end_if_done()
        self._owner.freed()

    # ── for asyncio ───────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens with the preface, our settings, and a wide window."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.opened(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.abort("the server does not speak HTTP/2 (it did not choose h2 by ALPN)")
            return
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._out += (
            frames.PREFACE,
            frames.settings(_OUR_SETTINGS),
            frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW),
        )
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Answers what is left."""
        why = f"connection lost ({exc})" if exc else "the server closed the connection"
        self._answer_all(f"{why} after {self._leaving}" if self._leaving else why)
        self._transport = None
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The network takes no more: no new requests."""
        self._paused = True

    def resume_writing(self) -> None:
        """The network takes bytes again."""
        self._paused = False
        self._owner.freed()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where TLS puts what it has decrypted."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Reads all frames that are whole."""
        self._watch.heard = True
        self._reading = True
        try:
            self._read(self._filled + nbytes)
        except ProtocolError as error:
            self.end(f"the server broke the protocol: {error}", error.code)
        finally:
            self._reading = False
        if self.over:
            self._filled = 0
            return
        self._flush()
        self._end_if_done()
        self._owner.freed()

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def _read(self, end: int) -> None:
        buffer, streams = self._buffer, self._streams
        unpack = HEADER.unpack_from
        inbound, waiting = self._inbound, self._outbound.waiting
        decoder, partial = inbound.decoder, inbound.partial
        usual = Response(200, (), b"", self)
        at = 0
        while end - at >= HEADER_SIZE:
            high, size, kind, flags, stream = unpack(buffer, at)
            start = at + HEADER_SIZE
            following = start + size
            if high or size > frames.DEFAULT_FRAME_SIZE:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            if following > end:
                break
            at = following
            if (
                kind == frames.HEADERS
                and flags == _USUAL
                and size
                and buffer[start] == STATUS_200
                and decoder.stateless
                and stream in streams
                and not partial
                and not waiting
                and inbound.block is None
            ):
                self.proven = True
                answer(streams.pop(stream), usual)
            elif self.over:
                return
            elif (
                kind == frames.HEADERS
                and flags == frames.END_HEADERS
                and decoder.stateless
                and stream in streams
                and stream not in partial
                and not waiting
                and inbound.block is None
                and (after := self._take_pair(stream, start, following, end))
            ):
                at = after
            elif (
                kind == frames.RST_STREAM
                and stream not in streams
                and 0 < stream < self._next
                and stream % 2
                and size == RESET_SIZE
                and inbound.block is None
            ):
                pass  # a server that has not read a body to its end says so behind its answer
            else:
                payload = self._view[start:following].tobytes()
                self._frame(kind, flags, stream & frames.LARGEST_STREAM_ID, payload)
        if at:
            rest = end - at
            buffer[:rest] = buffer[at:end]
            end = rest
        self._filled = end

    def _take_pair(self, stream: int, start: int, following: int, end: int) -> int:
        """Settles an answer whose headers and body are one frame each, and both here.

        It is what FCM says to each request, and every provider to what it refuses. Gives where the
        body ends, or 0 for any other answer.
        """
        at = following + HEADER_SIZE
        if at > end:
            return 0
        high, size, kind, flags, same = HEADER.unpack_from(self._buffer, following)
        after: int = at + size
        if high or kind != frames.DATA or flags != frames.END_STREAM or same != stream:
            return 0
        if after > end or size > min(self._limits.body, frames.DEFAULT_FRAME_SIZE):
            return 0
        block = self._view[start:following].tobytes()
        status = status_of(block)
        if status < 200:
            return 0
        self._inbound.credit(size)
        if status < 500 and status != 403:
            self.proven = True
        body = self._view[at:after].tobytes()
        answer(self._streams.pop(stream), Response(status, block, body, self))
        return after

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._inbound.block is not None and kind != frames.CONTINUATION:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a header block was cut short")
        if not self._settled and kind != frames.SETTINGS:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "no SETTINGS at the start")
        if kind in (frames.DATA, frames.HEADERS, frames.CONTINUATION, frames.RST_STREAM):
            if stream % 2 == 0 or stream >= self._next:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"stream {stream} is not open")
            if kind == frames.RST_STREAM:
                self._take_reset(stream, frames.one_uint(payload))
            else:
                self._take_answer(kind, flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            increment = frames.one_uint(payload) & frames.LARGEST_WINDOW
            self._outbound.credit(stream, increment)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a push, which our settings forbid")
        elif kind in (frames.SETTINGS, frames.PING, frames.GOAWAY):
            if stream:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a connection's frame on a stream")
            if kind == frames.SETTINGS:
                self._take_settings(flags, payload)
            elif kind == frames.PING:
                self._take_ping(flags, payload)
            else:
                self._take_goaway(payload)

    def _take_answer(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        inbound = self._inbound
        known = stream in self._streams
        try:
            if kind == frames.DATA:
                response = inbound.data(stream, flags, payload, known)
            elif kind == frames.HEADERS:
                response = inbound.headers(stream, flags, payload, known)
            else:
                response = inbound.continuation(stream, flags, payload, known)
        except StreamError as error:
            self._fail(stream, f"malformed answer: {error}", ErrorCode.PROTOCOL_ERROR)
            return
        if response is None:
            return
        if response.status < 500 and response.status != 403:
            self.proven = True
        request = self._streams.pop(stream)
        cut_off = kind == frames.DATA and not flags & frames.END_STREAM
        if self._forget(stream) or cut_off:
            self._out.append(frames.rst_stream(stream, ErrorCode.CANCEL))
        answer(request, response)

    def _take_reset(self, stream: int, code: int) -> None:
        request = self._streams.pop(stream, None)
        if request is None:
            return
        why = f"RST_STREAM {frames.error_name(code)}"
        if self._forget(stream) or code == ErrorCode.REFUSED_STREAM:
            self._owner.refused(request, why)
        else:
            answer(request, Failure(Fate.UNKNOWN, why))

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "an ACK with settings")
            return
        values = frames.read_settings(payload)
        # First of all, for a strict server goes by its new values only from our ACK on.
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        outbound = self._outbound
        if frames.HEADER_TABLE_SIZE in values:
            self._encoder.resize(values[frames.HEADER_TABLE_SIZE])
        outbound.frame_size = values.get(frames.MAX_FRAME_SIZE, outbound.frame_size)
        outbound.resize(values.get(frames.INITIAL_WINDOW_SIZE, outbound.stream_window))
        unlimited = frames.LARGEST_STREAM_ID if not self._settled else self._allowed
        self._allowed = values.get(frames.MAX_CONCURRENT_STREAMS, unlimited)
        if not self._settled:
            self._settled = True
            self._owner.ready()

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "a PING is 8 bytes")
        # A server that asks and does not read gets no heap of answers.
        if not flags & frames.ACK and not self._paused:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _take_goaway(self, payload: bytes) -> None:
        last, why = frames.read_goaway(payload)
        self.retire(why)
        for stream in [opened for opened in self._streams if opened > last]:
            request = self._streams.pop(stream)
            self._forget(stream)
            self._owner.refused(request, why)

    # ── endings ───────────────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        if self._out and not self._reading and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            self._written = self._next
            self._transport.write(data)

    def _forget(self, stream: int) -> bool:
        """Drops what is kept of a stream; tells whether its request was not wholly written."""
        self._inbound.partial.pop(stream, None)
        return self._outbound.waiting.pop(stream, None) is not None

    def _fail(self, stream: int, why: str, code: ErrorCode) -> None:
        """Ends a stream that went wrong."""
        request = self._streams.pop(stream, None)
        if request is not None:
            unwritten = self._forget(stream)
            self._out.append(frames.rst_stream(stream, code))
            answer(request, Failure(Fate.NOT_SENT if unwritten else Fate.UNKNOWN, why))

    def _end_if_done(self) -> None:
        if self._leaving and not self._streams and not self._reading:
            self.end(self._leaving)

    def _answer_all(self, why: str) -> None:
        """Answers what is under way; once."""
        if self.over:
            return
        self.over = True
        left = list(self._streams.items())
        self._streams.clear()
        for stream, request in left:
            if self._forget(stream) or stream >= self._written:
                self._owner.refused(request, why)
            else:
                answer(request, Failure(Fate.UNKNOWN, why))
        self._owner.ended(self, why)
