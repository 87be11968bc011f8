from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tidings.services.nginx import Nginx
from tidings.services.process import ServiceError


async def get(server: Nginx, path: str) -> tuple[dict[bytes, bytes], bytes]:
    context = ssl.create_default_context(cafile=str(server.certificate.certificate))
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    connection.initiate_connection()
    request = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "x")]
    connection.send_headers(1, request, end_stream=True)
    headers: dict[bytes, bytes] = {}
    body = b""
    ended = False
    while not ended:
        writer.write(connection.data_to_send())
        for event in connection.receive_data(await reader.read(65536)):
            if isinstance(event, h2.events.ResponseReceived):
                headers = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
            ended = ended or isinstance(event, h2.events.StreamEnded)
    writer.close()
    await writer.wait_closed()
    return headers, body


def test_it_speaks_http2_over_trusted_tls_as_its_snippet_says(
    start_nginx: Callable[..., Nginx],
) -> None:
    server = start_nginx('location /3/device { return 410 "Unregistered"; }')
    headers, body = asyncio.run(get(server, "/3/device/abc"))
    assert (headers[b":status"], body) == (b"410", b"Unregistered")


def test_a_snippet_that_nginx_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match='unknown directive "locatoin"'):
        Nginx("locatoin / { return 200; }", tmp_path).start()


def test_without_nginx_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_arguments, **_options: None)
    with pytest.raises(ServiceError, match=r"There is no `nginx` here.*make system.*nginx-light"):
        Nginx("", tmp_path).start()
