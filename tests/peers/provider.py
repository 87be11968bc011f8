"""A provider over HTTP/1.1 that keeps what it got and answers as a test tells it to."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import parse_qsl

from tidings.services.certificate import Certificate


class Got(NamedTuple):
    """One request, and when it came (epoch ms)."""

    at: int
    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"

    @property
    def form(self) -> dict[str, str]:
        """The body of a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Say(NamedTuple):
    """An answer. With status 0 the connection is closed in its place."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


SILENCE = Say(-1)
"""No answer, until the server closes."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of five, the sixth who comes at once tries again after a second


class Provider:
    """The server, on a thread of its own; ``answer`` gives what each request gets.

    With a certificate it speaks TLS.
    """

    def __init__(self, answer: Callable[[Got], Say], tls: Certificate | None = None) -> None:
        self.got: list[Got] = []
        self._closing = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), self._handler(answer))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def _handler(self, answer: Callable[[Got], Say]) -> type[BaseHTTPRequestHandler]:
        got, closing = self.got, self._closing

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one segment: in two, the second waits for 40 ms

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                now = int(time.time() * 1000)
                request = Got(now, self.path, headers, body, self.command)
                got.append(request)
                said = answer(request)
                if said is SILENCE:
                    closing.wait()
                if said.status <= 0:
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: ``got`` tells more."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
