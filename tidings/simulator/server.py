"""The listeners: TLS with HTTP/2 or HTTP/1.1 as the client likes, and a plain one beside it.

The plain one is for Google's library, which asks for tokens, and for SDKs that can't be told whom
to trust. All providers share the two ports: their paths tell them apart. Every client is asked for
a certificate, and may have none; with one that ``clients`` has not signed it gets no connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tidings.services.certificate import Certificate
from tidings.services.process import LOOPBACK
from tidings.simulator.http1 import http1
from tidings.simulator.http2 import Http2
from tidings.simulator.simulator import Simulator


class Server:
    """Listens on loopback; ``port`` and ``plain_port`` are free ones where they are 0."""

    def __init__(
        self,
        simulator: Simulator,
        certificate: Certificate,
        clients: Path,
        *,
        port: int = 0,
        plain_port: int = 0,
    ) -> None:
        self.port = port
        self.plain_port = plain_port
        self._simulator = simulator
        self._certificate = certificate
        self._clients = clients
        self._listeners: list[asyncio.Server] = []
        self._open: set[asyncio.BaseTransport] = set()
        self._http1: web.Server

    async def __aenter__(self) -> Self:
        """Raises OSError for a port that is taken."""
        loop = asyncio.get_running_loop()
        self._http1 = http1(self._simulator)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._certificate.certificate, self._certificate.key)
        tls.load_verify_locations(self._clients)
        tls.verify_mode = ssl.CERT_OPTIONAL
        tls.set_alpn_protocols(["h2", "http/1.1"])
        secure = await loop.create_server(self._doorman, LOOPBACK, self.port, ssl=tls)
        self._listeners.append(secure)
        plain = await loop.create_server(self._doorman, LOOPBACK, self.plain_port)
        self._listeners.append(plain)
        self.port, self.plain_port = (one.sockets[0].getsockname()[1] for one in (secure, plain))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            listener.close()
        for transport in list(self._open):
            # One that was closed twice can't be aborted before CPython 3.11.4.
            if isinstance(transport, asyncio.Transport) and not transport.is_closing():
                transport.abort()
        await self._http1.shutdown(timeout=1.0)

    def _doorman(self) -> asyncio.Protocol:
        return _Doorman(self)

    def receive(self, transport: asyncio.BaseTransport) -> None:
        """Give a new connection to the protocol that its client speaks."""
        self._open = {one for one in self._open if not one.is_closing()} | {transport}
        tls = transport.get_extra_info("ssl_object")
        speaks_h2 = tls is not None and tls.selected_alpn_protocol() == "h2"
        protocol: asyncio.BaseProtocol
        protocol = Http2(self._simulator, _topic(tls)) if speaks_h2 else self._http1()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


def _topic(tls: ssl.SSLObject) -> str:
    """What the certificate of a client is for, "" where it has shown none."""
    shown: Mapping[str, Any] = tls.getpeercert() or {}
    return next((value for ((name, value),) in shown.get("subject", ()) if name == "userId"), "")


class _Doorman(asyncio.Protocol):
    """Stands at a connection until it is known what its client speaks."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.receive(transport)
