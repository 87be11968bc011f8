"""Against a server that answers what the test tells it to, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tidings.http1 import Failure, Fate, Limits, Pool, Response, Result
from tidings.services.process import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMITS = Limits(connections=2, wait=0.3, timeout=0.3)


async def request_head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
    return head + body


def ok(body: bytes = b"fine", head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)


class Asked:
    """What came of requests that were made at once; how many connections they took."""

    def __init__(self, serve: Serve, count: int = 1, limits: Limits = LIMITS) -> None:
        self.connections = 0
        self._serve = serve
        self.results: list[Result] = asyncio.run(self._run(count, limits))

    async def _run(self, count: int, limits: Limits) -> list[Result]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await self._serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = Pool(f"http://127.0.0.1:{port}", limits)
        await pool.open()
        results = [await one(pool) for _ in range(count)]
        await pool.close(0.0)
        server.close()
        return results


async def one(pool: Pool, body: bytes = b"a=1") -> Result:
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    pool.request("POST", "/v1/send%2Fit", {"x-key": "k"}, body, answered.set_result)
    return await answered


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request_head(reader)
        writer.write(ok())


def test_requests_share_a_kept_connection_and_go_out_as_they_were_given() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await request_head(reader))
            writer.write(ok(b"{}", b"Retry-After: 7\r\n"))

    asked = Asked(serve, count=3)
    assert asked.connections == 1
    response = asked.results[2]
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, b"{}")
    assert response.headers["retry-after"] == "7"
    assert heads[0].startswith(b"POST /v1/send%2Fit HTTP/1.1\r\n")
    assert b"x-key: k\r\n" in heads[0]
    assert heads[0].endswith(b"\r\n\r\na=1")


def test_a_connection_that_breaks_before_an_answer_leaves_the_fate_unknown() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)

    [result] = Asked(serve).results
    assert isinstance(result, Failure)
    assert result.fate is Fate.UNKNOWN


def test_a_post_is_not_made_again_where_a_kept_connection_breaks() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_head(reader))
        writer.write(ok())
        heads.append(await request_head(reader))

    first, second = Asked(serve, count=2).results
    assert isinstance(first, Response)
    assert isinstance(second, Failure)
    assert second.fate is Fate.UNKNOWN
    assert len(heads) == 2


def test_an_answer_that_stops_in_the_middle_leaves_the_fate_unknown() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal")
        await writer.drain()

    [result] = Asked(serve).results
    assert isinstance(result, Failure)
    assert result.fate is Fate.UNKNOWN


def test_silence_after_the_write_leaves_the_fate_unknown() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        await reader.read()

    [result] = Asked(serve).results
    assert result == Failure(Fate.UNKNOWN, "no answer within 0.6 s")


def test_where_nothing_listens_nothing_was_sent() -> None:
    async def run() -> Result:
        pool = Pool(f"http://127.0.0.1:{free_port()}", LIMITS)
        await pool.open()
        result = await one(pool)
        await pool.close(0.0)
        return result

    result = asyncio.run(run())
    assert isinstance(result, Failure)
    assert result.fate is Fate.NOT_SENT


def test_what_finds_no_free_connection_in_time_was_not_sent() -> None:
    async def run() -> list[Result]:
        held: list[asyncio.StreamWriter] = []

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            await reader.read()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = Pool(f"http://127.0.0.1:{port}", Limits(connections=1, wait=0.2, timeout=0.5))
        await pool.open()
        results = [*await asyncio.gather(one(pool), one(pool))]
        await pool.close(0.0)
        for writer in held:
            writer.close()
        server.close()
        return results

    first, second = asyncio.run(run())
    assert isinstance(first, Failure)
    assert first.fate is Fate.UNKNOWN
    assert second == Failure(Fate.NOT_SENT, "no connection within 0.2 s")


def test_what_is_under_way_when_the_pool_closes_is_answered() -> None:
    async def run() -> Result:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request_head(reader)
            arrived.set()
            await reader.read()
            writer.close()

        arrived = asyncio.Event()
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = Pool(f"http://127.0.0.1:{port}", Limits())
        await pool.open()
        answered = asyncio.create_task(one(pool))
        await arrived.wait()
        await pool.close(0.0)
        server.close()
        return await answered

    result = asyncio.run(run())
    assert result == Failure(Fate.UNKNOWN, "closed before an answer came")


def test_a_body_beyond_its_limit_is_cut_off() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(ok(b"x" * 5_000))
        await reader.read()

    [result] = Asked(serve, limits=Limits(body=100)).results
    assert isinstance(result, Response)
    assert result.body == b"x" * 100


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 307 Elsewhere\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    [result] = Asked(serve).results
    assert isinstance(result, Response)
    assert result.status == 307


def test_a_callback_that_fails_costs_no_other_request_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> Result:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answer_all(reader, writer)
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pool = Pool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", LIMITS)
        await pool.open()
        pool.request("POST", "/", {}, b"", lambda result: 1 / 0)  # type: ignore[arg-type]
        result = await one(pool)
        await pool.close(1.0)
        server.close()
        return result

    assert isinstance(asyncio.run(run()), Response)
    assert "ZeroDivisionError" in caplog.text
