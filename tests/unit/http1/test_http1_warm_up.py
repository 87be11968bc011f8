"""Connections that are made before there is a request."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tidings.http1 import Failure, Fate, Limits, Pool, Response, Result
from tidings.services.certificate import Certificate, self_signed
from tidings.services.process import free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers what it is asked; keeps, for each of its connections, what came over it."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.open = 0
        self._changed = asyncio.Condition()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self.got)
        self.got.append(b"")
        self.open += 1
        await self._tell()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.got[place] += head
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self.open -= 1
        writer.close()
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(condition)


async def one(pool: Pool) -> Result:
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    pool.request("GET", "/it", {}, None, answered.set_result)
    return await answered


@asynccontextmanager
async def opened(
    limits: Limits, origin: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Pool]:
    pool = Pool(origin, limits, tls=tls)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(0.0)


def with_server(
    test: Callable[[Pool, Server], Awaitable[None]],
    limits: Limits,
    certificate: Certificate | None = None,
) -> None:
    async def run() -> None:
        server = Server()
        listens, trusts, scheme = None, None, "http"
        if certificate is not None:
            scheme = "https"
            listens = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            listens.load_cert_chain(certificate.certificate, certificate.key)
            trusts = ssl.create_default_context(cafile=certificate.certificate)
        listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=listens)
        port = listener.sockets[0].getsockname()[1]
        async with opened(limits, f"{scheme}://127.0.0.1:{port}", trusts) as pool:
            await test(pool, server)
        listener.close()

    asyncio.run(run())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return self_signed(tmp_path_factory.mktemp("tls"), now=now)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_requests_take_what_was_made_before_them(secure: bool, certificate: Certificate) -> None:
    async def test(pool: Pool, server: Server) -> None:
        await server.until(lambda: len(server.got) == 2)
        await asyncio.sleep(0.05)  # our end of the handshakes
        assert server.got == [b"", b""], "nothing is said over them"
        results = await asyncio.gather(one(pool), one(pool))
        assert [type(each) for each in results] == [Response, Response]
        assert len(server.got) == 2
        assert all(each.startswith(b"GET /it HTTP/1.1\r\n") for each in server.got)

    with_server(test, Limits(warm=2), certificate if secure else None)


def test_no_more_are_made_than_there_may_be() -> None:
    async def test(pool: Pool, server: Server) -> None:
        await server.until(lambda: len(server.got) == 2)
        await asyncio.gather(*(one(pool) for _ in range(20)))
        assert len(server.got) == 2

    with_server(test, Limits(connections=2, warm=9))


def test_none_is_made_where_none_is_wanted() -> None:
    async def test(pool: Pool, server: Server) -> None:
        await asyncio.sleep(0.05)
        assert server.got == []
        assert isinstance(await one(pool), Response)

    with_server(test, Limits())


def test_what_has_lapsed_in_a_silence_is_made_anew() -> None:
    async def test(pool: Pool, server: Server) -> None:
        await server.until(lambda: len(server.got) >= 3 and server.open == 1)
        assert isinstance(await one(pool), Response)
        await server.until(lambda: len(server.got) >= 5)
        assert sum(map(bool, server.got)) == 1

    with_server(test, Limits(warm=1, keep_alive=0.1))


def test_a_server_that_is_away_fails_nothing_and_is_found_when_it_comes() -> None:
    async def run() -> None:
        port, server = free_port(), Server()
        limits = Limits(warm=2, keep_alive=0.1, wait=1.0)
        async with opened(limits, f"http://127.0.0.1:{port}") as pool:
            result = await one(pool)
            assert isinstance(result, Failure)
            assert result.fate is Fate.NOT_SENT
            listener = await asyncio.start_server(server.connected, "127.0.0.1", port)
            await server.until(lambda: len(server.got) >= 2)
            assert server.got[:2] == [b"", b""]
            assert isinstance(await one(pool), Response)
        listener.close()

    asyncio.run(run())


def test_a_request_does_not_wait_for_a_connection_that_is_being_made(
    certificate: Certificate,
) -> None:
    """Whoever comes first is never answered; without its place the request would wait for it."""

    async def run() -> None:
        server, held = Server(), []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.certificate, certificate.key)

        async def doorman(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            await server._tell()
            if len(held) > 1:
                await writer.start_tls(tls)
                await server.connected(reader, writer)

        listener = await asyncio.start_server(doorman, "127.0.0.1", 0)
        origin = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        trusts = ssl.create_default_context(cafile=certificate.certificate)
        limits = Limits(connections=1, warm=1, wait=5.0, timeout=5.0)
        async with opened(limits, origin, trusts) as pool:
            await server.until(lambda: len(held) == 1)
            assert isinstance(await one(pool), Response)
            assert len(held) == 2
        for writer in held:
            writer.close()
        listener.close()

    asyncio.run(run())


def test_a_pool_closes_while_it_connects() -> None:
    async def run() -> None:
        held = []

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            came.set()

        came = asyncio.Event()
        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        pool = Pool(f"https://127.0.0.1:{port}", Limits(warm=3, wait=600.0))
        await pool.open()
        await came.wait()
        await asyncio.wait_for(pool.close(600.0), 10)
        for writer in held:
            writer.close()
        listener.close()

    asyncio.run(run())
