"""A strict HTTP/2 server over TLS: python-hyper's `h2`, answering as a test says.

    async with H2Server(tmp_path, answer) as server:
        Origin("127.0.0.1", server.port, server.client_tls())

`answer(exchange)` is called for each whole request; by default it gets a 200. What the client does
wrong is kept in `mistakes`.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes

from tidings.services.certificate import Certificate, self_signed

Fields = Sequence[tuple[str, str]]


class Exchange:
    """One request and what it is answered."""

    def __init__(self, peer: Peer, stream: int, headers: list[tuple[str, str]]) -> None:
        self.peer = peer
        self.stream = stream
        self.fields = headers
        self.headers = dict(headers)
        self.body = b""

    def respond(self, status: int = 200, body: bytes = b"", headers: Fields = ()) -> None:
        """Answers; a body waits for the client's windows where it must."""
        fields = [(":status", str(status)), *headers]
        self.peer.h2.send_headers(self.stream, fields, end_stream=not body)
        if body:
            self.peer.bodies[self.stream] = body
        self.peer.flush()

    def reset(self, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """Answers by RST_STREAM."""
        self.peer.h2.reset_stream(self.stream, code)
        self.peer.flush()


class Peer(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: H2Server) -> None:
        self.server = server
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=server.settings)
        self.exchanges: dict[int, Exchange] = {}
        self.bodies: dict[int, bytes] = {}
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.peers.append(self)
        self.server.open_peers.add(self)
        self.server.changed.set()
        if self.server.silent:
            return
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.server.open_peers.discard(self)
        self.server.changed.set()

    def data_received(self, data: bytes) -> None:
        if self.server.silent:
            return
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.server.mistakes.append(error)
            events = []
        for event in events:
            self._take(event)
        self.flush()
        self.server.changed.set()

    def _take(self, event: h2.events.Event) -> None:
        self.server.events.append(event)
        if isinstance(event, h2.events.RequestReceived):
            stream = event.stream_id
            headers = [(str(name), str(value)) for name, value in event.headers or ()]
            self.exchanges[stream or 0] = Exchange(self, stream or 0, headers)
        elif isinstance(event, h2.events.DataReceived):
            self.exchanges[event.stream_id or 0].body += event.data or b""
            if not self.server.stingy:
                self.h2.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id or 0
                )
        elif isinstance(event, h2.events.StreamEnded):
            exchange = self.exchanges[event.stream_id or 0]
            self.server.exchanges.append(exchange)
            self.server.answer(exchange)

    def goaway(self, last: int, data: bytes = b"") -> None:
        """Says goodbye: what is above ``last`` was not looked at. Does not close."""
        # By hand, for `h2` takes itself for closed after it.
        payload = last.to_bytes(4, "big") + bytes(4) + data
        frame = len(payload).to_bytes(3, "big") + bytes([7, 0]) + bytes(4) + payload
        self.flush()
        self.transport.write(frame)

    def flush(self) -> None:
        """Writes what `h2` has to say, and of the bodies what the windows let through."""
        for stream, body in list(self.bodies.items()):
            while body:
                room = min(
                    self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size
                )
                if room <= 0:
                    break
                self.h2.send_data(stream, body[:room], end_stream=len(body) <= room)
                body = body[room:]
            if body:
                self.bodies[stream] = body
            else:
                del self.bodies[stream]
        data = self.h2.data_to_send()
        split = self.server.split or len(data)
        for start in range(0, len(data), split or 1):
            self.transport.write(data[start : start + split])


class H2Server:
    """A strict server on a free loopback port.

    ``settings``: its first ones. ``split``: it writes so many bytes at a time. ``stingy``: it gives
    no credit for bodies by itself. ``silent``: it accepts, and says nothing. ``alpn``: what it
    agrees to.
    """

    def __init__(
        self,
        folder: Path,
        answer: Callable[[Exchange], None] = Exchange.respond,
        *,
        settings: dict[h2.settings.SettingCodes, int] | None = None,
        split: int = 0,
        stingy: bool = False,
        silent: bool = False,
        alpn: str = "h2",
    ) -> None:
        self.answer = answer
        self.settings = settings or {}
        self.split = split
        self.stingy = stingy
        self.silent = silent
        self.alpn = alpn
        self.port = 0
        self.peers: list[Peer] = []
        self.open_peers: set[Peer] = set()
        self.exchanges: list[Exchange] = []
        self.events: list[h2.events.Event] = []
        self.mistakes: list[h2.exceptions.ProtocolError] = []
        self.changed = asyncio.Event()
        self._folder = folder
        self._certificate: Certificate | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        if kind is None:
            assert self.mistakes == []

    async def start(self) -> None:
        """Listens; again on the same port, if it has listened before."""
        if self._certificate is None:
            self._certificate = self_signed(self._folder, now=datetime.datetime.now(datetime.UTC))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._certificate.certificate, self._certificate.key)
        tls.set_alpn_protocols([self.alpn])
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
            for peer in list(self.open_peers):
                peer.transport.abort()
            await self.until(lambda: not self.open_peers)
            self._server = None

    def client_tls(self) -> ssl.SSLContext:
        """What a client needs to trust it."""
        assert self._certificate is not None
        context = ssl.create_default_context(cafile=self._certificate.certificate)
        context.set_alpn_protocols(["h2"])
        return context

    @property
    def ca(self) -> Path:
        """The certificate to trust."""
        assert self._certificate is not None
        return self._certificate.certificate

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it has seen enough."""
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                await self.changed.wait()
