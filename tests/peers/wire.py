"""A `Connection` on a wire without sockets: what it writes is kept, what it reads is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes, Settings

from tidings.http2 import Head, Limits, Request, Result
from tidings.http2.connection import Connection

HEAD = Head(b"push.example", ((b"apns-topic", b"com.example.app"),))


class Transport(asyncio.Transport):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closing, "written after it was closed"
        self.written += bytes(data)

    def take(self) -> bytes:
        data, self.written = self.written, b""
        return data

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Owner:
    """Keeps what a connection tells."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.given_back: list[tuple[Any, str]] = []
        self.room = 0

    def opened(self, connection: Connection) -> None:
        self.told.append("opened")

    def ready(self) -> None:
        self.told.append("ready")

    def freed(self) -> None:
        self.room += 1

    def leaving(self, connection: Connection) -> None:
        self.told.append("leaving")

    def refused(self, request: Request, why: str) -> None:
        self.given_back.append((request.token, why))

    def unfit(self, requests: Sequence[Request]) -> None:
        self.given_back += [(request.token, "unfit") for request in requests]

    def ended(self, connection: Connection, why: str) -> None:
        self.told.append(f"ended: {why}")

    def closed(self, connection: Connection) -> None:
        self.told.append("closed")


class Wire:
    """A connection and, at its other end, a strict server: python-hyper's `h2`.

    ``settings`` are the server's first ones; without ``settled`` it has not spoken yet.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        settings: dict[SettingCodes, int] | None = None,
        *,
        settled: bool = True,
    ) -> None:
        self.owner = Owner()
        self.transport = Transport()
        self.results: dict[Any, Result] = {}
        self.answers = 0
        self.connection = Connection(self.owner, limits or Limits(), 0.0)
        self.connection.connection_made(self.transport)
        self.server = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        self.server.local_settings = Settings(client=False, initial_values=settings or {})
        self.server.initiate_connection()
        self.events: list[h2.events.Event] = []
        if settled:
            self.exchange()

    def request(
        self,
        token: Any,
        body: bytes = b"{}",
        *,
        head: Head = HEAD,
        path: bytes = b"/x",
        fields: bytes = b"",
    ) -> Request:
        return Request(head, path, fields, body, token, self.done)

    def send(self, *requests: Request) -> None:
        self.connection.send(requests)
        self.exchange()

    def done(self, token: Any, result: Result) -> None:
        assert token not in self.results, f"{token} was answered twice"
        self.results[token] = result
        self.answers += 1

    def give(self, data: bytes, *, split: int = 0) -> None:
        """The connection reads these bytes, ``split`` at a time."""
        split = split or len(data)
        for start in range(0, len(data), split or 1):
            piece = data[start : start + split]
            while piece and not self.connection.over:
                buffer = self.connection.get_buffer(-1)
                size = min(len(buffer), len(piece))
                assert size, "no room to read"
                buffer[:size] = piece[:size]
                self.connection.buffer_updated(size)
                piece = piece[size:]

    def exchange(self, *, split: int = 0) -> list[h2.events.Event]:
        """Both ends read what the other has written, until nothing is left; the server's events."""
        fresh: list[h2.events.Event] = []
        while True:
            written = self.transport.take()
            fresh += self.server.receive_data(written)
            replied = self.server.data_to_send()
            if replied:
                self.give(replied, split=split)
            if not replied and not self.transport.written:
                break
        self.events += fresh
        return fresh

    def respond(
        self,
        stream: int,
        status: int = 200,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        split: int = 0,
    ) -> None:
        """The server answers a stream; its windows must be wide enough."""
        fields = [(b":status", b"%d" % status), *headers]
        self.server.send_headers(stream, fields, end_stream=not body)
        if body:
            self.server.send_data(stream, body, end_stream=True)
        self.exchange(split=split)

    def bodies(self) -> dict[int, bytes]:
        """The bodies that the server has got so far, by stream."""
        found: dict[int, bytes] = {}
        for event in self.events:
            if isinstance(event, h2.events.RequestReceived):
                assert event.stream_id is not None
                found[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                assert event.stream_id is not None
                assert event.data is not None
                found[event.stream_id] += event.data
        return found

    def ended(self) -> set[int]:
        """The streams whose request the server has got to its end."""
        return {
            event.stream_id
            for event in self.events
            if isinstance(event, h2.events.StreamEnded) and event.stream_id is not None
        }
