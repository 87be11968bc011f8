"""HTTP/2 as the simulator speaks it: python-hyper's `h2`, one of these for each connection."""

from __future__ import annotations

import asyncio
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tidings.simulator.simulator import Deed, Simulator
from tidings.simulator.wire import Reply, Request

_SETTINGS = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1_000}
_MOST_BODY = 32 * 1_048_576  # bytes of a request


class _Stream:
    """A request that is coming in."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.body = bytearray()


class Http2(asyncio.Protocol):
    """The server's end of a connection; ``client`` is the topic in its client's certificate."""

    def __init__(self, simulator: Simulator, client: str = "") -> None:
        self._simulator = simulator
        self._client = client
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._h2.local_settings = h2.settings.Settings(client=False, initial_values=_SETTINGS)
        self._streams: dict[int, _Stream] = {}
        self._bodies: dict[int, bytes] = {}
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what came; a client that breaks the protocol is told so and let go."""
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self._transport.close()
            return
        for event in events:
            self._event(event)
        self._flush()

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers or ()}
            self._streams[event.stream_id or 0] = _Stream(headers)
        elif isinstance(event, h2.events.DataReceived):
            stream = self._streams.get(event.stream_id or 0)
            self._h2.acknowledge_received_data(
                event.flow_controlled_length or 0, event.stream_id or 0
            )
            if stream is not None:
                stream.body += event.data or b""
                if len(stream.body) > _MOST_BODY:
                    self._transport.abort()
        elif isinstance(event, h2.events.StreamEnded):
            self._whole(event.stream_id or 0)
        elif isinstance(event, h2.events.StreamReset):
            self._streams.pop(event.stream_id or 0, None)
            self._bodies.pop(event.stream_id or 0, None)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._transport.close()

    def _whole(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        headers = stream.headers
        method, path = headers.get(":method", ""), headers.get(":path", "")
        request = Request(method, path, headers, bytes(stream.body), "2", self._client)
        deed = self._simulator.take(request)
        if deed.delay:
            self._loop.call_later(deed.delay / 1000, self._do, number, deed)
        else:
            self._do(number, deed)

    def _do(self, number: int, deed: Deed) -> None:
        if deed.reset:
            self._transport.abort()
        elif deed.reply is not None and self._streams.pop(number, None) is not None:
            self._respond(number, deed.reply)

    def _respond(self, number: int, reply: Reply) -> None:
        if self._transport.is_closing():
            return
        fields = [(":status", str(reply.status)), *reply.headers]
        self._h2.send_headers(number, fields, end_stream=not reply.body)
        if reply.body:
            self._bodies[number] = reply.body
        self._flush()

    def _flush(self) -> None:
        """Write what `h2` has to say, and of the bodies what the client's windows let through."""
        for number, body in list(self._bodies.items()):
            while body:
                window = self._h2.local_flow_control_window(number)
                room = min(window, self._h2.max_outbound_frame_size)
                if room <= 0:
                    break
                self._h2.send_data(number, body[:room], end_stream=len(body) <= room)
                body = body[room:]
            if body:
                self._bodies[number] = body
            else:
                del self._bodies[number]
        self._transport.write(self._h2.data_to_send())
